//! Pipeline definitions, their graph and their expressions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::decoders;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        decoders::definition(text);
    }
});
