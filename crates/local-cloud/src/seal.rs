//! The seal of a state directory: proof that this user made it on this machine.
//!
//! The records in a state directory decide which programs run, so one that came with a repository
//! or an archive must not be used. The file `seal` holds a MAC over the directory's path, its inode,
//! the user and the machine. Its key lies outside of projects and caches (`state.key` in
//! [`Host::secrets`], mode 0600). Nothing in a directory is trusted before the
//! seal is checked, its address file neither.
//!
//! A directory whose files git tracks is refused as well: a checkout may have replaced them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use hmac::{Hmac, KeyInit, Mac};
use mlops_core::directory::refused;
use mlops_core::error::{Failure, Hint, hinted};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::instance;
use crate::host::Host;

pub(super) const SEAL: &str = "seal";

/// The beginning of the names of seals that are being written.
pub(super) const UNFINISHED: &str = "seal.new-";

const KEY: &str = "state.key";

/// The length of the key in bytes.
const KEY_LENGTH: usize = 32;

/// What a directory that may be used is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none yet, or an empty one.
    Nothing,
    /// This user's, made on this machine.
    Ours,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    version: u32,
    /// Hex.
    mac: String,
}

/// Checks that `directory` is a state directory of this user and this machine, or that there is
/// nothing in it. Anything else is refused.
pub(super) fn check(directory: &Path, host: &Host) -> Result<Found> {
    let found = check_with(directory, &secrets(host)?)?;
    if found == Found::Ours {
        refuse_tracked(directory, host)?;
    }
    Ok(found)
}

/// Creates the directory and its seal where there is nothing yet; its canonical path.
pub(super) fn ensure(directory: &Path, host: &Host) -> Result<PathBuf> {
    let directory = ensure_with(directory, &secrets(host)?)?;
    refuse_tracked(&directory, host)?;
    Ok(directory)
}

/// Seals a state directory that was moved or copied here.
pub(super) fn adopt(directory: &Path, host: &Host) -> Result<()> {
    refuse_tracked(directory, host)?;
    adopt_with(directory, &secrets(host)?)
}

/// True for a directory that looks like one that a local cloud made, whoever ran it.
pub(super) fn resembles_state(directory: &Path) -> bool {
    refuse_links(directory).is_ok() && instance::has_state(directory)
}

fn secrets(host: &Host) -> Result<PathBuf> {
    (host.secrets)()
        .context("there is no home directory for the key of the local cloud's state")
        .hint("set HOME or XDG_STATE_HOME to an absolute path")
}

fn check_with(directory: &Path, secrets: &Path) -> Result<Found> {
    refuse_links(directory)?;
    let Some(identity) = Identity::of(directory)? else {
        return Ok(Found::Nothing);
    };
    if is_fresh(directory)? {
        return Ok(Found::Nothing);
    }
    if !directory.join(SEAL).exists() && !instance::has_state(directory) {
        return Err(Failure::usage(format!(
            "{} holds other files: it is not the state of a local cloud",
            directory.display()
        )))
        .hint("pass another --state, or an empty directory");
    }
    let sealed = match (read_seal(directory), read_key(&secrets.join(KEY))?) {
        (Some(seal), Some(key)) => identity
            .mac(&key)
            // Compares in constant time.
            .verify_slice(&hex::decode(seal.mac).unwrap_or_default())
            .is_ok(),
        _ => false,
    };
    if !sealed {
        return Err(foreign(directory));
    }
    Ok(Found::Ours)
}

fn foreign(directory: &Path) -> anyhow::Error {
    let error = Failure::usage(format!(
        "{} was not made by you on this machine, or was moved; it is not used, because its records \
         decide which programs run",
        directory.display()
    ));
    let error = hinted(
        error,
        format!(
            "if it came with a repository or an archive, remove it with `mlops local reset --state \
             {}`",
            directory.display()
        ),
    );
    hinted(
        error,
        format!(
            "if it is your own, and only moved or copied here, keep it with `mlops local adopt \
             --state {}`",
            directory.display()
        ),
    )
}

fn ensure_with(directory: &Path, secrets: &Path) -> Result<PathBuf> {
    if check_with(directory, secrets)? == Found::Nothing {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| refused("cannot create", directory, &error))?;
        write_seal(directory, secrets)?;
    }
    directory
        .canonicalize()
        .with_context(|| format!("cannot open {}", directory.display()))
}

fn adopt_with(directory: &Path, secrets: &Path) -> Result<()> {
    refuse_links(directory)?;
    if Identity::of(directory)?.is_none() || !instance::has_state(directory) {
        return Err(Failure::usage(format!(
            "{} is not the state of a local cloud",
            directory.display()
        )))
        .hint("name the directory that `mlops local status` shows");
    }
    write_seal(directory, secrets)
}

/// A repository could name another project's state by a link.
fn refuse_links(directory: &Path) -> Result<()> {
    // Without a slash at the end, which would follow the link.
    let directory: PathBuf = directory.components().collect();
    let parent = directory
        .parent()
        .filter(|parent| parent.file_name().is_some_and(|name| name == ".mlops"));
    for path in parent.into_iter().chain([directory.as_path()]) {
        if path
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink())
        {
            return Err(Failure::usage(format!(
                "{} is a symbolic link: a state directory must be a real one",
                path.display()
            )))
            .hint("remove the link; to keep the state elsewhere, use a bind mount");
        }
    }
    Ok(())
}

/// git overwrites files that it ignores when a commit has them: what it tracks may be a stranger's.
fn refuse_tracked(directory: &Path, host: &Host) -> Result<()> {
    let directory = std::path::absolute(directory)?;
    if !directory
        .ancestors()
        .any(|parent| parent.join(".git").exists())
    {
        return Ok(());
    }
    if (host.is_tracked)(&directory)? {
        return Err(Failure::usage(format!(
            "git tracks files in {}: they may be anybody's, so it is not used",
            directory.display()
        )))
        .hint(format!(
            "take them out of the repository with `git rm -r --cached {}`, then run `mlops local \
             reset`",
            directory.display()
        ));
    }
    Ok(())
}

/// True when there is nothing in the directory but seals that were never finished.
fn is_fresh(directory: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        if !entry?.file_name().to_string_lossy().starts_with(UNFINISHED) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a seal is about.
#[derive(Debug)]
struct Identity {
    path: PathBuf,
    inode: u64,
    user: u32,
    machine: String,
}

impl Identity {
    /// The identity of a directory of this user; `None` when there is none.
    fn of(directory: &Path) -> Result<Option<Self>> {
        let found = match directory.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| refused("cannot open", directory, &error))?,
        };
        if !found.is_dir() {
            let error = ErrorKind::NotADirectory.into();
            return Err(refused("cannot open", directory, &error));
        }
        let user = nix::unistd::geteuid().as_raw();
        if found.uid() != user {
            return Err(Failure::usage(format!(
                "{} belongs to another user",
                directory.display()
            )))
            .hint("pass another --state");
        }
        Ok(Some(Self {
            path: directory.canonicalize()?,
            // The device is left out: its number may change when the machine starts again.
            inode: found.ino(),
            user,
            machine: machine(),
        }))
    }

    fn mac(&self, key: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
        let (inode, user) = (self.inode.to_string(), self.user.to_string());
        for field in [
            "mlops state directory 1".as_bytes(),
            self.path.as_os_str().as_encoded_bytes(),
            inode.as_bytes(),
            user.as_bytes(),
            self.machine.as_bytes(),
        ] {
            mac.update(field);
            // No path has a zero byte.
            mac.update(&[0]);
        }
        mac
    }
}

/// The machine's id; empty where there is none, as in many containers.
fn machine() -> String {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn read_seal(directory: &Path) -> Option<Seal> {
    let mut text = String::new();
    open(&directory.join(SEAL))
        .ok()?
        .take(4096)
        .read_to_string(&mut text)
        .ok()?;
    let seal: Seal = serde_json::from_str(&text).ok()?;
    (seal.version == 1).then_some(seal)
}

/// Writes the seal whole or not at all. Two at once write the same.
fn write_seal(directory: &Path, secrets: &Path) -> Result<()> {
    let key = make_key(secrets)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let identity =
        Identity::of(directory)?.with_context(|| format!("{} was removed", directory.display()))?;
    let seal = Seal {
        version: 1,
        mac: hex::encode(identity.mac(&key).finalize().into_bytes()),
    };
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(directory)?;
    file.write_all(&serde_json::to_vec(&seal)?)?;
    file.persist(directory.join(SEAL))
        .with_context(|| format!("cannot seal {}", directory.display()))?;
    Ok(())
}

/// Opens a file for reading, never through a link.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

/// The key; `None` when there is none.
fn read_key(path: &Path) -> Result<Option<Vec<u8>>> {
    let unusable = |why: &str| {
        hinted(
            anyhow!("the key {} is not used: {why}", path.display()),
            "remove it; state directories that were made with it are then reset or adopted",
        )
    };
    let file = match open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot open {}", path.display()))?,
    };
    let found = file.metadata()?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(unusable("it belongs to another user"));
    }
    if !found.is_file() || found.mode() & 0o077 != 0 {
        return Err(unusable("others may read or write it"));
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    match hex::decode(text.trim()) {
        Ok(key) if key.len() == KEY_LENGTH => Ok(Some(key)),
        _ => Err(unusable("it is damaged")),
    }
}

/// The key, made where there is none. Of two that make it at once, one wins and both use it.
fn make_key(secrets: &Path) -> Result<Vec<u8>> {
    let path = secrets.join(KEY);
    if let Some(key) = read_key(&path)? {
        return Ok(key);
    }
    let failed = || format!("cannot create the key {}", path.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(secrets)
        .with_context(failed)?;
    std::fs::set_permissions(secrets, Permissions::from_mode(0o700)).with_context(failed)?;
    let mut key = [0; KEY_LENGTH];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .with_context(failed)?;
    // Created with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(secrets).with_context(failed)?;
    file.write_all(hex::encode(key).as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .with_context(failed)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key.to_vec()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            read_key(&path)?.with_context(failed)
        }
        Err(error) => Err(error.error).with_context(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Directories {
        _root: tempfile::TempDir,
        secrets: PathBuf,
        state: PathBuf,
    }

    fn place() -> Directories {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        Directories {
            secrets: path.join("secrets/mlops"),
            state: path.join("project/.mlops/local"),
            _root: root,
        }
    }

    fn used(place: &Directories) {
        ensure_with(&place.state, &place.secrets).unwrap();
        std::fs::write(place.state.join("lock"), "").unwrap();
        std::fs::write(place.state.join("records.sqlite"), "").unwrap();
    }

    fn is_foreign(directory: &Path, secrets: &Path) -> bool {
        let error = check_with(directory, secrets).unwrap_err();
        let hints = mlops_core::error::hints(&error).join("\n");
        error.to_string().contains("not made by you")
            && hints.contains("local reset")
            && hints.contains("local adopt")
    }

    #[test]
    fn a_directory_is_used_by_whoever_made_it_and_where_it_was_made() {
        let place = place();
        assert_eq!(
            check_with(&place.state, &place.secrets).unwrap(),
            Found::Nothing
        );
        assert!(!place.state.exists(), "a look creates nothing");
        used(&place);
        assert_eq!(
            check_with(&place.state, &place.secrets).unwrap(),
            Found::Ours
        );
        assert_eq!(
            place.state,
            ensure_with(&place.state, &place.secrets).unwrap()
        );

        // Another user's or machine's key.
        assert!(is_foreign(&place.state, &place.secrets.join("other")));
        // Moved, and another directory in its place.
        let moved = place.state.with_file_name("moved");
        std::fs::rename(&place.state, &moved).unwrap();
        assert!(is_foreign(&moved, &place.secrets));
        std::fs::create_dir(&place.state).unwrap();
        for name in ["seal", "lock", "records.sqlite"] {
            std::fs::copy(moved.join(name), place.state.join(name)).unwrap();
        }
        assert!(is_foreign(&place.state, &place.secrets));
        adopt_with(&moved, &place.secrets).unwrap();
        assert_eq!(check_with(&moved, &place.secrets).unwrap(), Found::Ours);
    }

    #[test]
    fn without_a_seal_or_with_another_it_is_refused() {
        let place = place();
        used(&place);
        let seal = place.state.join(SEAL);
        for text in ["", "{}", "{\"version\":1,\"mac\":\"00\"}"] {
            std::fs::write(&seal, text).unwrap();
            assert!(is_foreign(&place.state, &place.secrets), "{text}");
        }
        std::fs::remove_file(&seal).unwrap();
        assert!(is_foreign(&place.state, &place.secrets));
        // An address file alone is enough to be somebody's state.
        for name in ["lock", "records.sqlite"] {
            std::fs::remove_file(place.state.join(name)).unwrap();
        }
        std::fs::write(place.state.join("address.json"), "{}").unwrap();
        assert!(is_foreign(&place.state, &place.secrets));
    }

    #[test]
    fn what_a_failed_start_left_is_ours_to_reset_or_adopt() {
        let place = place();
        ensure_with(&place.state, &place.secrets).unwrap();
        for name in ["lock", "waiting", "server.log", "address.tmp", "seal.new-x"] {
            std::fs::write(place.state.join(name), "").unwrap();
        }
        let moved = place.state.with_file_name("moved");
        std::fs::rename(&place.state, &moved).unwrap();
        assert!(is_foreign(&moved, &place.secrets));
        assert!(resembles_state(&moved));
        adopt_with(&moved, &place.secrets).unwrap();
        assert_eq!(check_with(&moved, &place.secrets).unwrap(), Found::Ours);
        // Any other file beside them is somebody's own.
        std::fs::write(moved.join("thesis.tex"), "").unwrap();
        assert!(!resembles_state(&moved));
    }

    #[test]
    fn links_are_not_followed() {
        let place = place();
        used(&place);
        let other = place.secrets.with_file_name("clone");
        std::fs::create_dir_all(&other).unwrap();
        symlink(place.state.parent().unwrap(), other.join(".mlops")).unwrap();
        let error = check_with(&other.join(".mlops/local"), &place.secrets).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(!resembles_state(&other.join(".mlops/local")));
        let link = other.join("link");
        symlink(&place.state, &link).unwrap();
        assert!(check_with(&link, &place.secrets).is_err());
        assert!(ensure_with(&link, &place.secrets).is_err());
        assert!(adopt_with(&link, &place.secrets).is_err());
    }

    #[test]
    fn a_seal_that_was_not_finished_is_written_again() {
        let place = place();
        std::fs::create_dir_all(&place.state).unwrap();
        std::fs::write(place.state.join("seal.new-x"), "{").unwrap();
        used(&place);
        assert_eq!(
            check_with(&place.state, &place.secrets).unwrap(),
            Found::Ours
        );
    }

    #[test]
    fn the_key_is_private_and_made_once() {
        let place = place();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| make_key(&place.secrets).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32));
        let path = place.secrets.join(KEY);
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((mode(&place.secrets), mode(&path)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&place.secrets).unwrap().count(), 1);

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = make_key(&place.secrets).unwrap_err();
        assert!(error.to_string().contains("others may read"), "{error}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "").unwrap();
        let error = make_key(&place.secrets).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn what_git_tracks_is_refused() {
        let place = place();
        let project = place.state.ancestors().nth(2).unwrap();
        std::fs::create_dir_all(project).unwrap();
        let tracked = Host {
            is_tracked: |_| Ok(true),
            ..Host::of_tests()
        };
        // Outside of a repository git is not asked.
        refuse_tracked(&place.state, &tracked).unwrap();
        std::fs::create_dir(project.join(".git")).unwrap();
        let error = refuse_tracked(&place.state, &tracked).unwrap_err();
        assert!(error.to_string().contains("git tracks"), "{error}");
        refuse_tracked(&place.state, &Host::of_tests()).unwrap();
    }
}
