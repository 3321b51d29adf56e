//! Finds the files of a push.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, Hint};

/// A file to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Path on this machine.
    pub source: PathBuf,
    /// Path in the data set, with `/`.
    pub path: String,
    /// Size in bytes when the file was found.
    pub size: u64,
}

/// Lists the files of a directory and its subdirectories, or one file, by path. An empty directory
/// is an error; so is an unreadable file, or a symbolic link that points outside the directory.
pub fn gather(root: &Path) -> Result<Vec<LocalFile>> {
    let root = root
        .canonicalize()
        .with_context(|| format!("cannot read {}", root.display()))?;
    let mut found = Vec::new();
    if root.is_dir() {
        walk(&root, &root, &root, &mut Vec::new(), &mut found)?;
    } else {
        let name = root.file_name().unwrap_or_default();
        found.push(file(root.clone(), text(Path::new(name))?)?);
    }
    if found.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} contains no files", root.display()),
        ))
        .hint("pass a directory that contains files, or a single file");
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Opens the file, so that an unreadable one is detected before anything is uploaded.
fn file(source: PathBuf, path: String) -> Result<LocalFile> {
    let metadata = source
        .metadata()
        .with_context(|| format!("cannot read {}", source.display()))?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!(
            "{} is neither a file nor a directory",
            source.display()
        )));
    }
    File::open(&source).with_context(|| format!("cannot read {}", source.display()))?;
    Ok(LocalFile {
        source,
        path,
        size: metadata.len(),
    })
}

fn text(path: &Path) -> Result<String> {
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| part.as_os_str().to_str())
        .collect();
    let path = parts
        .map(|parts| parts.join("/"))
        .ok_or_else(|| Failure::usage(format!("{} is not UTF-8 text", path.display())))?;
    if path == super::MANIFEST {
        return Err(Failure::usage(
            "the name manifest.json is reserved for the data set's own manifest",
        ));
    }
    Ok(path)
}

/// `real` is `directory` with links resolved; `above` contains its ancestors, to detect cycles of
/// links.
fn walk(
    root: &Path,
    directory: &Path,
    real: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<LocalFile>,
) -> Result<()> {
    if above.iter().any(|seen| seen == real) {
        return Err(Failure::usage(format!(
            "{} links to a directory that contains it",
            directory.display()
        )));
    }
    above.push(real.to_owned());
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        let path = entry.path();
        let mut kind = entry.file_type()?;
        let mut real = real.join(entry.file_name());
        if kind.is_symlink() {
            real = path
                .canonicalize()
                .with_context(|| format!("cannot read {}", path.display()))?;
            if !real.starts_with(root) {
                return Err(Failure::usage(format!(
                    "{} is a link that points outside the directory",
                    path.display()
                )))
                .hint("copy the file into the directory, or push the target of the link");
            }
            kind = real.metadata()?.file_type();
        }
        if kind.is_dir() {
            walk(root, &path, &real, above, found)?;
        } else {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let relative = text(relative)?;
            found.push(file(path, relative)?);
        }
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn paths(root: &Path) -> Vec<String> {
        gather(root)
            .unwrap()
            .into_iter()
            .map(|file| file.path)
            .collect()
    }

    #[test]
    fn directories_are_walked_in_the_order_of_paths() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("b")).unwrap();
        std::fs::write(root.join("b/2.csv"), "x").unwrap();
        std::fs::write(root.join("a.csv"), "hello").unwrap();
        symlink(root.join("a.csv"), root.join("b/link.csv")).unwrap();
        assert_eq!(paths(root), ["a.csv", "b/2.csv", "b/link.csv"]);
        let file = &gather(&root.join("a.csv")).unwrap()[0];
        assert_eq!((file.path.as_str(), file.size), ("a.csv", 5));
    }

    #[test]
    fn links_to_the_outside_cycles_and_empty_directories_are_rejected() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(error.to_string().contains("contains no files"), "{error}");
        symlink(outside.path().join("secret"), directory.path().join("l")).unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(
            error.to_string().contains("points outside the directory"),
            "{error}"
        );
        std::fs::remove_file(directory.path().join("l")).unwrap();
        symlink(directory.path(), directory.path().join("again")).unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(error.to_string().contains("that contains it"), "{error}");
    }

    #[test]
    fn non_files_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let _socket =
            std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(error.to_string().contains("neither a file"), "{error}");
    }

    #[test]
    fn the_manifests_name_is_reserved() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("manifest.json"), "{}").unwrap();
        assert!(gather(directory.path()).is_err());
    }
}
