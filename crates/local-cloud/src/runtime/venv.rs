//! Virtual environments, created once for a Python and a requirements.txt and cached.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mlops_oci::pip;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::api::{ApiError, ApiResult};
use crate::beneath;
use crate::children::Guarded;
use crate::cloud::Settings;
use crate::host::Environment;

/// File of the detailed log of pip, in the HOME of the installer.
const PIP_LOG: &str = "pip.log";

/// A virtual environment.
#[derive(Debug, Clone)]
pub(super) struct Venv {
    /// Its directory.
    pub(super) directory: PathBuf,
    /// Its Python's version, such as `3.11.7`.
    pub(super) version: String,
    /// Time it took to create; `None` if it was cached.
    pub(super) created_in: Option<Duration>,
}

impl Venv {
    /// The first directory in PATH.
    pub(super) fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }
}

/// Finds or creates the environment for these requirements (none if there is no file).
///
/// Each attempt uses its own directory and publishes it with a link at the end. So the remaining files of
/// a killed attempt are never used, even while its installer is still running.
pub(super) async fn prepare(settings: &Settings, requirements: Option<&Path>) -> ApiResult<Venv> {
    let (version, executable) = identify(&settings.python).await?;
    let requirements = requirements.filter(|file| file.is_file());
    let wanted = match requirements {
        Some(file) => std::fs::read(file)?,
        None => Vec::new(),
    };
    let key = key(&version, &executable, &wanted);
    let directory = settings.cache.join("venvs");
    std::fs::create_dir_all(&directory)?;
    let link = directory.join(&key);
    let ready = |created_in| {
        link.canonicalize().ok().map(|directory| Venv {
            directory,
            version: version.clone(),
            created_in,
        })
    };
    if let Some(venv) = ready(None) {
        return Ok(venv);
    }
    // Other servers share the cache: one creates the environment, the others wait.
    let lock = open_own_file(&directory.join(format!("{key}.lock")))?;
    let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .map_err(ApiError::internal)??;
    if let Some(venv) = ready(None) {
        return Ok(venv);
    }
    let start = Instant::now();
    remove_stale_attempts(&directory, &key);
    let attempt = directory.join(format!("{key}-{}", uuid::Uuid::new_v4().simple()));
    let log = directory.join(format!("{key}.log"));
    let requirements = requirements.filter(|_| !wanted.is_empty());
    let created = create(settings, &executable, &attempt, requirements, &log).await;
    if let Err(error) = created {
        // Leftovers are removed before the next attempt.
        let _ = beneath::remove(&attempt);
        return Err(error);
    }
    let temporary = attempt.with_extension("link");
    std::os::unix::fs::symlink(&attempt, &temporary)?;
    std::fs::rename(&temporary, &link)?;
    ready(Some(start.elapsed()))
        .ok_or_else(|| ApiError::internal("the virtual environment disappeared"))
}

/// The path at which [`prepare`] publishes the environment for these requirements.
pub(super) async fn location(settings: &Settings, requirements: &str) -> ApiResult<PathBuf> {
    let (version, executable) = identify(&settings.python).await?;
    let key = key(&version, &executable, requirements.as_bytes());
    Ok(settings.cache.join("venvs").join(key))
}

/// The name of an environment: what it was created from.
fn key(version: &str, executable: &str, wanted: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [version.as_bytes(), executable.as_bytes(), wanted] {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..16])
}

/// Opens a file of the cache for appending, and creates it if necessary. Code of the installed
/// packages can replace the file: a symbolic link is not followed, and a FIFO does not block.
fn open_own_file(path: &Path) -> std::io::Result<File> {
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        std::fs::remove_file(path)?;
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    File::options()
        .append(true)
        .create(true)
        .custom_flags(flags.bits())
        .open(path)
}

/// Removes the remaining files of killed attempts. Failures do no harm, because each attempt has a unique
/// name.
fn remove_stale_attempts(directory: &Path, key: &str) {
    let remains = format!("{key}-");
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(&remains)) {
            let _ = beneath::remove(&entry.path());
        }
    }
}

/// The version and the real path of a Python (the path of a shim cannot be a cache key). Queried
/// once per Python.
pub(super) async fn identify(python: &Path) -> ApiResult<(String, String)> {
    static KNOWN: Mutex<BTreeMap<PathBuf, (String, String)>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known().get(python).cloned()
        && Path::new(&found.1).exists()
    {
        return Ok(found);
    }
    let found = query(python).await?;
    known().insert(python.to_owned(), found.clone());
    Ok(found)
}

async fn query(python: &Path) -> ApiResult<(String, String)> {
    let hint = "the host runtime runs programs with it: install Python 3.11 or newer, or set \
                  MLOPS_PYTHON to one and start the local cloud again";
    let output = Command::new(python)
        .args(["-I", "-c"])
        .arg("import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| {
            client_error(format!(
                "no Python: cannot start `{}` ({error}); {hint}",
                python.display()
            ))
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    match (output.status.success(), lines.next(), lines.next()) {
        (true, Some(version), Some(executable)) => Ok((version.to_owned(), executable.to_owned())),
        _ => Err(client_error(format!(
            "no Python: `{}` does not work ({}): {}; {hint}",
            python.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

async fn create(
    settings: &Settings,
    python: &str,
    directory: &Path,
    requirements: Option<&Path>,
    log: &Path,
) -> ApiResult<()> {
    open_own_file(log)?.set_len(0)?;
    let venv_python = directory.join("bin/python3");
    let home = directory.join("home");
    let installer = Installer {
        home: &home,
        log,
        environment: (settings.host.installer_environment)(),
    };
    let own = Path::new(python);
    // The pip of the base Python can install into the environment, which saves copying pip into it.
    let shared_pip = requirements.is_some()
        && installer
            .status(own, &["-m", "pip", "--python", python, "--version"])
            .await?
            .success();
    let mut create = vec!["-m", "venv"];
    if shared_pip || requirements.is_none() {
        create.push("--without-pip");
    }
    create.push(text(directory)?);
    installer
        .run(own, &create, "create a virtual environment")
        .await?;
    let Some(requirements) = requirements else {
        let _ = beneath::remove(&home);
        return Ok(());
    };
    let (program, mut pip) = if shared_pip {
        (own, vec!["-m", "pip", "--python", text(&venv_python)?])
    } else {
        (venv_python.as_path(), vec!["-m", "pip"])
    };
    let pip_log = home.join(PIP_LOG);
    pip.extend([
        "install",
        "--log",
        text(&pip_log)?,
        "--no-input",
        "--disable-pip-version-check",
        "--quiet",
        // Modules are compiled on first import; most are never imported.
        "--no-compile",
        "--requirement",
        text(requirements)?,
    ]);
    installer
        .run(program, &pip, "install the packages of requirements.txt")
        .await?;
    // Code of packages can write there; remaining files do not make the environment unusable.
    let _ = beneath::remove(&home);
    Ok(())
}

/// Converts a path to an argument.
fn text(path: &Path) -> ApiResult<&str> {
    path.to_str()
        .ok_or_else(|| client_error(format!("the path {} is not UTF-8", path.display())))
}

/// Runs the programs that create an environment. They can run code of packages, so they have
/// neither the environment nor HOME of the user. They end, with everything they started, when the
/// caller stops waiting or the server dies.
struct Installer<'a> {
    home: &'a Path,
    /// File of their output.
    log: &'a Path,
    environment: Environment,
}

impl Installer<'_> {
    async fn status(&self, program: &Path, arguments: &[&str]) -> ApiResult<ExitStatus> {
        std::fs::create_dir_all(self.home)?;
        let downloads = self.log.with_file_name("pip");
        let errors = open_own_file(self.log)?;
        let output = errors.try_clone()?;
        let mut tool = Guarded::spawn(program, arguments, |command| {
            pip::prepare(command, &self.environment, self.home, &downloads);
            command.stdout(output).stderr(errors);
        })
        .await?;
        Ok(tool.wait().await?)
    }

    async fn run(&self, program: &Path, arguments: &[&str], what: &str) -> ApiResult<()> {
        let status = self.status(program, arguments).await?;
        if status.success() {
            return Ok(());
        }
        let text = pip::log_tail(self.log).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        let hint = pip::NetworkProblem::in_log(&self.home.join(PIP_LOG));
        let hint = hint.map(|trouble| {
            format!(
                "\nhint: {}, then start the local cloud again",
                trouble.hint(&self.environment)
            )
        });
        Err(client_error(format!(
            "cannot {what} ({status}):\n{tail}{}\nThe complete output is in {}",
            hint.unwrap_or_default(),
            self.log.display()
        )))
    }
}

/// An error that the owner of the job can fix.
fn client_error(message: impl Into<String>) -> ApiError {
    ApiError::new("ClientError", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    fn settings(cache: &Path, python: &str) -> Settings {
        Settings {
            cache: cache.to_owned(),
            python: python.into(),
            host: Host::of_tests(),
        }
    }

    #[tokio::test]
    async fn files_of_a_killed_attempt_are_not_used() {
        let cache = tempfile::tempdir().unwrap();
        let nothing = cache.path().join("requirements.txt");
        let settings = settings(cache.path(), "python3");
        let first = prepare(&settings, Some(&nothing)).await.unwrap();
        assert!(first.created_in.is_some());
        let link = std::fs::read_dir(cache.path().join("venvs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_symlink())
            .unwrap();
        assert!(
            prepare(&settings, Some(&nothing))
                .await
                .unwrap()
                .created_in
                .is_none()
        );
        // As if killed before it was published: the directory exists, the link does not.
        std::fs::remove_file(link).unwrap();
        let second = prepare(&settings, Some(&nothing)).await.unwrap();
        assert!(second.created_in.is_some());
        assert!(!first.directory.exists());
        assert!(second.bin().join("python3").exists());
    }

    #[test]
    fn a_file_that_a_package_replaced_cannot_block_or_redirect_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let (log, other) = (directory.path().join("log"), directory.path().join("other"));
        std::fs::write(&other, "kept").unwrap();
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
        open_own_file(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink(&other, &log).unwrap();
        open_own_file(&log).unwrap().set_len(0).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "kept");
        assert!(log.symlink_metadata().unwrap().is_file());
    }

    #[tokio::test]
    async fn a_missing_python_error_names_the_variable() {
        let cache = tempfile::tempdir().unwrap();
        let error = prepare(&settings(cache.path(), "/nowhere/python3"), None)
            .await
            .unwrap_err();
        assert_eq!(error.code, "ClientError");
        assert!(error.message.contains("MLOPS_PYTHON"), "{error}");
    }

    /// A server without TLS instead of the index that requirements.txt names.
    #[tokio::test]
    async fn a_failed_handshake_of_pip_names_the_setting() {
        use std::io::Write as _;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let _ = client
                    .unwrap()
                    .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let requirements = cache.path().join("requirements.txt");
        let wanted = format!("--index-url https://127.0.0.1:{port}/simple\nno-such-package==1.0\n");
        std::fs::write(&requirements, wanted).unwrap();
        let error = prepare(&settings(cache.path(), "python3"), Some(&requirements))
            .await
            .unwrap_err();
        for part in [
            "No matching distribution",
            "AWS_CA_BUNDLE",
            "start the local cloud",
        ] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
    }

    #[tokio::test]
    async fn code_of_a_package_cannot_read_the_environment_or_home() {
        const BACKEND: &str = r#"
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    # Cargo gives these to every test, and so to this installer's parent.
    assert not [name for name in os.environ if name.startswith("CARGO")], "the environment"
    assert os.environ["HOME"] != "USERS_HOME", "HOME"
    name = "clean-1-py3-none-any.whl"
    info = "clean-1.dist-info/"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.writestr("clean.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: clean\nVersion: 1\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return name
"#;
        let cache = tempfile::tempdir().unwrap();
        let package = cache.path().join("package");
        std::fs::create_dir(&package).unwrap();
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        let backend = BACKEND.replace("USERS_HOME", home.to_str().unwrap());
        std::fs::write(package.join("backend.py"), backend).unwrap();
        std::fs::write(
            package.join("pyproject.toml"),
            "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n",
        )
        .unwrap();
        let requirements = cache.path().join("requirements.txt");
        std::fs::write(&requirements, format!("{}\n", package.display())).unwrap();
        let venv = prepare(&settings(cache.path(), "python3"), Some(&requirements))
            .await
            .unwrap();
        assert!(!venv.directory.join("home").exists());
    }
}
