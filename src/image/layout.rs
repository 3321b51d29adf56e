//! An image that a builder wrote as an OCI layout directory (`docker buildx build --output
//! type=oci,tar=false,dest=DIR`, `skopeo copy … oci:DIR`).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use oci_spec::image::{
    Descriptor, DigestAlgorithm, ImageIndex, ImageManifest, MediaType, OciLayout,
};

use super::{Blob, Content, Image, Manifest, digest_of};
use crate::error::Hint;

/// The annotation that names the base image (OCI: pre-defined annotation keys).
const BASE: &str = "org.opencontainers.image.base.name";

/// The largest manifest that registries take.
const MAX_MANIFEST: u64 = 4 << 20;

/// Reads the image of a layout directory: every manifest is checked against its digest, every blob
/// against its size. The registry checks the digests of the blobs.
pub fn read(directory: &Path) -> Result<Image> {
    OciLayout::from_file(directory.join("oci-layout"))
        .map_err(|error| anyhow!("{} is not an OCI layout: {error}", directory.display()))
        .hint("write one with `docker buildx build --output type=oci,tar=false,dest=DIR`")?;
    let index = ImageIndex::from_file(directory.join("index.json"))
        .with_context(|| format!("cannot read {}/index.json", directory.display()))?;
    let [root] = &index.manifests()[..] else {
        return Err(anyhow!(
            "{} holds {} images, not one",
            directory.display(),
            index.manifests().len()
        ))
        .hint("copy the one to push into a layout of its own: `skopeo copy oci:DIR:TAG oci:NEW`");
    };
    let mut image = Image {
        manifests: Vec::new(),
        base: None,
        _scratch: Vec::new(),
    };
    collect(directory, root, 0, &mut image)?;
    Ok(image)
}

/// Adds what a descriptor names, children first.
fn collect(directory: &Path, of: &Descriptor, depth: u32, image: &mut Image) -> Result<()> {
    if image
        .manifests
        .iter()
        .any(|manifest| manifest.digest == of.digest().as_ref())
    {
        return Ok(());
    }
    let path = blob_path(directory, of)?;
    if of.size() > MAX_MANIFEST {
        bail!("the manifest {} is larger than 4 MiB", of.digest());
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let digest = digest_of(&bytes);
    if digest != of.digest().as_ref() {
        bail!("{} has the digest {digest}", path.display());
    }
    let mut blobs = Vec::new();
    match of.media_type() {
        MediaType::ImageIndex => {
            if depth > 2 {
                bail!("the index {digest} lies too deep");
            }
            for child in ImageIndex::from_reader(&bytes[..])?.manifests() {
                collect(directory, child, depth + 1, image)?;
            }
        }
        MediaType::ImageManifest => {
            let manifest = ImageManifest::from_reader(&bytes[..])?;
            if let Some(base) = manifest
                .annotations()
                .as_ref()
                .and_then(|all| all.get(BASE))
            {
                image.base = Some(base.clone());
            }
            for part in manifest.layers().iter().chain([manifest.config()]) {
                let file = blob_path(directory, part)?;
                let size = std::fs::metadata(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?
                    .len();
                if size != part.size() {
                    bail!("{} has {size} bytes, not {}", file.display(), part.size());
                }
                blobs.push(Blob {
                    digest: part.digest().to_string(),
                    size,
                    content: Content::file(file),
                });
            }
        }
        other => bail!("{} is a {other}, not an OCI image or index", path.display()),
    }
    image.manifests.push(Manifest {
        digest,
        media_type: of.media_type().to_string(),
        bytes,
        blobs,
    });
    Ok(())
}

/// The file of a blob. Only SHA-256 digests pass, whose text is hexadecimal: never a path.
fn blob_path(directory: &Path, of: &Descriptor) -> Result<PathBuf> {
    if *of.digest().algorithm() != DigestAlgorithm::Sha256 {
        bail!("{} is not a SHA-256 digest", of.digest());
    }
    Ok(directory.join("blobs/sha256").join(of.digest().digest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        std::fs::write(directory.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
        digest
    }

    fn layout(layer: &[u8], size: usize) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let (layer, config) = (write(root, layer), write(root, b"{}"));
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size}],
            "annotations": {BASE: "python:3.12"},
        })
        .to_string();
        let digest = write(root, manifest.as_bytes());
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len()}],
        });
        std::fs::write(root.join("index.json"), index.to_string()).unwrap();
        directory
    }

    #[test]
    fn a_layout_is_read_with_its_base() {
        let image = read(layout(b"layer", 5).path()).unwrap();
        assert_eq!(image.base.as_deref(), Some("python:3.12"));
        assert_eq!(image.size(), 7);
        assert_eq!(image.manifests[0].digest, image.digest());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = read(layout(b"layer", 6).path()).unwrap_err();
        assert!(error.to_string().contains("5 bytes, not 6"), "{error}");
        let directory = layout(b"layer", 5);
        let index = std::fs::read_to_string(directory.path().join("index.json")).unwrap();
        let digest = index.split("sha256:").nth(1).unwrap()[..64].to_owned();
        let manifest = directory.path().join("blobs/sha256").join(digest);
        let mut bytes = std::fs::read(&manifest).unwrap();
        bytes.push(b' ');
        std::fs::write(&manifest, bytes).unwrap();
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("has the digest"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path()).is_err());
    }
}
