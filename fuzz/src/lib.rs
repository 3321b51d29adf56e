//! The validation engine and the decoders, compiled from the same files as `mlops`, and what the
//! targets share.
#![expect(clippy::missing_panics_doc, reason = "a panic is a finding")]

use std::io::Cursor;

pub mod decoders;
mod error;

#[path = "../../src"]
mod rooms {
    pub mod json_keys;
    pub mod pipeline;
    pub mod quote;
    pub mod shapes;
    pub mod validation;
}

/// The decoders of the local cloud, without the services behind them.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../../src/local"]
mod local {
    pub mod api;
    pub mod limits;

    pub mod cloudformation {
        pub mod intrinsics;
        pub mod template;
    }

    pub mod lambda {
        pub mod code {
            pub mod archive;

            use archive::{check, extract, open};

            /// Checks a zip and unpacks it.
            pub fn unpack(
                bytes: &[u8],
                directory: &std::path::Path,
            ) -> super::super::api::ApiResult<()> {
                let mut archive = open(std::io::Cursor::new(bytes))?;
                check(&mut archive)?;
                extract(&mut archive, directory)
            }
        }

        pub fn invalid(message: impl Into<String>) -> super::api::ApiError {
            super::api::ApiError::new("InvalidParameterValueException", message)
        }
    }

    pub mod wire {
        pub mod query {
            pub mod form;
        }
    }
}

/// The reader of image archives.
#[path = "../../src/image"]
mod image {
    #[allow(dead_code)]
    mod archive;

    /// Reads an archive, and the files in it that have one of `names`.
    pub fn read(path: &std::path::Path, names: &[&str]) -> Vec<Vec<u8>> {
        let Ok(archive) = archive::Archive::open(path) else {
            return Vec::new();
        };
        names
            .iter()
            .filter_map(|name| archive.read(name, 1 << 20).ok())
            .collect()
    }
}

pub use rooms::{json_keys, pipeline, quote, shapes, validation};
use validation::{DataError, Format, Profile, Source};

/// Profiles bytes as one source.
///
/// # Errors
/// They are not data of that format.
pub fn profile(bytes: &[u8], format: &Format) -> Result<Profile, DataError> {
    let bytes = Cursor::new(bytes.to_vec());
    validation::profile(vec![Source::stream("x", || Ok(bytes))], format, None)
}

/// Name, present and missing values of each column.
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
