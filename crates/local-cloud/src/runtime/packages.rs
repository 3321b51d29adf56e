//! The Python packages in an image (`mlops image build --builder layers`). If the Python of this
//! machine can import them, they are used in place and nothing is installed.

use std::path::{Path, PathBuf};

use mlops_oci::build::PYTHON;
use mlops_oci::dependencies::DIRECTORY;
use serde_json::Value;

use crate::api::{ApiError, ApiResult};

/// The Python packages of an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packages {
    /// None: requirements.txt is installed.
    Absent,
    /// Packages for the Python and architecture of this machine.
    Bundled,
    /// Packages for others, with the reason: requirements.txt is installed instead.
    Incompatible(String),
}

impl Packages {
    /// Inspects the configuration and files of an image. `version` is the Python version of this
    /// machine.
    pub(super) fn of(config: &Value, opt: &Path, version: &str) -> Self {
        let Some(python) = config["config"]["Labels"][PYTHON].as_str() else {
            return Self::Absent;
        };
        if !opt.join(DIRECTORY_BELOW_OPT).is_dir() {
            return Self::Absent;
        }
        let machine = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let made_for = config["architecture"].as_str().unwrap_or_default();
        let same_python = version
            .strip_prefix(python)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if same_python && made_for == machine && cfg!(target_os = "linux") {
            return Self::Bundled;
        }
        Self::Incompatible(format!(
            "the image's packages are for Python {python} on linux/{made_for}, and this machine \
             has Python {version} on {}/{machine}: requirements.txt is installed instead",
            std::env::consts::OS
        ))
    }

    /// The entries of PATH or PYTHONPATH for an image whose /opt is at `opt`.
    pub(super) fn search_path(&self, value: &str, opt: &Path) -> Vec<String> {
        value
            .split(':')
            .filter(|entry| {
                // Packages that cannot be imported would hide the installed ones.
                let carried = Path::new(entry).starts_with(Path::new("/").join(DIRECTORY));
                !(carried && matches!(self, Self::Incompatible(_)))
            })
            .map(|entry| match Path::new(entry).strip_prefix("/opt") {
                Ok(rest) => opt.join(rest).display().to_string(),
                Err(_) => entry.to_owned(),
            })
            .collect()
    }
}

/// [`DIRECTORY`] as seen from /opt.
const DIRECTORY_BELOW_OPT: &str = "mlops/python";

/// The requirements.txt of the image, if any.
///
/// It is a link that leads out of the image.
pub(super) fn requirements(opt: &Path) -> ApiResult<Option<PathBuf>> {
    let file = opt.join("program/requirements.txt");
    if file.symlink_metadata().is_err() {
        return Ok(None);
    }
    let inside = file
        .canonicalize()
        .and_then(|real| Ok(real.starts_with(opt.canonicalize()?)))
        .unwrap_or(false);
    if inside {
        Ok(Some(file))
    } else {
        Err(ApiError::validation(
            "the image's /opt/program/requirements.txt is a link that leaves the image",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_program_directory_matches_that_of_built_images() {
        assert_eq!(
            Path::new("opt").join(DIRECTORY_BELOW_OPT),
            Path::new(DIRECTORY)
        );
    }

    #[test]
    fn packages_are_used_if_this_python_can_import_them() {
        let opt = tempfile::tempdir().unwrap();
        let machine = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            _ => "arm64",
        };
        let config = |architecture: &str| json!({"architecture": architecture, "config": {"Labels": {PYTHON: "3.1"}}});
        let of = |architecture: &str, version: &str| {
            Packages::of(&config(architecture), opt.path(), version)
        };
        assert_eq!(of(machine, "3.1.7"), Packages::Absent);
        std::fs::create_dir_all(opt.path().join(DIRECTORY_BELOW_OPT)).unwrap();
        assert_eq!(of(machine, "3.1.7"), Packages::Bundled);
        assert!(matches!(of(machine, "3.11.7"), Packages::Incompatible(_)));
        assert!(matches!(of("riscv64", "3.1.7"), Packages::Incompatible(_)));
        let unlabelled = Packages::of(&json!({}), opt.path(), "3.1.7");
        assert_eq!(unlabelled, Packages::Absent);
    }

    #[test]
    fn incompatible_packages_are_not_in_the_search_path() {
        let path = "/opt/program:/opt/mlops/python/bin:/bin";
        let at = Path::new("/state/opt");
        assert_eq!(
            Packages::Bundled.search_path(path, at),
            ["/state/opt/program", "/state/opt/mlops/python/bin", "/bin"]
        );
        let foreign = Packages::Incompatible(String::new());
        assert_eq!(
            foreign.search_path(path, at),
            ["/state/opt/program", "/bin"]
        );
        assert!(foreign.search_path("/opt/mlops/python", at).is_empty());
    }

    #[test]
    fn requirements_outside_the_image_are_not_read() {
        let opt = tempfile::tempdir().unwrap();
        assert!(requirements(opt.path()).unwrap().is_none());
        let program = opt.path().join("program");
        std::fs::create_dir(&program).unwrap();
        let file = program.join("requirements.txt");
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert!(requirements(opt.path()).is_err());
        std::fs::remove_file(&file).unwrap();
        std::fs::write(program.join("other"), "six\n").unwrap();
        std::os::unix::fs::symlink("other", &file).unwrap();
        assert_eq!(requirements(opt.path()).unwrap(), Some(file));
    }
}
