//! Parses requirements.txt as far as a reproducible layer needs it: names, how strictly they are
//! pinned, and which files belong to it. pip parses the file again and decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use mlops_core::error::{Failure, Hint, hinted};
use mlops_core::quote::short;
use sha2::{Digest, Sha256};

use super::save;

/// Maximum depth of includes; deeper ones indicate a cycle.
const DEEPEST: u32 = 16;

/// A requirements.txt with all its includes.
#[derive(Debug)]
pub struct Requirements {
    /// The file itself.
    pub file: PathBuf,
    entries: Vec<Entry>,
    /// Names that a constraints file pins to one version.
    constrained: Vec<String>,
    /// The contents of the files, in reading order.
    parts: Vec<Vec<u8>>,
}

/// One requirement.
#[derive(Debug)]
struct Entry {
    /// Normalized name (PEP 503); empty if only a file path is given.
    name: String,
    /// The original text, without hashes and comments.
    text: String,
    pin: Pin,
}

/// How strictly a requirement is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pin {
    /// Any matching version.
    Loose,
    /// One version.
    Version,
    /// One version, with the SHA-256 of each acceptable file.
    Hashed,
}

impl Requirements {
    /// Reads a file and its includes. Returns `None` if it is missing or empty.
    ///
    /// # Errors
    /// A file cannot be read, or it contains something other than wheels: a directory, a source
    /// archive, a version control system (exit 2).
    pub fn read(file: &Path) -> Result<Option<Self>> {
        if !file.is_file() {
            return Ok(None);
        }
        let mut found = Self {
            file: file.to_owned(),
            entries: Vec::new(),
            constrained: Vec::new(),
            parts: Vec::new(),
        };
        found.include(file, false, 0)?;
        Ok((!found.entries.is_empty()).then_some(found))
    }

    /// Returns the requirements that are not pinned to one version.
    pub fn loose(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter(|entry| entry.pin == Pin::Loose && !self.constrained.contains(&entry.name))
            .map(|entry| entry.text.as_str())
            .collect()
    }

    /// Returns whether each requirement has hashes; pip then also requires them of every
    /// dependency.
    pub fn is_hashed(&self) -> bool {
        self.entries.iter().all(|entry| entry.pin == Pin::Hashed)
    }

    /// Returns whether the files pin this package to one version.
    pub(super) fn pins(&self, name: &str) -> bool {
        let name = normalized(name);
        self.constrained.contains(&name)
            || self
                .entries
                .iter()
                .any(|entry| entry.name == name && entry.pin > Pin::Loose)
    }

    /// Returns the markers (`; …`) of the requirements.
    pub(super) fn markers(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter_map(|entry| Some(entry.text.split_once(';')?.1))
    }

    /// Adds the files' contents to a hash.
    pub(super) fn fingerprint(&self, hash: &mut Sha256) {
        for part in &self.parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }

    fn include(&mut self, file: &Path, constraints: bool, depth: u32) -> Result<()> {
        let shown = file.display();
        if depth > DEEPEST {
            bail!("{shown} includes itself");
        }
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let text = String::from_utf8(bytes.clone())
            .with_context(|| format!("{shown} is not text in UTF-8"))?;
        self.parts.push(bytes);
        let directory = file.parent().unwrap_or(Path::new(""));
        for line in logical_lines(&text) {
            if let Some((option, value)) = option(&line) {
                match option {
                    "-r" | "--requirement" | "-c" | "--constraint" => {
                        if value.contains("://") {
                            return Err(Failure::usage(format!(
                                "{shown}: `{}` is not a file of the project",
                                short(&line)
                            )))
                            .hint(
                                "keep a copy next to requirements.txt: files elsewhere can change",
                            );
                        }
                        let constraints =
                            constraints || option.starts_with("-c") || option == "--constraint";
                        self.include(&directory.join(value), constraints, depth + 1)?;
                    }
                    "-e" | "--editable" | "--no-binary" => return Err(not_a_wheel(file, &line)),
                    "-f" | "--find-links" if !value.contains("://") => {
                        self.parts.push(listing(&directory.join(value))?);
                    }
                    _ => {}
                }
                continue;
            }
            let entry = self.entry(file, directory, &line)?;
            if !constraints {
                self.entries.push(entry);
            } else if entry.pin > Pin::Loose {
                self.constrained.push(entry.name);
            }
        }
        Ok(())
    }

    fn entry(&mut self, file: &Path, directory: &Path, line: &str) -> Result<Entry> {
        let mut words = line.split_whitespace();
        let text: Vec<&str> = words
            .by_ref()
            .take_while(|word| !word.starts_with("--"))
            .collect();
        let hashed = line.contains(" --hash");
        let text = text.join(" ");
        let requirement = text.split(';').next().unwrap_or_default().trim();
        let firm = if hashed { Pin::Hashed } else { Pin::Version };
        let end = requirement
            .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
            .unwrap_or(requirement.len());
        let (name, rest) = requirement.split_at(end);
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((_, rest)) => rest.trim_start(),
            None => rest,
        };
        let address = rest
            .strip_prefix('@')
            .map(str::trim)
            .or_else(|| is_address(requirement).then_some(requirement));
        let (name, pin) = match address {
            None => (
                normalized(name),
                if is_one_version(rest) {
                    firm
                } else {
                    Pin::Loose
                },
            ),
            Some(address) => {
                let (path, fragment) = address.split_once('#').unwrap_or((address, ""));
                let Some(wheel) = wheel_name(path) else {
                    return Err(not_a_wheel(file, line));
                };
                if !path.contains("://") {
                    let wheel = directory.join(path);
                    let bytes = std::fs::read(&wheel)
                        .with_context(|| format!("cannot read {}", wheel.display()))?;
                    self.parts.push(Sha256::digest(&bytes).to_vec());
                }
                let hashed = hashed || fragment.contains("sha256=");
                (wheel, if hashed { Pin::Hashed } else { Pin::Version })
            }
        };
        if name.is_empty() {
            return Err(Failure::usage(format!(
                "{}: `{}` is not a requirement",
                file.display(),
                short(line)
            )));
        }
        Ok(Entry { name, text, pin })
    }
}

/// Returns the lines as pip sees them: joined after a trailing backslash, without comments.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    for line in text.lines() {
        if let Some(begun) = line.strip_suffix('\\')
            && !line.trim_start().starts_with('#')
        {
            joined.push_str(begun);
            joined.push(' ');
            continue;
        }
        joined.push_str(line);
        let whole = std::mem::take(&mut joined);
        let comment = whole
            .match_indices('#')
            .find(|(at, _)| *at == 0 || whole[..*at].ends_with(char::is_whitespace));
        let kept = comment
            .map_or(whole.as_str(), |(at, _)| &whole[..at])
            .trim();
        if !kept.is_empty() {
            lines.push(kept.to_owned());
        }
    }
    if !joined.trim().is_empty() {
        lines.push(joined.trim().to_owned());
    }
    lines
}

/// Parses an option of the file and its value: `-r FILE`, `-rFILE`, `--requirement=FILE`.
fn option(line: &str) -> Option<(&str, &str)> {
    if !line.starts_with('-') {
        return None;
    }
    let end = if line.starts_with("--") {
        line.find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(line.len())
    } else {
        line.len().min(2)
    };
    let (option, value) = line.split_at(end);
    Some((option, value.trim_start_matches('=').trim()))
}

/// Lists the names and hashes of a directory's files: the candidates for pip.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn listing(directory: &Path) -> Result<Vec<u8>> {
    let unread = || format!("cannot read {}", directory.display());
    let mut files = Vec::new();
    if directory.is_dir() {
        for entry in std::fs::read_dir(directory).with_context(unread)? {
            files.push(entry.with_context(unread)?.path());
        }
    } else {
        files.push(directory.to_owned());
    }
    files.sort();
    let mut whole = Vec::new();
    for file in files.into_iter().filter(|file| file.is_file()) {
        let digest = File::open(&file)
            .and_then(|file| save::copy(file, std::io::sink()))
            .with_context(|| format!("cannot read {}", file.display()))?;
        whole.extend_from_slice(file.file_name().unwrap_or_default().as_encoded_bytes());
        whole.push(0);
        whole.extend_from_slice(digest.to_string().as_bytes());
    }
    Ok(whole)
}

fn is_address(requirement: &str) -> bool {
    requirement.contains("://")
        || requirement.starts_with(['.', '/', '~'])
        || requirement.contains('/')
        || wheel_name(requirement).is_some()
}

/// The normalized name in a wheel's file name (`NAME-VERSION-….whl`).
fn wheel_name(path: &str) -> Option<String> {
    if path.starts_with("git+") || path.starts_with("file:") {
        return None;
    }
    let file = path.rsplit('/').next()?.strip_suffix(".whl")?;
    Some(normalized(file.split('-').next()?))
}

/// Returns whether a specifier is `==1.2.3` or `===1.2.3` alone.
fn is_one_version(specifier: &str) -> bool {
    let specifier = specifier
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
        .unwrap_or(specifier)
        .trim();
    specifier.strip_prefix("==").is_some_and(|version| {
        let version = version.trim_start_matches('=').trim();
        !version.is_empty() && !version.contains([',', '*', '<', '>', '~', '!'])
    })
}

/// Normalizes a package's name for comparison, as indexes do (PEP 503).
pub(super) fn normalized(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !result.ends_with('-') {
                result.push('-');
            }
        } else {
            result.push(c.to_ascii_lowercase());
        }
    }
    result
}

fn not_a_wheel(file: &Path, line: &str) -> anyhow::Error {
    hinted(
        Failure::usage(format!(
            "{}: `{}` would have to be built, but a layer can only contain wheels",
            file.display(),
            short(line)
        )),
        "use a wheel, or build the Dockerfile with Docker, podman or buildah: --builder",
    )
}

/// Returns the installed packages, with versions, that the files do not pin.
pub(super) fn unpinned<'a>(
    requirements: &Requirements,
    installed: &'a BTreeMap<String, String>,
) -> Vec<&'a str> {
    installed
        .keys()
        .filter(|name| !requirements.pins(name))
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Option<Requirements>> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Requirements::read(&directory.path().join("requirements.txt"))
    }

    fn one(text: &str) -> Requirements {
        read(&[("requirements.txt", text)]).unwrap().unwrap()
    }

    #[test]
    fn pins_are_classified() {
        for (line, expected) in [
            ("numpy==2.4.6", Pin::Version),
            ("numpy == 2.4.6 ; python_version > '3.9'", Pin::Version),
            ("numpy (==2.4.6)", Pin::Version),
            ("scikit-learn[all]===1.9.1", Pin::Version),
            ("numpy==2.4.6 --hash=sha256:abc", Pin::Hashed),
            (
                "numpy==2.4.6 \\\n    --hash=sha256:abc \\\n    --hash=sha256:def",
                Pin::Hashed,
            ),
            ("x @ https://example.com/x-1-py3-none-any.whl", Pin::Version),
            (
                "x @ https://example.com/x-1-py3-none-any.whl#sha256=abc",
                Pin::Hashed,
            ),
            ("numpy", Pin::Loose),
            ("numpy>=2", Pin::Loose),
            ("numpy~=2.4", Pin::Loose),
            ("numpy==2.*", Pin::Loose),
            ("numpy>=2,==2.4.6", Pin::Loose),
            ("numpy>=2 --hash=sha256:abc", Pin::Loose),
        ] {
            let found = one(&format!("# a comment\n{line}  # why\n\n"));
            assert_eq!(found.entries.len(), 1, "{line}");
            assert_eq!(found.entries[0].pin, expected, "{line}");
            assert_eq!(found.loose().is_empty(), expected != Pin::Loose, "{line}");
            assert_eq!(found.is_hashed(), expected == Pin::Hashed, "{line}");
        }
    }

    #[test]
    fn names_are_compared_as_indexes_do() {
        let found = one("Scikit_Learn==1\nx.y--z==2\n");
        assert!(found.pins("scikit-learn") && found.pins("X-Y.Z"));
        assert!(!found.pins("scikit"));
    }

    #[test]
    fn included_files_count() {
        let files = |constraint| {
            read(&[
                (
                    "requirements.txt",
                    "-r more.txt\n--constraint=pins.txt\nnumpy\n",
                ),
                (
                    "more.txt",
                    "--index-url https://example.com/simple\nscipy==1\n",
                ),
                ("pins.txt", constraint),
            ])
            .unwrap()
            .unwrap()
        };
        let hash = |requirements: &Requirements| {
            let mut hash = Sha256::new();
            requirements.fingerprint(&mut hash);
            hash.finalize()
        };
        let pinned = files("numpy==2\njoblib==1\n");
        assert!(pinned.loose().is_empty(), "{pinned:?}");
        assert!(pinned.pins("scipy") && pinned.pins("joblib"));
        let other = files("joblib==1\n");
        assert_eq!(other.loose(), ["numpy"]);
        assert_ne!(hash(&pinned), hash(&other));
        let installed = [("numpy", "2"), ("six", "1")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into();
        assert_eq!(unpinned(&pinned, &installed), ["six"]);
    }

    #[test]
    fn requirements_other_than_wheels_are_rejected() {
        for line in [
            "-e .",
            ".",
            "./library",
            "git+https://example.com/x.git@main",
            "x @ git+https://example.com/x.git",
            "https://example.com/x-1.tar.gz",
        ] {
            let error = read(&[("requirements.txt", line)]).unwrap_err();
            assert!(
                format!("{error:#}").contains("only contain wheels"),
                "{line}: {error:#}"
            );
        }
        let circle = read(&[("requirements.txt", "-r requirements.txt\n")]).unwrap_err();
        assert!(
            format!("{circle:#}").contains("includes itself"),
            "{circle:#}"
        );
        assert!(
            read(&[("requirements.txt", "# nothing\n")])
                .unwrap()
                .is_none()
        );
        assert!(read(&[]).unwrap().is_none());
    }

    #[test]
    fn a_local_wheel_is_identified_by_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("requirements.txt"), "./w_w-1-py3-none-any.whl\n").unwrap();
        let hash = |bytes: &str| {
            std::fs::write(at("w_w-1-py3-none-any.whl"), bytes).unwrap();
            let found = Requirements::read(&at("requirements.txt"))
                .unwrap()
                .unwrap();
            assert!(found.pins("w-w"));
            let mut hash = Sha256::new();
            found.fingerprint(&mut hash);
            hash.finalize()
        };
        assert_ne!(hash("one"), hash("two"));
    }
}
