//! Checks the directory at the end of a zip before it is read into memory.
//!
//! The records at the end of an archive tell how many entries it has and where their directory is. A reader searches
//! for them and may try several, so this accepts only an archive whose last end record is complete and consistent,
//! which every reader then uses.

use std::io::{Read, Seek, SeekFrom};

/// Size of an end record without its comment.
const END: usize = 22;

/// Size of the end record with the longest comment, and of what a reader may search before it.
const TAIL: u64 = 22 + 65_535 + 64;

/// Size of the locator of a zip64's end record.
const LOCATOR: usize = 20;

/// Size of a zip64's end record.
const END64: usize = 56;

const WRONG: &str = "it has no complete end record, or something that looks like one after it";

/// Limits of an archive's directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// What the end of an archive tells.
struct Directory {
    entries: u64,
    size: u64,
    /// Where it begins in the file.
    start: u64,
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let found = bytes.get(at..at + size).unwrap_or_default();
    found
        .iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Refuses an archive whose directory is too large or ambiguous. The reader is rewound.
///
/// # Errors
/// What is wrong with the archive.
pub(crate) fn check(file: &mut (impl Read + Seek), limits: &Limits) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let size = file.seek(SeekFrom::End(0)).map_err(broken)?;
    let first = size.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(first)).map_err(broken)?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).map_err(broken)?;
    let found = tail.windows(4).rposition(|bytes| bytes == b"PK\x05\x06");
    let at = found.ok_or("it is not a zip: it has no end record")?;
    let end = tail.get(at..at + END).ok_or(WRONG)?;
    let position = first + at as u64;
    if position + END as u64 + number(end, 20, 2) != size {
        return Err(WRONG.to_owned());
    }
    let is_large = [4, 6, 8, 10].iter().any(|&at| number(end, at, 2) == 0xFFFF)
        || [12, 16].iter().any(|&at| number(end, at, 4) == 0xFFFF_FFFF);
    let locator = at
        .checked_sub(LOCATOR)
        .map(|start| &tail[start..at])
        .filter(|locator| is_large && locator.starts_with(b"PK\x06\x07"));
    let directory = match locator {
        None => small(end, position),
        Some(locator) => {
            let start = number(locator, 8, 8);
            file.seek(SeekFrom::Start(start)).map_err(broken)?;
            let mut end = Vec::new();
            file.take(END64 as u64)
                .read_to_end(&mut end)
                .map_err(broken)?;
            large(&end, locator, start, position - LOCATOR as u64)
        }
    };
    let directory = directory.ok_or(WRONG)?;
    if directory.entries > limits.entries {
        return Err(format!(
            "it has {} entries; at most {} are read",
            directory.entries, limits.entries
        ));
    }
    if directory.size > limits.bytes {
        return Err(format!(
            "its directory has {} bytes; at most {} are read",
            directory.size, limits.bytes
        ));
    }
    if directory.entries > 0 {
        let mut magic = [0; 4];
        file.seek(SeekFrom::Start(directory.start))
            .map_err(broken)?;
        file.read_exact(&mut magic).map_err(broken)?;
        if &magic != b"PK\x01\x02" {
            return Err(WRONG.to_owned());
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    Ok(())
}

/// The directory that an end record describes. It ends where the record begins; something may precede the archive.
fn small(end: &[u8], position: u64) -> Option<Directory> {
    let (entries, size, offset) = (number(end, 10, 2), number(end, 12, 4), number(end, 16, 4));
    let is_whole = number(end, 4, 4) == 0 && number(end, 8, 2) == entries;
    let start = position.checked_sub(size)?;
    (is_whole && start >= offset).then_some(Directory {
        entries,
        size,
        start,
    })
}

/// The directory that a zip64's end record at `position` describes, whose locator is at `after`.
fn large(end: &[u8], locator: &[u8], position: u64, after: u64) -> Option<Directory> {
    let (entries, size, start) = (number(end, 32, 8), number(end, 40, 8), number(end, 48, 8));
    let is_whole = end.len() == END64
        && end.starts_with(b"PK\x06\x06")
        && number(end, 4, 8).checked_add(12)?.checked_add(position)? == after
        && number(end, 16, 8) == 0
        && number(end, 24, 8) == entries
        && number(locator, 4, 4) == 0
        && number(locator, 16, 4) <= 1;
    (is_whole && start.checked_add(size)? == position).then_some(Directory {
        entries,
        size,
        start,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const LIMITS: Limits = Limits {
        entries: 10,
        bytes: 1000,
    };

    fn archive(count: usize, contents: &[u8]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for number in 0..count {
            let options =
                SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            writer.start_file(format!("{number}"), options).unwrap();
            writer.write_all(contents).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn found(bytes: &[u8]) -> Result<(), String> {
        check(&mut Cursor::new(bytes), &LIMITS)
    }

    #[test]
    fn ordinary_archives_are_accepted() {
        found(&archive(0, b"")).unwrap();
        found(&archive(10, b"x")).unwrap();
        // A stored zip in a zip, and a zip after something else.
        let inner = archive(1, b"x");
        found(&archive(2, &inner)).unwrap();
        found(&[b"#!/bin/sh\n".to_vec(), inner].concat()).unwrap();
    }

    #[test]
    fn large_and_ambiguous_archives_are_refused() {
        assert!(
            found(&archive(11, b"x"))
                .unwrap_err()
                .contains("11 entries")
        );
        let small = archive(1, b"x");
        for (name, bytes) in [
            ("an earlier record", [&small[..], b"PK\x05\x06"].concat()),
            ("what follows", [&small[..], b"rest"].concat()),
            ("nothing", Vec::new()),
            ("cut", small[..small.len() - 1].to_vec()),
        ] {
            assert!(found(&bytes).is_err(), "{name}");
        }
        let change = |back: usize, bytes: &[u8]| {
            let mut changed = small.clone();
            let at = changed.len() - back;
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        assert!(found(&change(10, &[0xFF; 4])).is_err(), "a large directory");
        assert!(found(&change(6, &[0xFF; 4])).is_err(), "a far directory");
        // A zip64 whose real number of entries is in its own record.
        let end = small.len() - END;
        let start = number(&small, end + 16, 4);
        let mut large = small[..end].to_vec();
        large.extend(b"PK\x06\x06");
        large.extend(44_u64.to_le_bytes());
        large.extend([0; 12]);
        large.extend(1_000_000_u64.to_le_bytes());
        large.extend(1_000_000_u64.to_le_bytes());
        large.extend((end as u64 - start).to_le_bytes());
        large.extend(start.to_le_bytes());
        large.extend(b"PK\x06\x07");
        large.extend([0; 4]);
        large.extend((end as u64).to_le_bytes());
        large.extend(1_u32.to_le_bytes());
        let mut last = small[end..].to_vec();
        last[8..12].fill(0xFF);
        large.extend(last);
        assert!(found(&large).unwrap_err().contains("1000000 entries"));
    }
}
