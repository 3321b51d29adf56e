//! The files of a push: which they are, and what their bytes are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest, Sha256};

use crate::error::{Exit, Failure, Hint};

/// A file to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it lies.
    pub source: PathBuf,
    /// Its path in the data set, with `/`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes, hex.
    pub sha256: String,
    /// The SHA-256 of each [`PART`] of it.
    pub parts: Vec<[u8; 32]>,
}

/// The size of a part of a large upload: S3 takes 10,000 parts.
pub const PART: u64 = 64 << 20;

/// The files of a directory and its subdirectories, or one file; by path. An empty directory is
/// an error; so is a symbolic link that leads out of the directory.
pub fn gather(root: &Path) -> Result<Vec<LocalFile>> {
    let root = root
        .canonicalize()
        .with_context(|| format!("cannot read {}", root.display()))?;
    let mut found = Vec::new();
    if root.is_dir() {
        walk(&root, &root, &mut Vec::new(), &mut found)?;
    } else {
        let name = root.file_name().unwrap_or_default();
        found.push((root.clone(), text(Path::new(name))?));
    }
    if found.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} holds no file", root.display()),
        ))
        .hint("name a directory with files, or one file");
    }
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    found
        .into_iter()
        .map(|(source, path)| {
            let mut file = LocalFile {
                source,
                path,
                size: 0,
                sha256: String::new(),
                parts: Vec::new(),
            };
            digest(&mut file).with_context(|| format!("cannot read {}", file.source.display()))?;
            Ok(file)
        })
        .collect()
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
            "the name manifest.json is taken: the data set's own manifest has it",
        ));
    }
    Ok(path)
}

/// `above` are the directories that lead here, so that a circle of links is seen.
fn walk(
    root: &Path,
    directory: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<(PathBuf, String)>,
) -> Result<()> {
    let real = directory
        .canonicalize()
        .with_context(|| format!("cannot read {}", directory.display()))?;
    if above.contains(&real) {
        return Err(Failure::usage(format!(
            "{} leads back to a directory that holds it",
            directory.display()
        )));
    }
    above.push(real);
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let real = path
            .canonicalize()
            .with_context(|| format!("cannot read {}", path.display()))?;
        if !real.starts_with(root) {
            return Err(Failure::usage(format!(
                "{} is a link that leaves the directory",
                path.display()
            )))
            .hint("copy the file into the directory, or push the place that the link leads to");
        }
        if real.is_dir() {
            walk(root, &path, above, found)?;
        } else if real.is_file() {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.push((path.clone(), text(relative)?));
        } else {
            return Err(Failure::usage(format!(
                "{} is neither a file nor a directory",
                path.display()
            )));
        }
    }
    above.pop();
    Ok(())
}

fn digest(file: &mut LocalFile) -> Result<()> {
    let mut source = File::open(&file.source)?;
    let mut whole = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let mut part = Sha256::new();
        let mut read = 0;
        let mut limited = source.by_ref().take(PART);
        loop {
            let count = limited.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            whole.update(&buffer[..count]);
            part.update(&buffer[..count]);
            read += count as u64;
        }
        if read == 0 {
            file.sha256 = hex::encode(whole.finalize());
            return Ok(());
        }
        file.size += read;
        file.parts.push(part.finalize().into());
    }
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
        assert!(file.sha256.starts_with("2cf24dba"), "{}", file.sha256);
    }

    #[test]
    fn links_that_leave_circles_and_emptiness_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(error.to_string().contains("holds no file"), "{error}");
        symlink(outside.path().join("secret"), directory.path().join("l")).unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(
            error.to_string().contains("leaves the directory"),
            "{error}"
        );
        std::fs::remove_file(directory.path().join("l")).unwrap();
        symlink(directory.path(), directory.path().join("again")).unwrap();
        let error = gather(directory.path()).unwrap_err();
        assert!(error.to_string().contains("leads back"), "{error}");
    }

    #[test]
    fn the_manifest_s_name_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("manifest.json"), "{}").unwrap();
        assert!(gather(directory.path()).is_err());
    }
}
