//! What `mlops image` did or found.

use std::fmt;

use serde::Serialize;

use super::lifecycle::Preview;
use super::list::Listed;
use super::pin::PinReport;
use super::rm::Removal;
use super::scan::Scanned;
use super::show::Shown;
use crate::error::Exit;
use crate::output::{Report, bytes};

/// What one of the commands did or found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ImageReport {
    /// An image was pushed.
    Pushed(Pushed),
    /// The images there are.
    Listed(Listed),
    /// One image.
    Shown(Box<Shown>),
    /// What the branch works with from now on.
    Pinned(PinReport),
    /// What a life-cycle policy would expire.
    Preview(Preview),
    /// What a scan found.
    Scanned(Scanned),
    /// What was removed, or would be.
    Removed(Removal),
}

/// An image that the repository now has.
#[derive(Debug, Serialize)]
pub struct Pushed {
    /// The image's URI by digest.
    pub(super) image: String,
    pub(super) repository: String,
    /// As `DescribeImages` says it.
    pub(super) digest: String,
    pub(super) tags: Vec<String>,
    pub(super) commit: String,
    pub(super) branch: String,
    /// True when it holds files that are not committed.
    pub(super) dirty: bool,
    /// What it is built on: `none` for a program alone, `null` where the layout does not say.
    pub(super) base: Option<String>,
    /// Bytes that the image has, that were sent, and that the registry had already.
    pub(super) size: u64,
    pub(super) sent: u64,
    pub(super) saved: u64,
    pub(super) seconds: f64,
}

impl Report for ImageReport {
    fn exit(&self) -> Exit {
        match self {
            Self::Scanned(scanned) => scanned.exit(),
            _ => Exit::Done,
        }
    }
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pushed(pushed) => pushed.fmt(f),
            Self::Listed(listed) => listed.fmt(f),
            Self::Shown(shown) => shown.fmt(f),
            Self::Pinned(pinned) => pinned.fmt(f),
            Self::Preview(preview) => preview.fmt(f),
            Self::Scanned(scanned) => scanned.fmt(f),
            Self::Removed(removal) => removal.fmt(f),
        }
    }
}

impl fmt::Display for Pushed {
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
        writeln!(f, "commit     {}{dirty}", self.commit)?;
        writeln!(
            f,
            "base       {}",
            self.base.as_deref().unwrap_or("not recorded")
        )?;
        writeln!(
            f,
            "sent       {}, {} were there, {:.1} s",
            bytes(self.sent),
            bytes(self.saved),
            self.seconds
        )
    }
}
