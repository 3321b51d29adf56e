//! JSON Lines, as captured traffic and as flat objects. In addition to "no panic": flat objects are
//! accepted exactly when serde_json parses them and they are flat.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::{counts, profile};
use mlops_validation::capture::Window;
use mlops_validation::{Format, decode};
use serde_json::{Map, Value};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(profile) = profile(bytes, &Format::Capture(Window::default())) {
        counts(&profile);
    }
    let profiled = profile(bytes, &Format::Jsonl);
    if decode::encoding(bytes) != decode::Encoding::Plain {
        return;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').flat_map(rows);
    let lines: Vec<Result<Map<String, Value>, String>> = lines.collect();
    match &profiled {
        Ok(profile) => {
            let counted = counts(profile);
            let (mut present, mut rows) = (0, 0);
            for line in lines {
                match line {
                    Ok(row) => {
                        rows += 1;
                        for (key, value) in row {
                            assert!(!value.is_object() && !value.is_array());
                            assert!(counted.iter().any(|(name, ..)| *name == key));
                            present += u64::from(!value.is_null());
                        }
                    }
                    // 1e400 is a number for us, but out of range for serde_json.
                    Err(error) => {
                        assert!(error.contains("out of range"), "{error}");
                        return;
                    }
                }
            }
            assert_eq!(profile.rows(), rows);
            assert_eq!(
                counted.iter().map(|(_, present, _)| present).sum::<u64>(),
                present
            );
        }
        Err(error) => {
            let error = error.to_string();
            let known = [
                "twice",
                "has no name",
                "has a key",
                "no rows",
                "nested here",
            ];
            if known.iter().any(|known| error.contains(known)) {
                return;
            }
            assert!(
                lines.is_empty() || !lines.iter().all(Result::is_ok),
                "{error}"
            );
        }
    }
});

/// Returns the objects of a text split at LF; a CR after an object ends its line, too.
fn rows(mut rest: &[u8]) -> Vec<Result<Map<String, Value>, String>> {
    let mut found = Vec::new();
    loop {
        while let Some((line, next)) = split_at_cr(rest)
            && line.trim_ascii().is_empty()
        {
            rest = next;
        }
        if rest.trim_ascii().is_empty() {
            return found;
        }
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter();
        match stream.next() {
            Some(Ok(row)) => found.push(Ok(row)),
            Some(Err(error)) => {
                found.push(Err(error.to_string()));
                return found;
            }
            None => return found,
        }
        rest = &rest[stream.byte_offset()..];
        let (line, next) = split_at_cr(rest).unwrap_or((rest, b""));
        if !line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            found.push(Err("more on the same line".to_owned()));
            return found;
        }
        rest = next;
    }
}

fn split_at_cr(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\r')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}
