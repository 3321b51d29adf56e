//! Where an image goes.

use mlops_oci::registry::{ImageReference, InvalidReference, is_repository};

/// An image's name to push to.
pub(super) fn destination(text: &str) -> Result<ImageReference, String> {
    let reference: ImageReference = text
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
