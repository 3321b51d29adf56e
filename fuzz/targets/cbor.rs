//! Requests in CBOR: depth, number of values and repeated keys are checked while they are decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::decoders;

fuzz_target!(|bytes: &[u8]| decoders::cbor(bytes));
