//! CSV. In addition to "no panic": accepted data is parsed like the `csv` crate does; rows of plain
//! lines are accepted exactly when each has as many cells as the header; and two halves merge to
//! the whole.
#![no_main]

use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::{counts, profile};
use mlops_validation::{Format, decode};

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, data)) = bytes.split_first() else {
        return;
    };
    let profiled = profile(data, &Format::Csv);
    if decode::encoding(data) != decode::Encoding::Plain {
        return;
    }
    let ends = data.iter().filter(|byte| matches!(**byte, b'\n' | b'\r'));
    let lines = ends.count() as u64 + 1;
    if let Ok(profile) = &profiled {
        assert!(profile.rows() < lines, "a header and the rows");
    }
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    if let Ok(profile) = &profiled {
        // An empty line first: the `csv` crate would skip a second byte order mark, which belongs
        // to the first name.
        let mut reader = csv::ReaderBuilder::new().from_reader(b"\n".chain(data));
        let header = reader.headers().expect("a header that was read");
        let names = safe(&header.iter().collect::<Vec<_>>());
        let mut present = vec![0_u64; names.len()];
        let mut rows = 0;
        for record in reader.records() {
            rows += 1;
            let record = record.expect("a row that was read");
            for (count, cell) in present.iter_mut().zip(&record) {
                *count += u64::from(!cell.is_empty());
            }
        }
        assert_eq!(profile.rows(), rows);
        let expected: Vec<(String, u64, u64)> = names
            .into_iter()
            .zip(present)
            .map(|(name, present)| (name, present, rows - present))
            .collect();
        assert_eq!(counts(profile), expected);
    }
    if !data.contains(&b'"') {
        plain_lines(data, profiled.ok().as_ref(), cut);
    }
});

/// Spark's names (`CSVUtils.makeSafeHeader`).
fn safe(header: &[&str]) -> Vec<String> {
    let lower: Vec<String> = header.iter().map(|name| name.to_lowercase()).collect();
    let named = header.iter().enumerate().map(|(index, name)| {
        let alike = lower.iter().filter(|other| **other == lower[index]).count();
        match name {
            &"" => format!("_c{index}"),
            name if alike > 1 => format!("{name}{index}"),
            name => (*name).to_owned(),
        }
    });
    named.collect()
}

/// Without quotes, every line is a row.
fn plain_lines(data: &[u8], profiled: Option<&mlops_validation::Profile>, cut: u8) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(profiled.is_none(), "bytes that are not UTF-8");
        return;
    };
    let lines: Vec<&str> = text
        .split(['\n', '\r'])
        .filter(|line| !line.is_empty())
        .collect();
    let Some((header, rows)) = lines.split_first() else {
        assert!(profiled.is_none(), "no header");
        return;
    };
    let mut names = safe(&header.split(',').collect::<Vec<_>>());
    let width = names.len();
    names.sort_unstable();
    names.dedup();
    let good = names.len() == width
        && !rows.is_empty()
        && rows.iter().all(|row| row.split(',').count() == width);
    assert_eq!(profiled.is_some(), good, "{text:?}");
    let Some(whole) = profiled else {
        return;
    };
    assert_eq!(whole.rows(), rows.len() as u64);
    if rows.len() < 2 {
        return;
    }
    let (left, right) = rows.split_at(1 + usize::from(cut) % (rows.len() - 1));
    let half = |rows: &[&str]| {
        // An empty line first: the header may start with bytes that have a special meaning at the
        // start of a file (a byte order mark, the first bytes of a ZIP archive).
        let text = format!("\n{header}\n{}", rows.join("\n"));
        profile(text.as_bytes(), &Format::Csv).expect("a half of what was read")
    };
    let mut merged = half(left);
    merged.merge(&half(right)).expect("halves of one table");
    assert_eq!(merged.rows(), whole.rows());
    assert_eq!(counts(&merged), counts(whole));
    for (a, b) in merged
        .statistics()
        .features
        .iter()
        .zip(&whole.statistics().features)
    {
        assert_eq!(a.inferred_type, b.inferred_type);
        if let (Some(a), Some(b)) = (&a.numerical_statistics, &b.numerical_statistics) {
            assert_eq!((a.min, a.max), (b.min, b.max));
        }
        // Counted exactly, because there are fewer values than the counter's limit.
        assert_eq!(a.string_statistics, b.string_statistics);
    }
}
