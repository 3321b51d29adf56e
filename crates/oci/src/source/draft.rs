//! An image whose layers are compressed during the push.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;
use oci_spec::image::{ImageManifestBuilder, MediaType};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};

use crate::archive::{self, Location};
use crate::compress::compress;
use crate::compression::Compression;
use crate::extents::Extents;
use crate::{Blob, Content, Digest, Image, Manifest, label};

/// How layers are compressed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The format of all layers; layers that already have it are sent unchanged.
    pub compression: Compression,
}

/// An image whose manifest is unknown until its layers are compressed.
#[derive(Debug)]
pub struct Draft {
    /// The bytes of its configuration, unchanged.
    config: Vec<u8>,
    layers: Vec<SourceLayer>,
    base: Option<String>,
    /// Whether the push has ended.
    stopped: AtomicBool,
    /// The media type of each layer that was compressed.
    finished: Mutex<Vec<Option<MediaType>>>,
    /// Temporary files of this image, deleted when it is dropped.
    scratch: Mutex<Vec<TempPath>>,
}

/// A layer of the source.
#[derive(Debug)]
pub(super) struct SourceLayer {
    /// Its name in messages.
    pub(super) name: String,
    /// Its file.
    pub(super) path: PathBuf,
    pub(super) place: Location,
    pub(super) format: Format,
    /// The digest of the uncompressed archive.
    pub(super) diff_id: Digest,
}

/// How a layer of a source is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Draft {
    pub(super) fn new(
        config: Vec<u8>,
        layers: Vec<SourceLayer>,
        base: Option<String>,
        scratch: Vec<TempPath>,
    ) -> Self {
        let finished = layers.iter().map(|_| None).collect();
        Self {
            config,
            layers,
            base,
            stopped: AtomicBool::new(false),
            finished: Mutex::new(finished),
            scratch: Mutex::new(scratch),
        }
    }

    /// Returns the sizes of the source's layers in bytes, lowest first: the units of progress of
    /// [`Draft::compress`].
    pub fn layers(&self) -> Vec<u64> {
        self.layers.iter().map(|layer| layer.place.size).collect()
    }

    /// Stops the compression in progress, and any later one, with an error, so that its files are
    /// removed.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Returns the value of a label in the configuration.
    pub(crate) fn label(&self, name: &str) -> Option<String> {
        label(&self.config, name)
    }

    /// Compresses a layer. The blob's bytes are in a file that lives as long as the draft, or the
    /// image that it becomes. Layers may be compressed in any order (the largest first lets its
    /// upload overlap with the others) and by several threads, although one layer keeps all cores
    /// busy. `progress` receives the number of source bytes done.
    ///
    /// # Errors
    ///
    /// The layer does not match the digest in the configuration, or cannot be read; the temporary
    /// file cannot be written.
    pub(crate) fn compress(
        &self,
        index: usize,
        options: Options,
        progress: &dyn Fn(u64),
    ) -> Result<Blob> {
        let layer = self
            .layers
            .get(index)
            .context("the image has no such layer")?;
        let (blob, diff_id) = layer
            .compress(options.compression, progress, &self.scratch, &self.stopped)
            .with_context(|| format!("cannot compress the layer {}", layer.shown()))?;
        if diff_id != layer.diff_id {
            bail!(
                "the layer {} has the digest {diff_id}, but the image's configuration lists {}",
                layer.shown(),
                layer.diff_id
            );
        }
        let media_type = match options.compression {
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        };
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished[index] = Some(media_type);
        Ok(blob)
    }

    /// Assembles the image of the compressed layers, in the order of [`Draft::layers`].
    ///
    /// # Errors
    ///
    /// A layer is missing.
    pub(crate) fn finish(self, layers: Vec<Blob>) -> Result<Image> {
        let finished = self
            .finished
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if layers.len() != finished.len() {
            bail!(
                "{} of {} layers are compressed",
                layers.len(),
                finished.len()
            );
        }
        let mut described = Vec::new();
        for (blob, media_type) in layers.iter().zip(finished) {
            let media_type = media_type.context("a layer is not compressed")?;
            described.push(blob.descriptor(media_type)?);
        }
        let config = Blob::of(self.config);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor(MediaType::ImageConfig)?)
            .layers(described)
            .build()?
            .to_string()?
            .into_bytes();
        let mut blobs = layers;
        blobs.push(config);
        Ok(Image {
            base: self.base,
            scratch: self
                .scratch
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            ..Image::new(Manifest {
                digest: Digest::of(&manifest),
                media_type: MediaType::ImageManifest.to_string(),
                bytes: manifest,
                blobs,
            })
        })
    }
}

impl SourceLayer {
    fn shown(&self) -> String {
        format!("{} in {}", self.name, self.path.display())
    }

    /// Returns the compressed layer, and the digest of the uncompressed one.
    fn compress(
        &self,
        compression: Compression,
        progress: &dyn Fn(u64),
        scratch: &Mutex<Vec<TempPath>>,
        stopped: &AtomicBool,
    ) -> Result<(Blob, Digest)> {
        let count = AtomicU64::new(0);
        let mut input = Counted {
            inner: archive::reader(&self.path, self.place)?,
            count: &count,
            stopped,
        };
        let reported = Cell::new(0);
        let progress = |_| {
            let now = count.load(Ordering::Relaxed);
            progress(now - reported.replace(now));
        };
        if self.format == compression.into() {
            return self.unchanged(input, &progress);
        }
        let mut file = NamedTempFile::new().context("cannot create a temporary file")?;
        let output = file.as_file_mut();
        let done = match self.format {
            Format::Plain => {
                let origin = Some(self.place.offset);
                compress(&mut input, output, compression, origin, &progress)?
            }
            Format::Gzip => {
                let mut plain = MultiGzDecoder::new(input);
                compress(&mut plain, output, compression, None, &progress)?
            }
            Format::Zstd => {
                let mut plain = zstd::Decoder::new(input)?;
                compress(&mut plain, output, compression, None, &progress)?
            }
        };
        let file = file.into_temp_path();
        let blob = Blob {
            digest: done.digest,
            size: done.size,
            content: Content::Extents(Extents {
                written: file.to_path_buf(),
                source: self.path.clone(),
                compression,
                order: done.extents,
            }),
        };
        scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(file);
        Ok((blob, done.diff_id))
    }

    /// Returns the unchanged layer, and the digest of its uncompressed contents.
    fn unchanged(&self, input: impl Read, progress: &dyn Fn(u64)) -> Result<(Blob, Digest)> {
        let mut hashed = Hashed {
            inner: input,
            hasher: Sha256::new(),
        };
        let diff_id = if self.format == Format::Zstd {
            digest_all(&mut zstd::Decoder::new(&mut hashed)?, progress)?
        } else {
            digest_all(&mut MultiGzDecoder::new(&mut hashed), progress)?
        };
        io::copy(&mut hashed, &mut io::sink())?;
        let blob = Blob {
            digest: hashed.hasher.into(),
            size: self.place.size,
            content: Content::File {
                path: self.path.clone(),
                offset: self.place.offset,
            },
        };
        Ok((blob, diff_id))
    }
}

impl From<Compression> for Format {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }
}

fn digest_all(input: &mut impl Read, progress: &dyn Fn(u64)) -> Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = input
            .read(&mut buffer)
            .context("it cannot be decompressed")?;
        if count == 0 {
            return Ok(hasher.into());
        }
        hasher.update(&buffer[..count]);
        progress(count as u64);
    }
}

/// Counts bytes read.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
    stopped: &'a AtomicBool,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the push has ended"));
        }
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Hashes bytes read.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
