//! The Python packages that an image carries (`mlops image build --builder layers`): they are
//! imported from where they lie, so that nothing is installed, where this machine's Python can.

use std::path::{Path, PathBuf};

use mlops_oci::build::PYTHON;
use mlops_oci::dependencies::DIRECTORY;
use serde_json::Value;

use crate::api::{ApiError, ApiResult};

/// What an image has of packages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packages {
    /// None: requirements.txt is installed.
    Nothing,
    /// For a Python and a machine like this one.
    Carried,
    /// For another one, and why: requirements.txt is installed instead.
    Foreign(String),
}

impl Packages {
    /// Looks at an image's configuration and files. `version` is this machine's Python.
    pub(super) fn of(config: &Value, opt: &Path, version: &str) -> Self {
        let Some(python) = config["config"]["Labels"][PYTHON].as_str() else {
            return Self::Nothing;
        };
        if !opt.join(DIRECTORY_BELOW_OPT).is_dir() {
            return Self::Nothing;
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
            return Self::Carried;
        }
        Self::Foreign(format!(
            "the image's packages are for Python {python} on linux/{made_for}, and this machine \
             has Python {version} on {}/{machine}: requirements.txt is installed instead",
            std::env::consts::OS
        ))
    }

    /// The entries of PATH or PYTHONPATH of an image whose /opt lies at `opt`.
    pub(super) fn search_path(&self, value: &str, opt: &Path) -> Vec<String> {
        value
            .split(':')
            .filter(|entry| {
                // What cannot be imported would hide what was installed instead.
                let carried = Path::new(entry).starts_with(Path::new("/").join(DIRECTORY));
                !(carried && matches!(self, Self::Foreign(_)))
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

/// The image's requirements.txt, if it has one.
///
/// # Errors
/// It is a link that leaves the image.
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
    fn the_place_is_the_one_that_images_are_built_with() {
        assert_eq!(
            Path::new("opt").join(DIRECTORY_BELOW_OPT),
            Path::new(DIRECTORY)
        );
    }

    #[test]
    fn packages_are_used_where_this_python_can_import_them() {
        let opt = tempfile::tempdir().unwrap();
        let machine = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            _ => "arm64",
        };
        let config = |architecture: &str| json!({"architecture": architecture, "config": {"Labels": {PYTHON: "3.1"}}});
        let of = |architecture: &str, version: &str| {
            Packages::of(&config(architecture), opt.path(), version)
        };
        assert_eq!(of(machine, "3.1.7"), Packages::Nothing);
        std::fs::create_dir_all(opt.path().join(DIRECTORY_BELOW_OPT)).unwrap();
        assert_eq!(of(machine, "3.1.7"), Packages::Carried);
        assert!(matches!(of(machine, "3.11.7"), Packages::Foreign(_)));
        assert!(matches!(of("riscv64", "3.1.7"), Packages::Foreign(_)));
        let unlabelled = Packages::of(&json!({}), opt.path(), "3.1.7");
        assert_eq!(unlabelled, Packages::Nothing);
    }

    #[test]
    fn foreign_packages_are_in_no_search_path() {
        let path = "/opt/program:/opt/mlops/python/bin:/bin";
        let at = Path::new("/state/opt");
        assert_eq!(
            Packages::Carried.search_path(path, at),
            ["/state/opt/program", "/state/opt/mlops/python/bin", "/bin"]
        );
        let foreign = Packages::Foreign(String::new());
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
