//! The base of an image, by its name.

use std::path::Path;

use anyhow::Result;

use crate::context::Context;
use crate::error::{Failure, Hint};
use crate::image::base::{Base, SCRATCH};
use crate::image::cache::Cache;
use crate::names::Platform;

/// Finds the base. `asked` is its name and the directory that paths are relative to.
pub(super) async fn find(
    _ctx: &Context,
    asked: Option<(&str, &Path)>,
    platform: Platform,
    _cache: &Cache,
) -> Result<Base> {
    let Some((name, directory)) = asked else {
        return Ok(Base::scratch(platform));
    };
    if name == SCRATCH {
        return Ok(Base::scratch(platform));
    }
    if let Some(layout) = name.strip_prefix("oci:") {
        let layout = directory.join(layout);
        return tokio::task::spawn_blocking(move || Base::from_layout(&layout, platform)).await?;
    }
    Err(Failure::usage(format!(
        "the base {name} is in a registry, which this version cannot read yet"
    )))
    .hint("copy it into a layout: skopeo copy docker://REF oci:DIR, then --base oci:DIR")
}
