//! The depth and number of values of JSON, checked before it is decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::decoders;

fuzz_target!(|bytes: &[u8]| decoders::json(bytes));
