//! Reads an image from an OCI layout: a directory (`docker buildx build --output
//! type=oci,tar=false,dest=DIR`, `skopeo copy … oci:DIR`), or a tar archive of one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use mlops_core::error::Hint;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, OciLayout};

use super::archive::Archive;
use super::source::name::{NamedImage, choose_by_name};
use super::{Blob, Content, Digest, Image, Manifest};

/// The annotation that names the base image (OCI: pre-defined annotation keys).
pub(super) const BASE: &str = "org.opencontainers.image.base.name";

/// The annotations of a descriptor in index.json that name an image: by the OCI image layout (a tag
/// or a full name), and by containerd's exports (a full name).
const NAMES: [&str; 2] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

/// The annotation of the manifests that `BuildKit` adds to an index: provenance and SBOMs.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// Maximum size of a manifest in bytes; registries accept no larger ones.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;

/// Maximum number of blobs of an image: far more than any runtime mounts.
pub(super) const MAX_LAYERS: usize = 1000;

/// Docker's media types of manifests and indexes.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_PLAIN_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// Reads the image of a layout directory. Verifies every manifest's digest and every blob's size; the
/// registry verifies the digests of blobs.
pub fn read(directory: &Path) -> Result<Image> {
    read_tree(LayoutFiles::Directory(directory), None)
}

/// The location of a layout's files.
#[derive(Debug, Clone, Copy)]
pub(super) enum LayoutFiles<'a> {
    Directory(&'a Path),
    Archive(&'a Archive),
}

impl<'a> LayoutFiles<'a> {
    /// Its name in messages.
    fn shown(self) -> std::path::Display<'a> {
        match self {
            Self::Directory(path) => path.display(),
            Self::Archive(archive) => archive.path().display(),
        }
    }

    /// Parses the digest of a descriptor in one of the layout's files.
    fn digest(self, of: &Descriptor) -> Result<Digest> {
        Digest::described(of).with_context(|| format!("cannot read {}", self.shown()))
    }

    /// Returns whether an entry with this name exists.
    fn has(self, name: &str) -> bool {
        match self {
            Self::Directory(directory) => directory.join(name).exists(),
            Self::Archive(archive) => archive.has(name),
        }
    }

    /// Reads a small file.
    fn read(self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let directory = match self {
            Self::Archive(archive) => return archive.read(name, limit),
            Self::Directory(directory) => directory,
        };
        let path = directory.join(name);
        let found =
            std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !found.is_file() {
            bail!("{} is not a file", path.display());
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.len() as u64 > limit {
            bail!("{} is larger than {} MiB", path.display(), limit >> 20);
        }
        Ok(bytes)
    }

    /// Returns the location of a blob, and its size in bytes.
    fn blob(self, name: &str) -> Result<(Content, u64)> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name);
                let found = std::fs::metadata(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                if !found.is_file() {
                    bail!("{} is not a file", path.display());
                }
                Ok((Content::file(path), found.len()))
            }
            Self::Archive(archive) => {
                let place = archive.place(name)?;
                let content = Content::File {
                    path: archive.path().to_owned(),
                    offset: place.offset,
                };
                Ok((content, place.size))
            }
        }
    }
}

/// Reads the image of a layout; `name` selects one of several.
pub(super) fn read_tree(tree: LayoutFiles<'_>, name: Option<&str>) -> Result<Image> {
    tree.read("oci-layout", MAX_MANIFEST)
        .and_then(|bytes| Ok(OciLayout::from_reader(&bytes[..])?))
        .map_err(|error| anyhow!("{} is not an OCI layout: {error:#}", tree.shown()))
        .hint("create one with `docker buildx build --output type=oci,tar=false,dest=DIR`")?;
    let index = tree.read("index.json", MAX_MANIFEST)?;
    let index = ImageIndex::from_reader(&index[..])
        .with_context(|| format!("cannot read {}/index.json", tree.shown()))?;
    let root = choose(tree, index.manifests(), name)?;
    let mut found = Collected::default();
    collect(tree, root, 0, &mut found)?;
    let root = found
        .manifests
        .pop()
        .with_context(|| format!("{} does not contain an image", tree.shown()))?;
    Ok(Image {
        members: found.manifests,
        base: found.base,
        notes: found.notes,
        ..Image::new(root)
    })
}

/// The contents of a layout's image.
#[derive(Debug, Default)]
struct Collected {
    /// Manifests, children first.
    manifests: Vec<Manifest>,
    base: Option<String>,
    notes: Vec<String>,
}

/// Returns the only image, or the one with this name. Entries for the same image under several
/// names count as one.
fn choose<'a>(
    tree: LayoutFiles<'_>,
    all: &'a [Descriptor],
    name: Option<&str>,
) -> Result<&'a Descriptor> {
    let named: Vec<NamedImage<'a, &'a Descriptor>> = all
        .iter()
        .map(|of| NamedImage {
            image: of,
            names: of.annotations().as_ref().map_or_else(Vec::new, |found| {
                NAMES
                    .iter()
                    .filter_map(|key| found.get(*key).map(String::as_str))
                    .collect()
            }),
        })
        .collect();
    let found = choose_by_name(&named, name, |one, other| one.digest() == other.digest());
    if let [one] = found[..] {
        return Ok(one);
    }
    let tags: Vec<&str> = named
        .iter()
        .filter_map(|image| image.names.first().copied())
        .collect();
    let error = match name {
        Some(name) => anyhow!("{} contains {} images `{name}`", tree.shown(), found.len()),
        None => anyhow!("{} contains {} images, not one", tree.shown(), found.len()),
    };
    Err(error).hint(if tags.is_empty() {
        "copy the image to push to a separate layout: `skopeo copy oci:DIR:TAG oci:NEW`".to_owned()
    } else {
        format!(
            "select the image to push with {}:TAG; the tags are {}",
            tree.shown(),
            tags.join(", ")
        )
    })
}

/// Returns whether it is a single image with an uncompressed layer.
pub(super) fn has_plain_layer(image: &Image) -> bool {
    image.members.is_empty()
        && ImageManifest::from_reader(&image.root.bytes[..]).is_ok_and(|manifest| {
            manifest.layers().iter().any(|layer| {
                *layer.media_type() == MediaType::ImageLayer
                    || layer.media_type().as_ref() == DOCKER_PLAIN_LAYER
            })
        })
}

/// Adds everything that a descriptor references, children first.
fn collect(
    tree: LayoutFiles<'_>,
    of: &Descriptor,
    depth: u32,
    image: &mut Collected,
) -> Result<()> {
    let digest = tree.digest(of)?;
    if image
        .manifests
        .iter()
        .any(|manifest| manifest.digest == digest)
    {
        return Ok(());
    }
    let path = blob_path(digest);
    if of.size() > MAX_MANIFEST {
        bail!("the manifest {digest} is larger than 4 MiB");
    }
    let bytes = tree.read(&path, MAX_MANIFEST)?;
    let found = Digest::of(&bytes);
    if found != digest {
        bail!("{path} in {} has the digest {found}", tree.shown());
    }
    let mut blobs = Vec::new();
    let media_type = of.media_type().to_string();
    match (of.media_type(), media_type.as_str()) {
        (MediaType::ImageIndex, _) | (_, DOCKER_LIST) => {
            if depth > 2 {
                bail!("the index {digest} is nested too deeply");
            }
            let index = ImageIndex::from_reader(&bytes[..])
                .with_context(|| format!("cannot read the index {digest}"))?;
            if index.manifests().len() > MAX_LAYERS {
                bail!("the index {digest} references more than {MAX_LAYERS} images");
            }
            match present(tree, &index, digest)? {
                Present::All => {
                    for child in index.manifests() {
                        collect(tree, child, depth + 1, image)?;
                    }
                }
                Present::One(child) if depth == 0 => {
                    image.notes.push(format!(
                        "pushing {} alone: the other images of the index {digest} are not in {}",
                        platform(child),
                        tree.shown()
                    ));
                    return collect(tree, child, depth + 1, image);
                }
                Present::One(_) => bail!("the index {digest} is incomplete"),
            }
        }
        (MediaType::ImageManifest, _) | (_, DOCKER_MANIFEST) => {
            let manifest = ImageManifest::from_reader(&bytes[..])
                .with_context(|| format!("cannot read the manifest {digest}"))?;
            if manifest.layers().len() > MAX_LAYERS {
                bail!("the manifest {digest} has more than {MAX_LAYERS} layers");
            }
            if let Some(base) = manifest
                .annotations()
                .as_ref()
                .and_then(|all| all.get(BASE))
            {
                image.base = Some(base.clone());
            }
            blobs = parts(tree, &manifest, &mut image.notes)?;
        }
        (_, other) => bail!(
            "{path} in {} is a {other}, not an image or index of OCI or Docker",
            tree.shown()
        ),
    }
    image.manifests.push(Manifest {
        digest,
        media_type,
        bytes,
        blobs,
    });
    Ok(())
}

/// Adds the layers and the configuration of a manifest; notes parts that are not pushed.
fn parts(
    tree: LayoutFiles<'_>,
    manifest: &ImageManifest,
    notes: &mut Vec<String>,
) -> Result<Vec<Blob>> {
    let mut blobs = Vec::new();
    for part in manifest.layers().iter().chain([manifest.config()]) {
        if is_foreign(part) {
            notes.push(format!(
                "skipping the layer {}: it must not be distributed, and the manifest contains \
                 the URL to download it from",
                part.digest()
            ));
            continue;
        }
        let digest = tree.digest(part)?;
        let name = blob_path(digest);
        let (content, size) = match embedded(part, digest)? {
            Some(bytes) if !tree.has(&name) => {
                let size = bytes.len() as u64;
                (Content::Bytes(bytes), size)
            }
            _ => tree.blob(&name)?,
        };
        if size != part.size() {
            bail!(
                "{name} in {} has {size} bytes, not {}",
                tree.shown(),
                part.size()
            );
        }
        blobs.push(Blob {
            digest,
            size,
            content,
        });
    }
    Ok(blobs)
}

/// The images of an index that a layout contains.
enum Present<'a> {
    All,
    /// Only this one, and possibly its attestations.
    One(&'a Descriptor),
}

/// Determines which images of an index are complete. containerd and Docker export the complete
/// index that was pulled, but only the images of the platforms that were pulled with it.
fn present<'a>(
    tree: LayoutFiles<'_>,
    index: &'a ImageIndex,
    digest: Digest,
) -> Result<Present<'a>> {
    let mut found = Vec::new();
    for child in index.manifests() {
        if tree.has(&blob_path(tree.digest(child)?)) {
            found.push(child);
        }
    }
    if found.len() == index.manifests().len() {
        return Ok(Present::All);
    }
    let is_image = |of: &&&Descriptor| {
        of.annotations()
            .as_ref()
            .is_none_or(|all| !all.contains_key(ATTESTATION))
    };
    let images: Vec<&Descriptor> = found.iter().filter(is_image).copied().collect();
    if let [one] = images[..] {
        return Ok(Present::One(one));
    }
    Err(anyhow!(
        "{} contains {} of the {} images that the index {digest} references",
        tree.shown(),
        images.len(),
        index.manifests().iter().filter(|of| is_image(&of)).count()
    ))
    .hint(
        "export all platforms (`ctr images export --all-platforms`), or a single one \
         (`docker save --platform`)",
    )
}

/// Returns the name of a descriptor's image for messages.
fn platform(of: &Descriptor) -> String {
    match of.platform() {
        Some(platform) => format!(
            "the image for {}/{}",
            platform.os(),
            platform.architecture()
        ),
        None => format!("the image {}", of.digest()),
    }
}

/// Returns whether a layer must stay where its URLs point: its license forbids distribution, so
/// builders omit it and registries do not require it. (OCI image specification, "Non-Distributable
/// Layers".)
fn is_foreign(of: &Descriptor) -> bool {
    let foreign = match of.media_type() {
        MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => true,
        other => other.as_ref() == DOCKER_FOREIGN_LAYER,
    };
    foreign && of.urls().as_ref().is_some_and(|urls| !urls.is_empty())
}

/// Returns the bytes that are embedded in a descriptor (OCI descriptors: `data`), verified against
/// its digest.
fn embedded(of: &Descriptor, digest: Digest) -> Result<Option<Vec<u8>>> {
    let Some(data) = of.data() else {
        return Ok(None);
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .with_context(|| format!("the data of {digest} is not base64"))?;
    let found = Digest::of(&bytes);
    if found != digest {
        bail!("the data of {digest} has the digest {found}");
    }
    Ok(Some(bytes))
}

/// Returns the name of a blob's file.
fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        std::fs::write(directory.join(blob_path(digest)), bytes).unwrap();
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
        assert_eq!(image.root.digest, image.digest());
    }

    #[test]
    fn mismatching_files_are_rejected() {
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
