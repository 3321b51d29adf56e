//! The report of `mlops image push`.

use std::fmt;

use mlops_core::text::bytes;
use mlops_oci::Digest;
use mlops_oci::registry::ImageReference;
use serde::Serialize;

/// An image that was pushed to the repository.
#[derive(Debug, Serialize)]
pub struct PushedImage {
    /// The image's URI by digest.
    pub(super) image: ImageReference,
    pub(super) repository: String,
    /// The image's URI, as `DescribeImages` returns it.
    pub(super) digest: Digest,
    pub(super) tags: Vec<String>,
    /// `null` with --to and a SOURCE, because git is not used.
    pub(super) commit: Option<String>,
    pub(super) branch: Option<String>,
    /// True if the image contains uncommitted files.
    pub(super) dirty: bool,
    /// The base image: `none` for a program alone, `null` if the layout does not record it.
    pub(super) base: Option<String>,
    /// Bytes of the image, bytes uploaded, and bytes that the registry already had.
    pub(super) size: u64,
    pub(super) sent: u64,
    pub(super) saved: u64,
    /// Bytes that the registry mounted from another repository.
    pub(super) mounted: u64,
    pub(super) seconds: f64,
    /// Requests to the registry and its token server.
    pub(super) requests: u64,
}

impl PushedImage {
    /// The report of the push itself.
    pub(super) fn new(repository: &ImageReference, pushed: mlops_oci::push::Pushed) -> Self {
        Self {
            image: repository.at(pushed.digest),
            repository: repository.repository.clone(),
            digest: pushed.digest,
            tags: Vec::new(),
            commit: None,
            branch: None,
            dirty: false,
            base: None,
            size: 0,
            sent: pushed.sent,
            saved: pushed.saved,
            mounted: pushed.mounted,
            seconds: 0.0,
            requests: pushed.requests,
        }
    }
}

impl fmt::Display for PushedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.sent == 0 {
            "was there"
        } else {
            "pushed"
        };
        writeln!(f, "{verb:11}{}@{}", self.repository, self.digest)?;
        writeln!(f, "tags       {}", self.tags.join(", "))?;
        let dirty = if self.dirty {
            " (with uncommitted files)"
        } else {
            ""
        };
        if let Some(commit) = &self.commit {
            writeln!(f, "commit     {commit}{dirty}")?;
        }
        writeln!(
            f,
            "base       {}",
            self.base.as_deref().unwrap_or("not recorded")
        )?;
        write!(
            f,
            "sent       {}, {} were there",
            bytes(self.sent),
            bytes(self.saved)
        )?;
        if self.mounted > 0 {
            write!(f, ", {} from another repository", bytes(self.mounted))?;
        }
        writeln!(f, ", {:.1} s", self.seconds)
    }
}
