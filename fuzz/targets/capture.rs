//! JSON Lines, as captured traffic and as flat objects. Beside "no panic": flat objects are
//! accepted exactly when serde_json reads them and they are flat.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::validation::capture::Window;
use mlops_fuzz::validation::{Format, decode};
use mlops_fuzz::{counts, profile};
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
    let lines: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .collect();
    match &profiled {
        Ok(profile) => {
            assert_eq!(profile.rows(), lines.len() as u64);
            let counted = counts(profile);
            let mut present = 0;
            for line in lines {
                match serde_json::from_slice::<Map<String, Value>>(line) {
                    Ok(row) => {
                        for (key, value) in row {
                            assert!(!value.is_object() && !value.is_array());
                            assert!(counted.iter().any(|(name, ..)| *name == key));
                            present += u64::from(!value.is_null());
                        }
                    }
                    // 1e400 is a number for us and out of range for serde_json.
                    Err(error) => {
                        assert!(error.to_string().contains("out of range"), "{error}");
                        return;
                    }
                }
            }
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
            let good = |line: &&[u8]| serde_json::from_slice::<Map<String, Value>>(line).is_ok();
            assert!(lines.is_empty() || !lines.iter().all(good), "{error}");
        }
    }
});
