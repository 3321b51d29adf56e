//! Code shared by the fuzz targets.
#![expect(clippy::missing_panics_doc, reason = "a panic is a finding")]

use std::io::Cursor;

use mlops_validation::{self as validation, DataError, Format, Profile, Source};

pub mod decoders;

/// Profiles bytes as one source.
///
/// # Errors
/// The bytes are not valid data of that format.
pub fn profile(bytes: &[u8], format: &Format) -> Result<Profile, DataError> {
    let bytes = Cursor::new(bytes.to_vec());
    validation::profile(vec![Source::stream("x", || Ok(bytes))], format, None)
}

/// Returns name, present and missing values of each column.
pub fn counts(profile: &Profile) -> Vec<(String, u64, u64)> {
    let statistics = profile.statistics();
    assert_eq!(statistics.dataset.item_count, profile.rows());
    statistics
        .features
        .into_iter()
        .map(|feature| {
            let common = feature.common().copied().expect("each column is counted");
            assert_eq!(common.num_present + common.num_missing, profile.rows());
            (feature.name, common.num_present, common.num_missing)
        })
        .collect()
}
