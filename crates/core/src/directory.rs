//! Creates directories for output. An error names the obstacle and the setting or file to change.

use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, anyhow};

use crate::error::{Exit, Failure, hinted};

/// Creates a directory and its parents.
///
/// # Errors
/// A file has that path (exit 2), missing permissions (exit 4), and other I/O errors.
pub fn create(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|error| refused("cannot create", directory, &error))
}

/// Builds the error of an operation on a path. `doing` is the start of its message, such as `cannot
/// create`.
pub fn refused(doing: &str, path: &Path, error: &IoError) -> Error {
    let text = format!("{doing} {}: {error}", path.display());
    let existing = existing(path);
    match (error.kind(), existing) {
        (ErrorKind::NotADirectory | ErrorKind::AlreadyExists, Some(found)) if !found.is_dir() => {
            hinted(
                Failure::usage(format!(
                    "{doing} {}: {} is not a directory",
                    path.display(),
                    found.display()
                )),
                format!("move or remove {}, then retry", found.display()),
            )
        }
        (ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem, Some(found)) => hinted(
            Failure::new(Exit::Credentials, text),
            format!(
                "make {} writable for this user (`ls -ld` shows its owner and permissions)",
                found.display()
            ),
        ),
        _ => anyhow!(text),
    }
}

/// Returns the path, or its nearest existing ancestor.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let found = path
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    found.map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{exit, hints};

    #[test]
    fn obstacles_are_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        for directory in [file.clone(), file.join("inner"), file.join("a/b")] {
            let error = create(&directory).unwrap_err();
            assert_eq!(exit(&error), Exit::Usage, "{error}");
            let named = format!("{} is not a directory", file.display());
            assert!(error.to_string().contains(&named), "{error}");
            assert!(hints(&error)[0].contains("move or remove"), "{error}");
        }
        create(&place.path().join("a/b")).unwrap();
        create(&place.path().join("a/b")).unwrap();
    }

    #[test]
    fn permissions_have_their_own_exit_code() {
        let place = tempfile::tempdir().unwrap();
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            let path = place.path().join("a/b");
            let error = refused("cannot create", &path, &kind.into());
            assert_eq!(exit(&error), Exit::Credentials);
            let named = format!("make {} writable", place.path().display());
            assert!(hints(&error)[0].contains(&named), "{:?}", hints(&error));
        }
    }
}
