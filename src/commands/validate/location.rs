//! Locations of data on the command line.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result};
use mlops_core::s3::S3Object;

/// The location of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataLocation {
    /// `-`
    Stdin,
    /// A file, a directory or a pattern on this machine.
    Local(String),
    /// `s3://BUCKET/KEY[?versionId=ID]`: an object, one version of it, or a prefix.
    S3(S3Object),
    /// An address with another scheme, such as `s3a://`; supported only by Spark.
    Other(String),
}

impl FromStr for DataLocation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "-" => Self::Stdin,
            s3 if s3.starts_with("s3://") => Self::S3(s3.parse()?),
            other if other.contains("://") => Self::Other(other.to_owned()),
            path => Self::Local(path.to_owned()),
        })
    }
}

impl fmt::Display for DataLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("-"),
            Self::Local(text) | Self::Other(text) => f.write_str(text),
            Self::S3(object) => write!(f, "{object}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_parsed_and_formatted() {
        for (text, expected) in [
            ("-", DataLocation::Stdin),
            ("data/*.csv", DataLocation::Local("data/*.csv".to_owned())),
            ("./-", DataLocation::Local("./-".to_owned())),
            ("s3a://b/k", DataLocation::Other("s3a://b/k".to_owned())),
            ("s3://b/k", DataLocation::S3("s3://b/k".parse().unwrap())),
            (
                "s3://b/k?versionId=v",
                DataLocation::S3("s3://b/k?versionId=v".parse().unwrap()),
            ),
        ] {
            let location: DataLocation = text.parse().unwrap();
            assert_eq!(location, expected);
            assert_eq!(location.to_string(), text);
        }
        assert!("s3://".parse::<DataLocation>().is_err());
        assert!("s3://b/k?versionId=".parse::<DataLocation>().is_err());
    }
}
