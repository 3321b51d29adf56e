//! Finds the shared libraries of a program: its loader and everything listed in `DT_NEEDED`, using
//! the loader's own search path.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache};
use oci_spec::image::Arch;

/// How a program was linked.
#[derive(Debug)]
struct Linked {
    machine: elf::Machine,
    /// The absolute path of its loader; `None` for a static program.
    interpreter: Option<PathBuf>,
    needed: Vec<String>,
    /// `DT_RPATH` and `DT_RUNPATH`, with `$ORIGIN` replaced.
    search: Vec<PathBuf>,
}

/// The requirements of a program on the machine it was linked on.
#[derive(Debug)]
pub(super) struct Libraries {
    /// The program's processor architecture.
    pub(super) architecture: Arch,
    /// The path in an image (relative to /) and the source file of each library.
    pub(super) files: BTreeMap<PathBuf, PathBuf>,
}

/// Finds the loader and the libraries of a program.
///
/// # Errors
/// The file is not a 64-bit Linux program for one of SageMaker's architectures, or a library is
/// missing.
pub(super) fn of(program: &Path) -> Result<Libraries> {
    let own = read(program)?.ok_or_else(|| {
        anyhow!(
            "{} is not a 64-bit Linux program, as containers require",
            program.display()
        )
    })?;
    let (architecture, triple) = match own.machine {
        elf::EM_X86_64 => (Arch::Amd64, "x86_64-linux-gnu"),
        elf::EM_AARCH64 => (Arch::ARM64, "aarch64-linux-gnu"),
        _ => bail!(
            "{} is for an architecture that SageMaker does not support",
            program.display()
        ),
    };
    let mut files = BTreeMap::new();
    let Some(interpreter) = own.interpreter.clone() else {
        return Ok(Libraries {
            architecture,
            files,
        });
    };
    let standard = standard_directories(triple);
    // Every loader searches the directory of its own C library, so all libraries are placed there.
    let home = standard
        .iter()
        .find(|directory| directory.join("libc.so.6").is_file())
        .cloned()
        .unwrap_or_else(|| standard[0].clone());
    files.insert(relative(&interpreter), regular(&interpreter)?);
    let machine = own.machine;
    let mut pending = VecDeque::from([own]);
    while let Some(linked) = pending.pop_front() {
        for name in linked.needed {
            let place = relative(&home.join(&name));
            let loader = interpreter.file_name().is_some_and(|own| own == &*name);
            if loader || files.contains_key(&place) {
                continue;
            }
            let (file, found) = linked
                .search
                .iter()
                .chain(&standard)
                .map(|directory| directory.join(&name))
                .filter(|path| path.is_file())
                .find_map(|path| match read(&path) {
                    Ok(Some(found)) if found.machine == machine => Some((path, found)),
                    _ => None,
                })
                .ok_or_else(|| {
                    anyhow!(
                        "the library {name}, which {} needs, was not found on this machine",
                        program.display()
                    )
                })?;
            files.insert(place, regular(&file)?);
            pending.push_back(found);
        }
    }
    Ok(Libraries {
        architecture,
        files,
    })
}

/// Resolves all links to the regular file; rejects devices and the like.
pub(super) fn regular(path: &Path) -> Result<PathBuf> {
    let real = path
        .canonicalize()
        .with_context(|| format!("cannot read {}", path.display()))?;
    if !real.is_file() {
        bail!("{} is not a file", path.display());
    }
    Ok(real)
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// Returns the loader's default search path: glibc's own directories on Debian and on Fedora, then
/// those of /etc/ld.so.conf.
fn standard_directories(triple: &str) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = [
        format!("/lib/{triple}"),
        format!("/usr/lib/{triple}"),
        "/lib64".to_owned(),
        "/usr/lib64".to_owned(),
        "/lib".to_owned(),
        "/usr/lib".to_owned(),
    ]
    .map(PathBuf::from)
    .into();
    directories.extend(configured(Path::new("/etc/ld.so.conf"), 0));
    directories
}

/// Returns the directories listed in a file like /etc/ld.so.conf, including its includes.
fn configured(file: &Path, depth: u32) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            let included = glob::glob(pattern.trim()).into_iter().flatten().flatten();
            if depth < 4 {
                found.extend(included.flat_map(|path| configured(&path, depth + 1)));
            }
        } else if line.starts_with('/') {
            found.push(PathBuf::from(line));
        }
    }
    found
}

/// Reads how a file was linked; `None` if it is not a 64-bit ELF file.
fn read(path: &Path) -> Result<Option<Linked>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let cache = ReadCache::new(file);
    let data = &cache;
    let Ok(header) = FileHeader64::<Endianness>::parse(data) else {
        return Ok(None);
    };
    let parse = || -> object::read::Result<Linked> {
        let endian = header.endian()?;
        let mut linked = Linked {
            machine: header.e_machine(endian),
            interpreter: None,
            needed: Vec::new(),
            search: Vec::new(),
        };
        for segment in header.program_headers(endian, data)? {
            if let Some(interpreter) = segment.interpreter(endian, data)? {
                linked.interpreter = Some(PathBuf::from(text(interpreter)));
            }
        }
        let dynamic = header.sections(endian, data)?.dynamic_table(endian, data)?;
        for entry in &dynamic {
            match entry.tag {
                elf::DT_NEEDED => linked.needed.push(text(dynamic.string(entry)?)),
                elf::DT_RPATH | elf::DT_RUNPATH => {
                    let origin = path.parent().unwrap_or(Path::new("/")).display();
                    linked.search.extend(
                        text(dynamic.string(entry)?)
                            .replace("${ORIGIN}", &origin.to_string())
                            .replace("$ORIGIN", &origin.to_string())
                            .split(':')
                            .map(PathBuf::from)
                            .filter(|directory| directory.is_absolute()),
                    );
                }
                _ => {}
            }
        }
        Ok(linked)
    };
    parse()
        .map(Some)
        .map_err(|error| anyhow!("cannot parse {}: {error}", path.display()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_those_that_the_loader_loads() {
        let program = std::env::current_exe().unwrap();
        let found = of(&program).unwrap();
        let names: Vec<String> = found
            .files
            .keys()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        // Like ldd: with `LD_TRACE_LOADED_OBJECTS` the loader lists libraries instead of running the
        // program.
        let listed = std::process::Command::new(&program)
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut expected: Vec<String> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| !name.contains("vdso"))
            .map(|name| name.rsplit('/').next().unwrap().to_owned())
            .collect();
        let mut names = names;
        names.sort();
        expected.sort();
        assert_eq!(names, expected);
        assert!(found.files.keys().all(|path| path.is_relative()));
        assert!(found.files.values().all(|path| path.is_file()));
    }

    #[test]
    fn programs_that_no_container_runs_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let error = of(&script).unwrap_err();
        assert!(error.to_string().contains("not a 64-bit Linux"), "{error}");
        assert!(regular(Path::new("/dev/null")).is_err());
    }
}
