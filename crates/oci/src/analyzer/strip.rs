//! Removes a program's debugging information, which a container never reads and which takes half of
//! an unoptimized build.
//!
//! Only segments are loaded. Other sections (`.debug_…`, symbol tables) follow the last segment. A
//! program truncated there, with a header that lists no sections, runs the same.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, elf::FileHeader64};

/// The size of a 64-bit ELF header in bytes.
const HEADER: u64 = 64;

/// Offsets of the header's fields about sections: their position (8 bytes), and their size, number
/// and name section (2 bytes each).
const SECTIONS_OFFSET: usize = 0x28;
const SECTIONS_COUNT: usize = 0x3A;

/// The bytes of a program to keep, and their number.
pub(super) fn open(program: &Path) -> Result<(Box<dyn Read>, u64)> {
    let mut file = File::open(program)?;
    let whole = file.metadata()?.len();
    let Some(end) = end_of_segments(program, whole)? else {
        return Ok((Box::new(file), whole));
    };
    let mut header = vec![0; usize::try_from(HEADER)?];
    file.read_exact(&mut header)?;
    header[SECTIONS_OFFSET..SECTIONS_OFFSET + 8].fill(0);
    header[SECTIONS_COUNT..].fill(0);
    file.seek(SeekFrom::Start(HEADER))?;
    Ok((
        Box::new(Cursor::new(header).chain(file.take(end - HEADER))),
        end,
    ))
}

/// Returns the end of the last segment; `None` if the program has no debugging information.
fn end_of_segments(program: &Path, whole: u64) -> Result<Option<u64>> {
    let file = ReadCache::new(File::open(program)?);
    let data = &file;
    let read = || -> object::read::Result<Option<u64>> {
        let header = FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, data)?;
        let debugging = sections.iter().any(|section| {
            let name = sections.section_name(endian, section).unwrap_or_default();
            name.starts_with(b".debug_") && section.sh_size(endian) > 0
        });
        if !debugging {
            return Ok(None);
        }
        let ends = header.program_headers(endian, data)?.iter().map(|segment| {
            segment
                .p_offset(endian)
                .saturating_add(segment.p_filesz(endian))
        });
        Ok(ends.max())
    };
    let end = read().with_context(|| format!("cannot parse {}", program.display()))?;
    Ok(end.filter(|end| (HEADER..whole).contains(end)))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_without_its_debugging_information_runs() {
        // This test program has debugging information, like every unoptimized build.
        let own = std::env::current_exe().unwrap();
        let (mut reader, size) = open(&own).unwrap();
        assert!(size < std::fs::metadata(&own).unwrap().len());
        let directory = tempfile::tempdir().unwrap();
        let stripped = directory.path().join("stripped");
        let written = std::io::copy(&mut reader, &mut File::create(&stripped).unwrap()).unwrap();
        assert_eq!(written, size);
        std::fs::set_permissions(&stripped, PermissionsExt::from_mode(0o755)).unwrap();
        let run = std::process::Command::new(&stripped)
            .args(["--list", "strip::"])
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
        assert!(String::from_utf8_lossy(&run.stdout).contains("debugging_information_runs"));
    }

    #[test]
    fn a_program_without_debugging_information_is_unchanged() {
        let (mut reader, size) = open(Path::new("/bin/ls")).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, std::fs::read("/bin/ls").unwrap());
        assert_eq!(size, bytes.len() as u64);
    }
}
