//! Targets of a push.

use mlops_oci::registry::{ImageReference, InvalidReference, is_repository};

/// The name of the image to push to.
pub(super) fn destination(text: &str) -> Result<ImageReference, String> {
    let reference: ImageReference = text
        .parse()
        .map_err(|error: InvalidReference| error.to_string())?;
    if reference.digest.is_some() {
        return Err("a push computes the digest: pass a tag instead".to_owned());
    }
    if reference.tag.is_none() {
        return Err(format!("the tag is missing: {reference}:TAG"));
    }
    Ok(reference)
}

/// A repository of the same registry.
pub(super) fn repository(text: &str) -> Result<String, String> {
    if is_repository(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a repository of the same registry, without host and tag".to_owned())
    }
}
