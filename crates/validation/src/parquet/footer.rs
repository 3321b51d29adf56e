//! Repairs footers that the `parquet` crate rejects but every other reader accepts.
//!
//! The crate checks the element types of Thrift's lists and assumes the types of members. Older writers used
//! others: fastparquet 0.8 wrote encodings as 64-bit numbers, Dremio wrote a list where the format later
//! introduced a number, and some wrote 0 as the offset of a missing dictionary. Such a footer is rewritten
//! with the types of the format; integers have the same bytes in every width. Members that are not needed to
//! read a table are dropped.
//!
//! Format: apache/parquet-format, `parquet.thrift`; the compact protocol of Apache Thrift.

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::super::shared::Shared;

/// Bytes of the footer's length and the file's signature, at its end.
pub(super) const TAIL: u64 = 8;
/// Maximum depth of structures in a footer.
const MAX_DEPTH: u32 = 32;

/// The type of a member in the format.
enum Kind {
    I16,
    I32,
    I64,
    /// An offset in the file; 0 means none.
    Place,
    Binary,
    List(&'static Kind),
    Struct(&'static [(i16, Kind)]),
    /// Any type; copied.
    Any,
}

const FILE: &[(i16, Kind)] = &[
    (1, Kind::I32),
    (2, Kind::List(&Kind::Struct(SCHEMA_ELEMENT))),
    (3, Kind::I64),
    (4, Kind::List(&Kind::Struct(ROW_GROUP))),
    (5, Kind::List(&Kind::Struct(KEY_VALUE))),
    (6, Kind::Binary),
];
const SCHEMA_ELEMENT: &[(i16, Kind)] = &[
    (1, Kind::I32),
    (2, Kind::I32),
    (3, Kind::I32),
    (4, Kind::Binary),
    (5, Kind::I32),
    (6, Kind::I32),
    (7, Kind::I32),
    (8, Kind::I32),
    (9, Kind::I32),
    (10, Kind::Any),
];
const KEY_VALUE: &[(i16, Kind)] = &[(1, Kind::Binary), (2, Kind::Binary)];
const ROW_GROUP: &[(i16, Kind)] = &[
    (1, Kind::List(&Kind::Struct(COLUMN_CHUNK))),
    (2, Kind::I64),
    (3, Kind::I64),
    (7, Kind::I16),
];
const COLUMN_CHUNK: &[(i16, Kind)] =
    &[(1, Kind::Binary), (2, Kind::I64), (3, Kind::Struct(COLUMN))];
const COLUMN: &[(i16, Kind)] = &[
    (1, Kind::I32),
    (2, Kind::List(&Kind::I32)),
    (3, Kind::List(&Kind::Binary)),
    (4, Kind::I32),
    (5, Kind::I64),
    (6, Kind::I64),
    (7, Kind::I64),
    (9, Kind::I64),
    (11, Kind::Place),
    (13, Kind::List(&Kind::Struct(PAGE_ENCODING))),
];
const PAGE_ENCODING: &[(i16, Kind)] = &[(1, Kind::I32), (2, Kind::I32), (3, Kind::I32)];

/// What the last bytes of a file indicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Parquet,
    /// The footer is encrypted.
    Encrypted,
    /// The file begins as Parquet but has no footer.
    Truncated,
    Other,
}

/// Detects the kind of a file by its first and last bytes.
pub(super) fn mark(file: &Shared) -> Result<Mark, ParquetError> {
    let size = file.len();
    let at = |start| file.get_bytes(start, 4);
    let begins = size >= 4 && matches!(&*at(0)?, b"PAR1" | b"PARE");
    if size < TAIL + 4 {
        return Ok(if begins { Mark::Truncated } else { Mark::Other });
    }
    Ok(match &*at(size - 4)? {
        b"PAR1" => Mark::Parquet,
        b"PARE" => Mark::Encrypted,
        _ if begins => Mark::Truncated,
        _ => Mark::Other,
    })
}

/// The bytes of the footer.
fn bytes(file: &Shared) -> Option<bytes::Bytes> {
    let size = file.len();
    let tail = file.get_bytes(size.checked_sub(TAIL)?, 8).ok()?;
    let length = u32::from_le_bytes(*tail.first_chunk()?);
    let start = size.checked_sub(TAIL + u64::from(length))?;
    file.get_bytes(start, length as usize).ok()
}

/// Parses a footer whose members have different types than the format requires; `None` if that
/// fails, too.
pub(super) fn lenient(file: &Shared) -> Option<ParquetMetaData> {
    let written = rewritten(&bytes(file)?)?;
    ParquetMetaDataReader::decode_metadata(&written).ok()
}

/// Returns whether columns are encrypted although the footer is not.
pub(super) fn has_encrypted_columns(file: &Shared) -> bool {
    const ALGORITHM: &[(i16, Kind)] = &[(8, Kind::Any)];
    let found = bytes(file).and_then(|bytes| {
        let mut written = Vec::new();
        Input::of(&bytes).structure(ALGORITHM, &mut written)?;
        Some(written.len() > 1)
    });
    found == Some(true)
}

fn rewritten(footer: &[u8]) -> Option<Vec<u8>> {
    let mut written = Vec::with_capacity(footer.len());
    Input::of(footer).structure(FILE, &mut written)?;
    Some(written)
}

/// A reader of Thrift's compact protocol. `None` means truncated or not Thrift.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The types of the compact protocol.
mod wire {
    pub(super) const STOP: u8 = 0;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

impl Kind {
    /// The type to write; `None` for any.
    fn written(&self) -> Option<u8> {
        match self {
            Self::I16 => Some(wire::I16),
            Self::I32 => Some(wire::I32),
            Self::I64 | Self::Place => Some(wire::I64),
            Self::Binary => Some(wire::BINARY),
            Self::List(_) => Some(wire::LIST),
            Self::Struct(_) => Some(wire::STRUCT),
            Self::Any => None,
        }
    }

    /// Returns the type to write if `found` can be read as this kind.
    fn fits(&self, found: u8) -> Option<u8> {
        let written = self.written().unwrap_or(found);
        let fits = match self {
            Self::I16 | Self::I32 | Self::I64 | Self::Place => {
                matches!(found, wire::I16 | wire::I32 | wire::I64)
            }
            Self::List(_) => matches!(found, wire::LIST | wire::SET),
            Self::Binary | Self::Struct(_) | Self::Any => found == written,
        };
        fits.then_some(written)
    }
}

impl<'a> Input<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, length: u64) -> Option<()> {
        let length = usize::try_from(length).ok()?;
        self.at = self.at.checked_add(length)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads the header of a list: number and type of its elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Some((count, head & 0x0f))
    }

    /// Reads the number and type of a structure's next member; `Some(None)` at the end.
    #[expect(clippy::option_option, reason = "the outer one is what is no Thrift")]
    fn member(&mut self, last: i16) -> Option<Option<(i16, u8)>> {
        let head = self.byte()?;
        let kind = head & 0x0f;
        if kind == wire::STOP {
            return Some(None);
        }
        let id = match i16::from(head >> 4) {
            0 => zigzag(self.varint()?)?,
            delta => last.checked_add(delta)?,
        };
        Some(Some((id, kind)))
    }

    /// Copies the members that the format defines, with its types.
    fn structure(&mut self, members: &[(i16, Kind)], out: &mut Vec<u8>) -> Option<()> {
        let (mut last, mut last_written) = (0, 0);
        while let Some((id, found)) = self.member(last)? {
            last = id;
            let known = members.iter().find(|(known, _)| *known == id);
            let kind = known.and_then(|(_, kind)| Some((kind, kind.fits(found)?)));
            let Some((kind, written)) = kind else {
                self.skip(found, MAX_DEPTH)?;
                continue;
            };
            let mut value = Vec::new();
            if self.value(kind, found, &mut value)? {
                let delta = u8::try_from(i32::from(id) - i32::from(last_written));
                if let Ok(delta @ 1..=15) = delta {
                    out.push(delta << 4 | written);
                } else {
                    out.push(written);
                    put_varint(out, u64::from((id << 1 ^ id >> 15).cast_unsigned()));
                }
                out.append(&mut value);
                last_written = id;
            }
        }
        out.push(wire::STOP);
        Some(())
    }

    /// Copies one value; false if it must be dropped.
    fn value(&mut self, kind: &Kind, found: u8, out: &mut Vec<u8>) -> Option<bool> {
        let start = self.at;
        match kind {
            Kind::List(element) => return self.elements(element, out),
            Kind::Struct(members) => {
                self.structure(members, out)?;
                return Some(true);
            }
            Kind::Place if self.varint()? == 0 => return Some(false),
            Kind::Place => {}
            _ => self.skip(found, MAX_DEPTH)?,
        }
        out.extend_from_slice(&self.bytes[start..self.at]);
        Some(true)
    }

    fn elements(&mut self, kind: &Kind, out: &mut Vec<u8>) -> Option<bool> {
        let (count, found) = self.list()?;
        // An empty list may have any element type.
        let fits = if count == 0 {
            Some(kind.written().unwrap_or(wire::STRUCT))
        } else {
            kind.fits(found)
        };
        let Some(written) = fits else {
            for _ in 0..count {
                self.element(found, MAX_DEPTH)?;
            }
            return Some(false);
        };
        out.push(0xf0 | written);
        put_varint(out, count);
        for _ in 0..count {
            self.value(kind, found, out)?;
        }
        Some(true)
    }

    /// Skips an element of a list, in which a boolean takes one byte.
    fn element(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            1 | 2 => self.take(1),
            _ => self.skip(kind, depth),
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1 | 2 => Some(()),
            wire::BYTE => self.take(1),
            wire::I16 | wire::I32 | wire::I64 => self.varint().map(|_| ()),
            wire::DOUBLE => self.take(8),
            wire::BINARY => {
                let length = self.varint()?;
                self.take(length)
            }
            wire::LIST | wire::SET => {
                let (count, element) = self.list()?;
                (0..count).try_for_each(|_| self.element(element, depth))
            }
            wire::MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 0x0f, depth)
                })
            }
            wire::STRUCT => {
                let mut last = 0;
                while let Some((id, kind)) = self.member(last)? {
                    last = id;
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            wire::UUID => self.take(16),
            _ => None,
        }
    }
}

fn zigzag(value: u64) -> Option<i16> {
    let value = u16::try_from(value).ok()?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rewriting a footer of ours preserves it, and every truncated one is refused.
    #[test]
    fn invalid_footers_are_rejected() {
        // FileMetaData { 1: version, 2: [SchemaElement { 4: "a" }], 3: 7 rows }, with the list and
        // the numbers in different widths than the format's, and an unknown member.
        let footer =
            b"\x16\x02\x19\x1c\x48\x01a\x00\x15\x0e\x57\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let written = rewritten(footer).unwrap();
        assert_eq!(written, b"\x15\x02\x19\xfc\x01\x48\x01a\x00\x16\x0e\x00");
        assert_eq!(rewritten(&written).unwrap(), written);
        for length in 0..footer.len() {
            assert_eq!(rewritten(&footer[..length]), None, "{length}");
        }
        let deep = [b"\x8c".repeat(100_000), vec![0; 100_000]].concat();
        assert_eq!(rewritten(&deep), None);
        assert_eq!(
            rewritten(b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
            None
        );
        // A list of structures in place of a number is dropped; an empty list without a type is
        // kept.
        assert_eq!(rewritten(b"\x19\x1c\x00\x00").unwrap(), b"\x00");
        assert_eq!(rewritten(b"\x49\x00\x00").unwrap(), b"\x49\xfc\x00\x00");
    }
}
