//! The SHA-256 digest of a manifest, a layer or a configuration.

use std::fmt;
use std::str::FromStr;

use mlops_core::quote;
use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The algorithm's name, which precedes the digits.
const PREFIX: &str = "sha256:";

/// A SHA-256 digest: `sha256:` and 64 lower-case hexadecimal digits as text. It can be part of a path
/// or of a URL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// The text is not a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDigest(String);

impl Digest {
    /// Computes the digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits.
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }

    /// The first 12 hexadecimal digits, enough to identify an image.
    pub fn short(self) -> String {
        hex::encode(&self.0[..6])
    }

    /// Parses the 64 hexadecimal digits alone, as in file names.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        // `hex` would accept upper-case letters, which would give a digest a second text.
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(hex, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Parses the digest of a descriptor.
    ///
    /// # Errors
    /// The descriptor uses an algorithm other than SHA-256.
    pub fn described(descriptor: &Descriptor) -> Result<Self, InvalidDigest> {
        descriptor.digest().as_ref().parse()
    }
}

/// Returns the digest of a hasher's input.
impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.strip_prefix(PREFIX)
            .and_then(Self::from_hex)
            .ok_or_else(|| InvalidDigest(quote::short(text)))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{PREFIX}{}", self.hex()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for InvalidDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a digest: expected `sha256:` and 64 lower-case hexadecimal digits",
            self.0
        )
    }
}

impl std::error::Error for InvalidDigest {}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_has_one_spelling() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest, Digest::from(Sha256::new()));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.hex(), EMPTY["sha256:".len()..]);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(serde_json::to_value(digest).unwrap(), EMPTY);
        let read: Digest = serde_json::from_value(EMPTY.into()).unwrap();
        assert_eq!(read, digest);
        let sorted = |one: &[u8], other: &[u8]| {
            let (one, other) = (Digest::of(one), Digest::of(other));
            one.cmp(&other) == one.to_string().cmp(&other.to_string())
        };
        assert!(sorted(b"a", b"b") && sorted(b"b", b"a") && sorted(b"c", b"d"));
    }

    #[test]
    fn other_texts_are_refused() {
        let hex = &EMPTY["sha256:".len()..];
        for bad in [
            String::new(),
            "sha256:".to_owned(),
            hex.to_owned(),
            EMPTY.to_uppercase(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("{EMPTY}0"),
            format!("{EMPTY} "),
            format!("sha512:{hex}"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:é{}", &hex[2..]),
        ] {
            let error = bad.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains("is not a digest"), "{error}");
            assert!(serde_json::from_value::<Digest>(bad.into()).is_err());
        }
    }
}
