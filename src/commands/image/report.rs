//! The reports of `mlops image`.

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

/// The result of an `image` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ImageReport {
    /// `image build`
    Built(Box<Built>),
    /// `image push`
    Pushed(PushedImage),
    /// `image list`
    Listed(ImageList),
    /// `image show`
    Shown(Box<ImageDetails>),
    /// `image pin`, `image use`
    Pinned(PinReport),
    /// `image list --lifecycle-preview`
    Preview(Preview),
    /// `image scan`
    Scanned(Scanned),
    /// `image rm`
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
