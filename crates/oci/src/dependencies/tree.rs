//! Reads installed packages for a layer, and removes everything that depends on this machine.
//!
//! pip writes the path of its own Python into scripts (bin/) and their hashes into RECORD; both are
//! rewritten here. Compiled modules (`__pycache__`) are omitted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::super::layer::Writer;
use super::super::requirements::normalized;

/// The contents of a directory of installed packages.
#[derive(Debug, Default)]
pub(super) struct InstalledTree {
    /// Relative paths, sorted.
    entries: BTreeMap<PathBuf, Kind>,
    /// Normalized name and version of each package.
    pub(super) installed: BTreeMap<String, String>,
    /// Markers of the packages' own requirements, except those of extras.
    pub(super) markers: BTreeSet<String>,
}

#[derive(Debug)]
enum Kind {
    Directory,
    File {
        executable: bool,
    },
    /// Rewritten contents.
    Bytes {
        bytes: Vec<u8>,
        executable: bool,
    },
}

impl InstalledTree {
    /// Reads a directory created by `pip install --target`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let mut pending = vec![PathBuf::new()];
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(root.join(&directory))? {
                let entry = entry?;
                let name = entry.file_name();
                if name == "__pycache__" {
                    continue;
                }
                let path = directory.join(&name);
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    pending.push(path.clone());
                    tree.entries.insert(path, Kind::Directory);
                } else if kind.is_file() {
                    let executable = is_executable(&entry.metadata()?);
                    tree.entries.insert(path, Kind::File { executable });
                } else {
                    bail!("{} is neither a file nor a directory", path.display());
                }
            }
        }
        tree.clean(root)?;
        Ok(tree)
    }

    /// Rewrites files that contain paths of this machine.
    fn clean(&mut self, root: &Path) -> Result<()> {
        let packages: Vec<PathBuf> = self
            .entries
            .keys()
            .filter(|path| {
                path.components().count() == 1
                    && path
                        .extension()
                        .is_some_and(|extension| extension == "dist-info")
            })
            .cloned()
            .collect();
        for package in &packages {
            let (name, version) = name_and_version(package)?;
            self.installed.insert(name, version);
            // For a local wheel, it contains the wheel's path.
            let origin = package.join("direct_url.json");
            if self.entries.contains_key(&origin)
                && std::fs::read_to_string(root.join(&origin))?.contains("file:")
            {
                self.entries.remove(&origin);
            }
            let metadata = std::fs::read_to_string(root.join(package).join("METADATA"))
                .with_context(|| format!("{} has no METADATA", package.display()))?;
            self.markers.extend(markers(&metadata));
            let points = root.join(package).join("entry_points.txt");
            if points.is_file() {
                for (name, script) in scripts(&std::fs::read_to_string(points)?)? {
                    let path = Path::new("bin").join(name);
                    if self.entries.contains_key(&path) {
                        let bytes = script.into_bytes();
                        self.entries.insert(
                            path,
                            Kind::Bytes {
                                bytes,
                                executable: true,
                            },
                        );
                    }
                }
            }
        }
        self.clean_other_programs(root)?;
        for package in &packages {
            self.clean_record(root, package)?;
        }
        Ok(())
    }

    /// Rewrites scripts that a wheel ships, because pip changed their first line.
    fn clean_other_programs(&mut self, root: &Path) -> Result<()> {
        for (path, kind) in &mut self.entries {
            if path.parent() != Some(Path::new("bin")) || !matches!(kind, Kind::File { .. }) {
                continue;
            }
            let mut file = std::fs::File::open(root.join(path))?;
            let mut bytes = vec![0; 2];
            // Skip compiled programs, which are large and not text.
            if file.read_exact(&mut bytes).is_err() || bytes != b"#!" {
                continue;
            }
            file.read_to_end(&mut bytes)?;
            if let Some(bytes) = without_local_python(&bytes) {
                *kind = Kind::Bytes {
                    bytes,
                    executable: true,
                };
            }
        }
        Ok(())
    }

    /// Rewrites RECORD with paths relative to the directory and the hashes of rewritten files.
    fn clean_record(&mut self, root: &Path, package: &Path) -> Result<()> {
        let path = package.join("RECORD");
        if !self.entries.contains_key(&path) {
            return Ok(());
        }
        let text = std::fs::read_to_string(root.join(&path))?;
        let mut lines = BTreeSet::new();
        for line in text.lines() {
            let line = line.trim_start_matches("../");
            let name = line.split(',').next().unwrap_or_default();
            match self.entries.get(Path::new(name)) {
                Some(Kind::Bytes { bytes, .. }) => {
                    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
                    lines.insert(format!("{name},sha256={hash},{}", bytes.len()));
                }
                None if name.ends_with("/direct_url.json") => {}
                _ => {
                    lines.insert(line.to_owned());
                }
            }
        }
        let mut bytes = lines
            .into_iter()
            .collect::<Vec<_>>()
            .join("\n")
            .into_bytes();
        bytes.push(b'\n');
        self.entries.insert(
            path,
            Kind::Bytes {
                bytes,
                executable: false,
            },
        );
        Ok(())
    }

    /// Returns the number of files and directories.
    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Adds everything below `place` to a layer; `step` is called for each entry.
    pub(super) fn write<W: Write>(
        &self,
        root: &Path,
        place: &Path,
        layer: &mut Writer<W>,
        mut step: impl FnMut(),
    ) -> Result<()> {
        for (path, kind) in &self.entries {
            let at = place.join(path);
            let mode = |executable| if executable { 0o755 } else { 0o644 };
            match kind {
                Kind::Directory => layer.directory(&at, 0o755)?,
                Kind::Bytes { bytes, executable } => {
                    layer.file(&at, mode(*executable), bytes.len() as u64, &bytes[..])?;
                }
                Kind::File { executable } => {
                    let file = std::fs::File::open(root.join(path))
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    let size = file.metadata()?.len();
                    layer.file(&at, mode(*executable), size, file)?;
                }
            }
            step();
        }
        Ok(())
    }
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// Parses `NAME-VERSION.dist-info`.
fn name_and_version(package: &Path) -> Result<(String, String)> {
    package
        .file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.split_once('-'))
        .map(|(name, version)| (normalized(name), version.to_owned()))
        .with_context(|| format!("{} has no version", package.display()))
}

/// Returns the markers of a package's requirements. Requirements of extras apply only if requested,
/// and pip has then evaluated the extra itself.
fn markers(metadata: &str) -> impl Iterator<Item = String> {
    metadata
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("Requires-Dist:"))
        .filter_map(|line| line.split_once(';'))
        .map(|(_, marker)| marker.trim().to_owned())
        .filter(|marker| !marker.contains("extra"))
}

/// Generates the scripts that `entry_points.txt` defines.
fn scripts(points: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut wanted = false;
    for line in points.lines().map(str::trim) {
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            wanted = matches!(section.trim(), "console_scripts" | "gui_scripts");
            continue;
        }
        let Some((name, target)) = line.split_once('=').filter(|_| wanted) else {
            continue;
        };
        let (name, target) = (name.trim(), target.trim());
        let target = target.split('[').next().unwrap_or_default().trim();
        let (module, object) = target.split_once(':').unwrap_or((target, ""));
        let dotted = |text: &str| {
            !text.is_empty()
                && text.split('.').all(|part| {
                    !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')
                })
        };
        let (module, object) = (module.trim(), object.trim());
        if name.is_empty() || name.contains(['/', '\\', '\0']) || !dotted(module) || !dotted(object)
        {
            bail!(
                "the entry point `{}` is invalid",
                mlops_core::text::clean(line)
            );
        }
        let first = object.split('.').next().unwrap_or_default();
        let mut text = String::new();
        write!(
            text,
            "#!/usr/bin/env python3\nimport sys\n\nfrom {module} import {first}\n\nif __name__ == \
             \"__main__\":\n    sys.exit({object}())\n"
        )?;
        found.push((name.to_owned(), text));
    }
    Ok(found)
}

/// Replaces the path of this machine's Python in a script's first line by the one on PATH; pip uses
/// a second form for long paths.
fn without_local_python(bytes: &[u8]) -> Option<Vec<u8>> {
    const LONG: &[u8] = b"#!/bin/sh\n'''exec' ";
    let rest = bytes.strip_prefix(b"#!")?;
    let end = |skip: usize| {
        let mut ends = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        ends.nth(skip)
    };
    let body = if bytes.starts_with(LONG) {
        &bytes[end(2)?..]
    } else {
        let line = rest.split(|byte| *byte == b'\n').next()?;
        let line = std::str::from_utf8(line).ok()?;
        let program = line.trim().split(' ').next()?;
        let name = program.rsplit('/').next()?;
        if !name.starts_with("python") && !name.starts_with("pypy") {
            return None;
        }
        &bytes[end(0)?..]
    };
    Some([b"#!/usr/bin/env python3\n", body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_name_any_python() {
        for first in [
            "#!/root/.pyenv/versions/3.11.7/bin/python3.11\n",
            "#!/usr/bin/python3 -s\n",
            "#!/bin/sh\n'''exec' \"/a very long/bin/python\" \"$0\" \"$@\"\n' '''\n",
        ] {
            let program = format!("{first}print(1)\n");
            assert_eq!(
                without_local_python(program.as_bytes()).unwrap(),
                b"#!/usr/bin/env python3\nprint(1)\n",
                "{first}"
            );
        }
        assert!(without_local_python(b"#!/bin/sh\necho\n").is_none());
        assert!(without_local_python(b"\x7fELF").is_none());
    }

    #[test]
    fn entry_points_become_programs() {
        let found = scripts(
            "[console_scripts]\nf2py = numpy.f2py.f2py2e:main\nx=a:B.run [extra]\n\n[numpy.tests]\ny = z\n",
        )
        .unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "f2py");
        assert!(found[0].1.contains("from numpy.f2py.f2py2e import main\n"));
        assert!(
            found[1].1.contains("from a import B\n") && found[1].1.ends_with("sys.exit(B.run())\n")
        );
        for bad in ["../x = a:b", "x = a:b();import os", "x = a", "x = a;b:c"] {
            assert!(
                scripts(&format!("[console_scripts]\n{bad}\n")).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn two_machines_produce_the_same_tree() {
        let install = |python: &str| {
            let root = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = root.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            };
            let info = "Some_Pack-1.0.dist-info";
            write("some_pack/__init__.py", "");
            write("some_pack/__pycache__/__init__.pyc", python);
            write(
                "bin/run",
                &format!("#!{python}\n# as pip {python} writes it\n"),
            );
            write("bin/own", &format!("#!{python}\nprint()\n"));
            write(
                &format!("{info}/METADATA"),
                "Name: Some-Pack\nRequires-Dist: a; python_version < \"3\"\nRequires-Dist: b; extra == \"x\"\n\nRequires-Dist: c; d\n",
            );
            write(
                &format!("{info}/entry_points.txt"),
                "[console_scripts]\nrun = some_pack:main\n",
            );
            write(
                &format!("{info}/direct_url.json"),
                &format!("{{\"url\": \"file://{python}\"}}"),
            );
            write(
                &format!("{info}/RECORD"),
                &format!(
                    "../../bin/run,sha256={python},9\n../../bin/own,sha256={python},8\n{info}/direct_url.json,sha256={python},1\n{info}/RECORD,,\nsome_pack/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
                ),
            );
            let tree = InstalledTree::read(root.path()).unwrap();
            let mut layer = Writer::new(Vec::new(), flate2::Compression::fast());
            tree.write(root.path(), Path::new(""), &mut layer, || {})
                .unwrap();
            (tree, layer.finish().unwrap().0)
        };
        let (tree, one) = install("/usr/bin/python3");
        let (_, other) = install("/home/somebody/python3.12");
        assert_eq!(one, other);
        assert_eq!(tree.installed["some-pack"], "1.0");
        assert_eq!(tree.markers.len(), 1);
        let Kind::Bytes { bytes, .. } = &tree.entries[Path::new("Some_Pack-1.0.dist-info/RECORD")]
        else {
            panic!("RECORD is rewritten");
        };
        let record = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            record.starts_with("Some_Pack-1.0.dist-info/RECORD,,\nbin/own,sha256="),
            "{record}"
        );
        assert!(!record.contains("direct_url"), "{record}");
    }
}
