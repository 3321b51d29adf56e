//! Forms of the query protocol: within the limits, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::decoders;

fuzz_target!(|bytes: &[u8]| decoders::form(bytes));
