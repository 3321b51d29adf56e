//! Image references: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`, as Docker and podman write them.
//!
//! Grammar: distribution/reference. A name whose first part is not a host belongs to docker.io.

use std::fmt;
use std::str::FromStr;

use mlops_core::names::ImageTag;
use mlops_core::network::is_loopback;
use serde::{Serialize, Serializer};
use url::Url;

use crate::Digest;

/// The registry of names without a host.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// The name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// `HOST` or `HOST:PORT`; `docker.io` if the name has none.
    pub host: String,
    /// Lower-case parts, separated by `/`.
    pub repository: String,
    /// The tag, if any.
    pub tag: Option<ImageTag>,
    /// The digest, if any.
    pub digest: Option<Digest>,
}

/// Identifies a manifest in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOrDigest<'a> {
    /// A tag, which the registry resolves.
    Tag(&'a str),
    /// The digest of the manifest itself.
    Digest(Digest),
}

impl TagOrDigest<'_> {
    /// Returns the digest, unless it is a tag.
    pub fn digest(self) -> Option<Digest> {
        match self {
            Self::Tag(_) => None,
            Self::Digest(digest) => Some(digest),
        }
    }

    /// Returns the separator before it in an image reference.
    pub(super) fn sign(self) -> char {
        match self {
            Self::Tag(_) => ':',
            Self::Digest(_) => '@',
        }
    }
}

impl fmt::Display for TagOrDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl From<Digest> for TagOrDigest<'_> {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl<'a> From<&'a ImageTag> for TagOrDigest<'a> {
    fn from(tag: &'a ImageTag) -> Self {
        Self::Tag(tag.as_str())
    }
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidReference {
    text: String,
    reason: &'static str,
}

impl fmt::Display for InvalidReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an image reference: {}",
            self.text, self.reason
        )
    }
}

impl std::error::Error for InvalidReference {}

impl FromStr for ImageReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|reason| InvalidReference {
            text: text.to_owned(),
            reason,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Serialize for ImageReference {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl ImageReference {
    /// Returns what to request from a registry: the digest, or the tag, or `latest`.
    pub fn target(&self) -> TagOrDigest<'_> {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.into(),
            (None, Some(tag)) => tag.into(),
            (None, None) => TagOrDigest::Tag("latest"),
        }
    }

    /// Returns the image with this digest in the same repository.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            host: self.host.clone(),
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// Returns whether the host is this machine.
    pub fn is_local(&self) -> bool {
        Url::parse(&format!("http://{}", self.host)).is_ok_and(|url| is_loopback(&url))
    }
}

fn parse(text: &str) -> Result<ImageReference, &'static str> {
    if text.contains("://") {
        return Err("expected HOST/REPOSITORY:TAG, without a scheme");
    }
    let (rest, digest) = match text.split_once('@') {
        None => (text, None),
        Some((rest, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| "a digest is `sha256:` and 64 lower-case hexadecimal digits")?;
            (rest, Some(digest))
        }
    };
    let (host, rest) = match rest.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, rest),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    };
    check_host(host)?;
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    let tag = tag
        .map(|tag| {
            tag.parse().map_err(|_| {
                "a tag is 1 to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`"
            })
        })
        .transpose()?;
    if !is_repository(repository) {
        return Err(
            "a repository is lower-case letters and digits, with single `.`, `_`, `__` or `-` \
             between them, in parts separated by `/`",
        );
    }
    let repository = if host == DOCKER_HUB && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    };
    Ok(ImageReference {
        host: host.to_owned(),
        repository,
        tag,
        digest,
    })
}

/// Checks that host and port are unchanged when parsed as a URL: no user, path or other spelling.
fn check_host(host: &str) -> Result<(), &'static str> {
    const REASON: &str = "the host is invalid";
    let clean = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    let url = Url::parse(&format!("http://{host}/")).map_err(|_| REASON)?;
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => Some(port.parse::<u16>().map_err(|_| REASON)?),
        _ => None,
    };
    let same = url.host_str().is_some() && url.port_or_known_default() == port.or(Some(80));
    if clean && same && url.path() == "/" {
        Ok(())
    } else {
        Err(REASON)
    }
}

/// OCI distribution specification 1.1, "Pulling manifests": `<name>`.
pub fn is_repository(text: &str) -> bool {
    text.len() <= 255 && text.split('/').all(is_component)
}

fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(word) || !bytes.last().copied().is_some_and(word) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || dashes(separator))
}

fn dashes(separator: &[u8]) -> bool {
    separator.iter().all(|b| *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, Option<String>) {
        let reference: ImageReference = text.parse().unwrap();
        (
            reference.host,
            reference.repository,
            reference.tag.map(|tag| tag.to_string()),
        )
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, host, repository, tag) in [
            ("python", "docker.io", "library/python", None),
            ("python:3.12", "docker.io", "library/python", Some("3.12")),
            ("me/x:1", "docker.io", "me/x", Some("1")),
            ("index.docker.io/me/x", "docker.io", "me/x", None),
            ("localhost/x:1", "localhost", "x", Some("1")),
            ("localhost:5000/x", "localhost:5000", "x", None),
            ("127.0.0.1:5000/a/b:t", "127.0.0.1:5000", "a/b", Some("t")),
            ("[::1]:5000/a:t", "[::1]:5000", "a", Some("t")),
            (
                "r.example/a__b/c-d.e:V_1",
                "r.example",
                "a__b/c-d.e",
                Some("V_1"),
            ),
        ] {
            let expected = (
                host.to_owned(),
                repository.to_owned(),
                tag.map(str::to_owned),
            );
            assert_eq!(read(text), expected, "{text}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        let repository: ImageReference = "r.example/a:t".parse().unwrap();
        assert_eq!(
            serde_json::to_value(repository.at(digest.parse().unwrap())).unwrap(),
            format!("r.example/a@{digest}")
        );
        let named: ImageReference = format!("r.example/a:t@{digest}").parse().unwrap();
        assert_eq!(named.target(), TagOrDigest::Digest(digest.parse().unwrap()));
        assert_eq!(named.to_string(), format!("r.example/a:t@{digest}"));
        assert_eq!(
            "x".parse::<ImageReference>().unwrap().target(),
            TagOrDigest::Tag("latest")
        );
    }

    #[test]
    fn invalid_names_are_rejected() {
        for bad in [
            "",
            "/",
            "r.example/",
            "https://r.example/x:1",
            "docker://x",
            "r.example/X:1",
            "r.example/x:",
            "r.example/x:-a",
            "r.example/x:a/b",
            "r.example/a//b",
            "r.example/../b",
            "r.example/a..b",
            "r.example/a___b",
            "r.example/a_-b",
            "r.example/-a",
            "user@r.example/a:1",
            "user:secret@r.example/a:1",
            "r.example:x/a",
            "r.example:99999/a",
            "r.example?x=/a",
            "r.example#/a",
            "[::1/a",
            "r.example/a@sha256:abc",
            "r.example/a@md5:0123456789",
            "r.example/a b",
            "r.exämple/a",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
        let long = format!("r.example/{}", "a".repeat(256));
        assert!(long.parse::<ImageReference>().is_err());
    }

    #[test]
    fn only_this_machine_is_local() {
        for (text, local) in [
            ("localhost:5000/x", true),
            ("127.0.0.1/x", true),
            ("127.8.8.8:1/x", true),
            ("[::1]:5000/x", true),
            ("localhost.example/x", false),
            ("10.0.0.1:5000/x", false),
            ("x", false),
        ] {
            assert_eq!(
                text.parse::<ImageReference>().unwrap().is_local(),
                local,
                "{text}"
            );
        }
    }
}
