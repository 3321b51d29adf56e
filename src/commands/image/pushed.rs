//! What `mlops image push` sent.

use std::fmt;

use mlops_core::text::bytes;
use mlops_oci::Digest;
use mlops_oci::registry::ImageReference;
use serde::Serialize;

/// An image that the repository now has.
#[derive(Debug, Serialize)]
pub struct PushedImage {
    /// The image's URI by digest.
    pub(super) image: ImageReference,
    pub(super) repository: String,
    /// As `DescribeImages` says it.
    pub(super) digest: Digest,
    pub(super) tags: Vec<String>,
    /// `null` with --to and a SOURCE: git was not asked.
    pub(super) commit: Option<String>,
    pub(super) branch: Option<String>,
    /// True when it holds files that are not committed.
    pub(super) dirty: bool,
    /// What it is built on: `none` for a program alone, `null` where the layout does not say.
    pub(super) base: Option<String>,
    /// Bytes that the image has, that were sent, and that the registry had already.
    pub(super) size: u64,
    pub(super) sent: u64,
    pub(super) saved: u64,
    /// Bytes that the registry took over from another repository.
    pub(super) mounted: u64,
    pub(super) seconds: f64,
    /// Requests to the registry and its token server.
    pub(super) requests: u64,
}

impl PushedImage {
    /// What the push itself knows.
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
