//! constraints.json, together with statistics.json. In addition to "no panic" when data is checked
//! with them: writing a parsed file and parsing it again gives the same result.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mlops_fuzz::profile;
use mlops_validation::{Baseline, Constraints, Format, Profile, Statistics, check, files};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn sample() -> &'static Profile {
    static SAMPLE: OnceLock<Profile> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let rows: String = (0..200)
            .map(|i| format!("{i},{}.5,c{},\n", i % 7, i % 3))
            .collect();
        let text = format!("a,b,c,d\n{rows}");
        profile(text.as_bytes(), &Format::Csv).expect("a table")
    })
}

fn rewritten<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let first = files::render(value).expect("what was read can be written");
    let again: T = files::parse("x", &first).expect("what was written can be read");
    assert_eq!(files::render(&again).expect("and written"), first);
    again
}

fuzz_target!(|bytes: &[u8]| {
    let profile = sample();
    if let Ok(constraints) = files::parse::<Constraints>("x", bytes) {
        let baseline = Baseline {
            constraints: rewritten(&constraints),
            statistics: None,
        };
        let _ = check(
            profile,
            &profile.statistics(),
            &baseline,
            jiff::Timestamp::UNIX_EPOCH,
        );
    }
    if let Ok(statistics) = files::parse::<Statistics>("x", bytes) {
        let baseline = Baseline {
            constraints: Constraints::suggest(&rewritten(&statistics)),
            statistics: Some(statistics),
        };
        let _ = check(
            profile,
            &profile.statistics(),
            &baseline,
            jiff::Timestamp::UNIX_EPOCH,
        );
    }
});
