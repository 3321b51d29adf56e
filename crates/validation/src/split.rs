//! The fast path of CSV: splits a block in place, 64 bytes at a time.
//!
//! Finds quotes by the parity of preceding quotes, as in Langdale and Lemire, "Parsing gigabytes of
//! JSON per second" (2019).

use memchr::memchr_iter;
use wide::u8x16;

use super::batch::Batch;

/// The result of splitting a block.
pub(super) struct Split {
    pub(super) rows: usize,
    /// Number of bytes in complete rows.
    pub(super) taken: usize,
    /// Number of newlines in them, including those in quotes.
    pub(super) lines: u64,
    pub(super) quoted: bool,
    pub(super) crlf: bool,
}

/// Records the ends of cells, 64 bytes at a time. Returns `None` for anything irregular: a quote
/// that is not at the end of a cell, a carriage return without a newline, bytes that are not UTF-8,
/// a row of a different length, no complete row.
pub(super) fn split(block: &[u8], columns: usize, batch: &mut Batch) -> Option<Split> {
    const STEP: usize = 64;
    let (mut padded, (chunks, tail)) = ([b' '; STEP], block.as_chunks::<STEP>());
    padded[..tail.len()].copy_from_slice(tail);
    // Bits that carry over to the next 64 bytes: a separator, a closing quote, a carriage return. A
    // block begins like a cell.
    let (mut after_separator, mut after_quote, mut after_return) = (1_u64, 0_u64, 0_u64);
    // All ones inside an open quote.
    let mut inside = 0_u64;
    let (mut odd, mut high, mut any_quote, mut any_return) = (0_u64, 0, 0, 0);
    let (mut count, mut rows, mut last_row_end, mut lines, mut base) = (0, 0, 0, 0_u64, 0);
    for chunk in chunks.iter().chain([&padded]) {
        let bits = Bits::of(chunk);
        let within = if bits.quotes == 0 {
            inside
        } else {
            let within = prefix_xor(bits.quotes) ^ inside;
            inside = 0_u64.wrapping_sub(within >> 63);
            any_quote |= bits.quotes;
            within
        };
        let newlines = bits.newlines & !within;
        let mut separators = (bits.commas & !within) | newlines;
        let (opening, closing) = (bits.quotes & within, bits.quotes & !within);
        odd |= opening & !((separators << 1) | after_separator);
        let returns = bits.returns & !within;
        odd |= ((closing << 1) | after_quote) & !(separators | returns);
        odd |= ((returns << 1) | after_return) & !newlines;
        after_separator = separators >> 63;
        after_quote = closing >> 63;
        after_return = returns >> 63;
        any_return |= returns;
        high |= bits.high;
        batch.reserve_ends(count + STEP);
        let found = &mut batch.ends[count + 1..];
        let mut length = 0;
        while separators != 0 {
            found[length] = base + separators.trailing_zeros();
            separators &= separators - 1;
            length += 1;
        }
        if newlines != 0 {
            rows += newlines.count_ones() as usize;
            last_row_end = (base + 63 - newlines.leading_zeros()) as usize;
        }
        lines += u64::from(bits.newlines.count_ones());
        count += length;
        base += 64;
        if odd != 0 || count > (rows + 1) * columns + STEP {
            return None;
        }
    }
    if odd != 0 || rows == 0 || rows * columns > count {
        return None;
    }
    let ends = &batch.ends[..=rows * columns];
    let mut row_ends = ends.iter().skip(columns).step_by(columns);
    if ends.last().map(|end| *end as usize) != Some(last_row_end)
        || !row_ends.all(|end| block[*end as usize] == b'\n')
    {
        return None;
    }
    let taken = last_row_end + 1;
    if high != 0 && std::str::from_utf8(&block[..taken]).is_err() {
        return None;
    }
    Some(Split {
        rows,
        taken,
        lines: lines - memchr_iter(b'\n', &block[taken..]).count() as u64,
        quoted: any_quote != 0,
        crlf: any_return != 0,
    })
}

/// Positions of each kind of byte in 64 bytes, the first in the lowest bit.
struct Bits {
    commas: u64,
    newlines: u64,
    quotes: u64,
    returns: u64,
    high: u64,
}

impl Bits {
    #[inline]
    fn of(chunk: &[u8; 64]) -> Self {
        let (parts, _) = chunk.as_chunks::<16>();
        let mut bits = Self {
            commas: 0,
            newlines: 0,
            quotes: 0,
            returns: 0,
            high: 0,
        };
        for (part, place) in parts.iter().zip([0, 16, 32, 48]) {
            let part = u8x16::new(*part);
            let of = |byte| u64::from(part.simd_eq(u8x16::splat(byte)).to_bitmask()) << place;
            bits.commas |= of(b',');
            bits.newlines |= of(b'\n');
            bits.quotes |= of(b'"');
            bits.returns |= of(b'\r');
            bits.high |= u64::from(part.to_bitmask()) << place;
        }
        bits
    }
}

/// Sets each bit to the parity of the bits up to it.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::super::csv;
    use super::*;

    /// Both paths agree on a block, or the fast one defers to the slow one.
    #[test]
    fn the_fast_path_agrees_with_the_slow_path() {
        let mut seed = 7_u64;
        let (mut fast, mut left) = (0, 0);
        for _ in 0..20_000 {
            let mut block = Vec::new();
            let length = 2 + seed % 12;
            for _ in 0..length {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let texts: [&[u8]; 16] = [
                    b"a",
                    b",",
                    b"\n",
                    b"\"",
                    b"\"\"",
                    b"\r",
                    b"\r\n",
                    b"\"a,b\"\n",
                    b"x,y\n",
                    b"x,y\r\n",
                    b",\n",
                    b"\"q\",\"\"\n",
                    b"x,\"a,\n\"\n",
                    b"\"ab\r\n\",long enough to reach into the next sixty-four bytes of it\r\n",
                    "ü,\"ö\"\n".as_bytes(),
                    b"\"\",\"\"\r\n",
                ];
                // The first half is irregular, and rarer, so that some blocks are regular.
                let (kind, which) = ((seed >> 33) % 10, (seed >> 40) as usize % 8);
                block.extend_from_slice(texts[if kind == 0 { which } else { 8 + which }]);
            }
            if block.last() != Some(&b'\n') {
                block.push(b'\n');
            }
            let reader = csv::Reader::of_columns("t", 2);
            let (mut one, mut two) = (Batch::default(), Batch::default());
            let Some(split) = split(&block, 2, &mut one) else {
                left += 1;
                continue;
            };
            fast += 1;
            one.set(2, split.rows, split.quoted, split.crlf);
            one.bytes.clone_from(&block);
            let taken = reader
                .take_apart(&block, split.taken - 1, &mut two)
                .unwrap();
            let text = String::from_utf8_lossy(&block);
            assert_eq!((taken, two.rows()), (split.taken, split.rows), "{text:?}");
            assert_eq!(
                split.lines,
                memchr_iter(b'\n', &block[..taken]).count() as u64,
                "{text:?}"
            );
            for column in 0..2 {
                assert!(one.column(column).eq(two.column(column)), "{text:?}");
            }
        }
        for text in [
            "x,y\n",
            ",\n",
            "\"q\",\"\"\n",
            "x,\"a,\n\"\n",
            "x,y\r\n",
            "ü,\"ö\"\n",
            "\"\",\"\"\r\n",
            "\"a\r\n\",b\r\n",
        ] {
            let found = split(text.repeat(40).as_bytes(), 2, &mut Batch::default());
            assert_eq!(found.map(|found| found.rows), Some(40), "{text:?}");
        }
        assert!(fast > 1_000 && left > 1_000, "{fast} {left}");
    }
}
