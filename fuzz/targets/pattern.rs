//! Event patterns, matched with events: a pattern, a line feed, and an event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::decoders;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some((pattern, event)) = text.split_once('\n')
    {
        decoders::event_pattern(pattern, event);
    }
});
