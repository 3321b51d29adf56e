//! A function's zip and an image's tar: nothing appears outside a directory, and nothing is read
//! outside the archive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::decoders;

fuzz_target!(|bytes: &[u8]| {
    decoders::zip(bytes);
    decoders::tar(bytes);
});
