//! What `mlops image` did or found.

use std::fmt;

use mlops_core::error::Exit;
use serde::Serialize;

use super::build::Built;
use super::lifecycle::Preview;
use super::list::ImageList;
use super::pin::PinReport;
use super::pushed::PushedImage;
use super::removal::Removal;
use super::scan::Scanned;
use super::show::ImageDetails;
use crate::output::Report;

/// What one of the commands did or found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ImageReport {
    /// An image was built.
    Built(Box<Built>),
    /// An image was pushed.
    Pushed(PushedImage),
    /// The images there are.
    Listed(ImageList),
    /// One image.
    Shown(Box<ImageDetails>),
    /// What the branch works with from now on.
    Pinned(PinReport),
    /// What a life-cycle policy would expire.
    Preview(Preview),
    /// What a scan found.
    Scanned(Scanned),
    /// What was removed, or would be.
    Removed(Removal),
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
            Self::Built(built) => built.fmt(f),
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
