//! Where an image goes, and where its layers may be already.

use crate::image::registry::{InvalidReference, Reference, is_repository};
use crate::image::source::Source;

/// An image's name to push to.
pub(super) fn destination(text: &str) -> Result<Reference, String> {
    let reference: Reference = text
        .parse()
        .map_err(|error: InvalidReference| error.to_string())?;
    if reference.digest.is_some() {
        return Err("a push makes the digest: name a tag".to_owned());
    }
    if reference.tag.is_none() {
        return Err(format!("name the tag: {reference}:TAG"));
    }
    Ok(reference)
}

/// A repository of the same registry.
pub(super) fn repository(text: &str) -> Result<String, String> {
    if is_repository(text) {
        Ok(text.to_owned())
    } else {
        Err("it is a repository of the same registry, without host and tag".to_owned())
    }
}

/// The repositories that may have layers: those that were named, and the base's in the same registry.
pub(super) fn mount_from(
    named: &[String],
    to: &Reference,
    base: Option<&str>,
    image: &Source,
) -> Vec<String> {
    let base = base.or(match image {
        Source::Ready(image) => image.base.as_deref(),
        Source::Draft(_) => None,
    });
    let base = base.and_then(|base| base.parse::<Reference>().ok());
    let base = base.filter(|base| base.host == to.host && base.repository != to.repository);
    named
        .iter()
        .cloned()
        .chain(base.map(|base| base.repository))
        .collect()
}
