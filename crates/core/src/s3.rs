//! S3 addresses: `s3://BUCKET/KEY`, and one version of an object.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::quote;

/// Separates an object's address from its version id.
const VERSION: &str = "?versionId=";

/// The address of an object, or of a prefix: `s3://BUCKET/KEY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct S3Uri {
    /// The bucket.
    pub bucket: String,
    /// The key or prefix; may be empty.
    pub key: String,
}

impl S3Uri {
    /// Returns the address of `key` in `bucket`.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
        }
    }

    /// Returns the address of `name` below this prefix, separated by one slash.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let prefix = self.key.trim_end_matches('/');
        let key = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        Self::new(&self.bucket, key)
    }

    /// Returns one version of the object at this address.
    pub fn version(self, id: impl Into<String>) -> S3Object {
        S3Object {
            uri: self,
            version_id: Some(id.into()),
        }
    }
}

impl FromStr for S3Uri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
            .filter(|(bucket, _)| !bucket.is_empty())
            .map(|(bucket, key)| Self::new(bucket, key))
            .ok_or_else(|| {
                let text = quote::short(text);
                Failure::usage(format!("`{text}` is not an S3 address (s3://…)"))
            })
    }
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl TryFrom<String> for S3Uri {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<S3Uri> for String {
    fn from(uri: S3Uri) -> Self {
        uri.to_string()
    }
}

/// An object, or one version of it: `s3://BUCKET/KEY[?versionId=ID]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Object {
    /// Its address.
    pub uri: S3Uri,
    /// The version id; without one, the newest version.
    pub version_id: Option<String>,
}

impl FromStr for S3Object {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, version_id) = match text.split_once(VERSION) {
            Some((_, "")) => {
                let text = quote::short(text);
                return Err(Failure::usage(format!("{text}: the version id is empty")));
            }
            Some((address, id)) => (address, Some(id.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            uri: address.parse()?,
            version_id,
        })
    }
}

impl fmt::Display for S3Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri)?;
        match &self.version_id {
            Some(id) => write!(f, "{VERSION}{id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_formatted() {
        let uri: S3Uri = "s3://b/a/../c".parse().unwrap();
        assert_eq!((uri.bucket.as_str(), uri.key.as_str()), ("b", "a/../c"));
        assert_eq!(uri.to_string(), "s3://b/a/../c");
        assert_eq!("s3://b".parse::<S3Uri>().unwrap(), S3Uri::new("b", ""));
        for bad in ["b/c", "s3://", "s3:///k", "https://b/c", "S3://b/k", ""] {
            let error = bad.parse::<S3Uri>().unwrap_err();
            assert_eq!(crate::error::exit(&error), crate::error::Exit::Usage);
            assert!(bad.parse::<S3Object>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_joined_with_one_slash() {
        for (prefix, joined) in [
            ("s3://b", "s3://b/x"),
            ("s3://b/", "s3://b/x"),
            ("s3://b/a", "s3://b/a/x"),
            ("s3://b/a/", "s3://b/a/x"),
        ] {
            let prefix: S3Uri = prefix.parse().unwrap();
            assert_eq!(prefix.join("x").to_string(), joined);
        }
    }

    #[test]
    fn a_version_id_is_part_of_an_objects_address() {
        let text = "s3://b/a?b.csv?versionId=v1";
        let object: S3Object = text.parse().unwrap();
        assert_eq!(object, S3Uri::new("b", "a?b.csv").version("v1"));
        assert_eq!(object.to_string(), text);
        let newest: S3Object = "s3://b/k".parse().unwrap();
        assert_eq!(newest.version_id, None);
        assert_eq!(newest.to_string(), "s3://b/k");
        let error = "s3://b/k?versionId=".parse::<S3Object>().unwrap_err();
        assert!(error.to_string().contains("version id is empty"), "{error}");
    }
}
