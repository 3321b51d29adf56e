//! The seal of a state directory: proof that this user created it on this machine.
//!
//! The records in a state directory decide which programs run, so a directory that came with a
//! repository or an archive must not be used. The file `seal` holds a MAC over the directory's path
//! and inode, the user and the machine. Its key is stored outside of projects and caches
//! (`state.key` in [`Host::secrets`], mode 0600). Nothing in a directory, including its address
//! file, is trusted before the seal is checked.
//!
//! A directory with files that git tracks is refused as well: a checkout may have replaced them.

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

use super::state_files::{self, SEAL, UNFINISHED_SEAL};
use crate::host::Host;

const KEY: &str = "state.key";

/// Length of the key in bytes.
const KEY_LENGTH: usize = 32;

/// The result of a successful check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateDirectory {
    /// The directory does not exist or is empty.
    Absent,
    /// This user created it on this machine.
    Ours,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    version: u32,
    /// Hex.
    mac: String,
}

/// Checks that `directory` is a state directory of this user and machine, or empty. Anything else
/// is refused.
pub(super) fn check(directory: &Path, host: &Host) -> Result<StateDirectory> {
    let found = check_with(directory, &secrets(host)?)?;
    if found == StateDirectory::Ours {
        refuse_tracked(directory, host)?;
    }
    Ok(found)
}

/// Creates the directory and its seal if there is nothing yet, and returns its canonical path.
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

/// True for a directory that looks like the state of a local cloud, even if another user created
/// it.
pub(super) fn resembles_state(directory: &Path) -> bool {
    refuse_links(directory).is_ok() && state_files::resembles_state(directory)
}

fn secrets(host: &Host) -> Result<PathBuf> {
    (host.secrets)()
        .context("cannot store the key of the local cloud's state: no home directory")
        .hint("set HOME or XDG_STATE_HOME to an absolute path")
}

fn check_with(directory: &Path, secrets: &Path) -> Result<StateDirectory> {
    refuse_links(directory)?;
    let Some(identity) = Identity::of(directory)? else {
        return Ok(StateDirectory::Absent);
    };
    if is_unused(directory)? {
        return Ok(StateDirectory::Absent);
    }
    if !directory.join(SEAL).exists() && !state_files::resembles_state(directory) {
        return Err(Failure::usage(format!(
            "{} contains other files; not a state directory of a local cloud",
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
        return Err(foreign_state(directory));
    }
    Ok(StateDirectory::Ours)
}

fn foreign_state(directory: &Path) -> anyhow::Error {
    let error = Failure::usage(format!(
        "{} was not created by you on this machine, or was moved; it is not used, because its records \
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
    if check_with(directory, secrets)? == StateDirectory::Absent {
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
    if Identity::of(directory)?.is_none() || !state_files::resembles_state(directory) {
        return Err(Failure::usage(format!(
            "{} is not the state of a local cloud",
            directory.display()
        )))
        .hint("pass the directory that `mlops local status` shows");
    }
    write_seal(directory, secrets)
}

/// Refuses symbolic links, with which a repository could refer to another project's state.
fn refuse_links(directory: &Path) -> Result<()> {
    // Without a trailing slash, which would follow the link.
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
                "{} is a symbolic link: a state directory must be a real directory",
                path.display()
            )))
            .hint("remove the link; to keep the state elsewhere, use a bind mount");
        }
    }
    Ok(())
}

/// Refuses a directory with tracked files. git overwrites even ignored files if a commit contains
/// them, so tracked files can come from anyone.
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
            "git tracks files in {}: they can come from anyone, so it is not used",
            directory.display()
        )))
        .hint(format!(
            "remove them from the repository with `git rm -r --cached {}`, then run `mlops local \
             reset`",
            directory.display()
        ));
    }
    Ok(())
}

/// True if the directory contains nothing except unfinished seals.
fn is_unused(directory: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        if !entry?
            .file_name()
            .to_string_lossy()
            .starts_with(UNFINISHED_SEAL)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The identity of a state directory, which its seal authenticates.
#[derive(Debug)]
struct Identity {
    path: PathBuf,
    inode: u64,
    user: u32,
    machine: String,
}

impl Identity {
    /// The identity of a directory of this user; `None` if it does not exist.
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
            // Excludes the device number, which may change when the machine restarts.
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
            // Paths contain no zero bytes.
            mac.update(&[0]);
        }
        mac
    }
}

/// The id of the machine; empty if there is none, as in many containers.
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

/// Writes the seal atomically. Concurrent writers write the same contents.
fn write_seal(directory: &Path, secrets: &Path) -> Result<()> {
    let key = create_key(secrets)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let identity =
        Identity::of(directory)?.with_context(|| format!("{} was removed", directory.display()))?;
    let seal = Seal {
        version: 1,
        mac: hex::encode(identity.mac(&key).finalize().into_bytes()),
    };
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED_SEAL)
        .tempfile_in(directory)?;
    file.write_all(&serde_json::to_vec(&seal)?)?;
    file.persist(directory.join(SEAL))
        .with_context(|| format!("cannot seal {}", directory.display()))?;
    Ok(())
}

/// Opens a file for reading without following a symbolic link.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

/// Reads the key; `None` if there is none.
fn read_key(path: &Path) -> Result<Option<Vec<u8>>> {
    let unusable = |why: &str| {
        hinted(
            anyhow!("the key {} is not used: {why}", path.display()),
            "remove it, then reset or adopt the state directories that were sealed with it",
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

/// Reads or creates the key. Of two concurrent creations, one wins and both use its key.
fn create_key(secrets: &Path) -> Result<Vec<u8>> {
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

    fn directories() -> Directories {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        Directories {
            secrets: path.join("secrets/mlops"),
            state: path.join("project/.mlops/local"),
            _root: root,
        }
    }

    fn create_state(directories: &Directories) {
        ensure_with(&directories.state, &directories.secrets).unwrap();
        std::fs::write(directories.state.join("lock"), "").unwrap();
        std::fs::write(directories.state.join("records.sqlite"), "").unwrap();
    }

    fn is_foreign(directory: &Path, secrets: &Path) -> bool {
        let error = check_with(directory, secrets).unwrap_err();
        let hints = mlops_core::error::hints(&error).join("\n");
        error.to_string().contains("not created by you")
            && hints.contains("local reset")
            && hints.contains("local adopt")
    }

    #[test]
    fn a_directory_is_only_used_by_its_creator_at_its_original_path() {
        let directories = directories();
        assert_eq!(
            check_with(&directories.state, &directories.secrets).unwrap(),
            StateDirectory::Absent
        );
        assert!(!directories.state.exists(), "a look creates nothing");
        create_state(&directories);
        assert_eq!(
            check_with(&directories.state, &directories.secrets).unwrap(),
            StateDirectory::Ours
        );
        assert_eq!(
            directories.state,
            ensure_with(&directories.state, &directories.secrets).unwrap()
        );

        // The key of another user or machine.
        assert!(is_foreign(
            &directories.state,
            &directories.secrets.join("other")
        ));
        // Moved, with another directory in its place.
        let moved = directories.state.with_file_name("moved");
        std::fs::rename(&directories.state, &moved).unwrap();
        assert!(is_foreign(&moved, &directories.secrets));
        std::fs::create_dir(&directories.state).unwrap();
        for name in ["seal", "lock", "records.sqlite"] {
            std::fs::copy(moved.join(name), directories.state.join(name)).unwrap();
        }
        assert!(is_foreign(&directories.state, &directories.secrets));
        adopt_with(&moved, &directories.secrets).unwrap();
        assert_eq!(
            check_with(&moved, &directories.secrets).unwrap(),
            StateDirectory::Ours
        );
    }

    #[test]
    fn without_a_seal_or_with_another_it_is_refused() {
        let directories = directories();
        create_state(&directories);
        let seal = directories.state.join(SEAL);
        for text in ["", "{}", "{\"version\":1,\"mac\":\"00\"}"] {
            std::fs::write(&seal, text).unwrap();
            assert!(
                is_foreign(&directories.state, &directories.secrets),
                "{text}"
            );
        }
        std::fs::remove_file(&seal).unwrap();
        assert!(is_foreign(&directories.state, &directories.secrets));
        // An address file alone makes it somebody's state.
        for name in ["lock", "records.sqlite"] {
            std::fs::remove_file(directories.state.join(name)).unwrap();
        }
        std::fs::write(directories.state.join("address.json"), "{}").unwrap();
        assert!(is_foreign(&directories.state, &directories.secrets));
    }

    #[test]
    fn the_state_of_a_failed_start_can_be_reset_or_adopted() {
        let directories = directories();
        ensure_with(&directories.state, &directories.secrets).unwrap();
        for name in ["lock", "waiting", "server.log", "address.tmp", "seal.new-x"] {
            std::fs::write(directories.state.join(name), "").unwrap();
        }
        let moved = directories.state.with_file_name("moved");
        std::fs::rename(&directories.state, &moved).unwrap();
        assert!(is_foreign(&moved, &directories.secrets));
        assert!(resembles_state(&moved));
        adopt_with(&moved, &directories.secrets).unwrap();
        assert_eq!(
            check_with(&moved, &directories.secrets).unwrap(),
            StateDirectory::Ours
        );
        // Any other file next to them belongs to someone else.
        std::fs::write(moved.join("thesis.tex"), "").unwrap();
        assert!(!resembles_state(&moved));
    }

    #[test]
    fn links_are_not_followed() {
        let directories = directories();
        create_state(&directories);
        let other = directories.secrets.with_file_name("clone");
        std::fs::create_dir_all(&other).unwrap();
        symlink(directories.state.parent().unwrap(), other.join(".mlops")).unwrap();
        let error = check_with(&other.join(".mlops/local"), &directories.secrets).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(!resembles_state(&other.join(".mlops/local")));
        let link = other.join("link");
        symlink(&directories.state, &link).unwrap();
        assert!(check_with(&link, &directories.secrets).is_err());
        assert!(ensure_with(&link, &directories.secrets).is_err());
        assert!(adopt_with(&link, &directories.secrets).is_err());
    }

    #[test]
    fn an_unfinished_seal_is_rewritten() {
        let directories = directories();
        std::fs::create_dir_all(&directories.state).unwrap();
        std::fs::write(directories.state.join("seal.new-x"), "{").unwrap();
        create_state(&directories);
        assert_eq!(
            check_with(&directories.state, &directories.secrets).unwrap(),
            StateDirectory::Ours
        );
    }

    #[test]
    fn the_key_is_private_and_created_once() {
        let directories = directories();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| create_key(&directories.secrets).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32));
        let path = directories.secrets.join(KEY);
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((mode(&directories.secrets), mode(&path)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&directories.secrets).unwrap().count(), 1);

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = create_key(&directories.secrets).unwrap_err();
        assert!(error.to_string().contains("others may read"), "{error}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "").unwrap();
        let error = create_key(&directories.secrets).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn directories_tracked_by_git_are_refused() {
        let directories = directories();
        let project = directories.state.ancestors().nth(2).unwrap();
        std::fs::create_dir_all(project).unwrap();
        let tracked = Host {
            is_tracked: |_| Ok(true),
            ..Host::of_tests()
        };
        // Outside of a repository, git is not run.
        refuse_tracked(&directories.state, &tracked).unwrap();
        std::fs::create_dir(project.join(".git")).unwrap();
        let error = refuse_tracked(&directories.state, &tracked).unwrap_err();
        assert!(error.to_string().contains("git tracks"), "{error}");
        refuse_tracked(&directories.state, &Host::of_tests()).unwrap();
    }
}
