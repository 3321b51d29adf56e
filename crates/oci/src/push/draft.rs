//! Pushes an image whose layers are compressed during the push: while one layer is compressed,
//! earlier ones are uploaded. Small layers go first, then the largest, because its upload takes
//! longest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use futures::{StreamExt, TryStreamExt, stream};

use super::{Observer, PARALLEL, Pushed, Target, current_digests, put, set_tags, store};
use crate::registry::{Registry, Stored};
use crate::source::{Draft, Options};
use crate::{Blob, Image};

/// Layers up to this size, in bytes, go first: they keep the connection busy while the first large
/// layer is compressed. Otherwise they would be uploaded last, one by one.
const SMALL: u64 = 4 << 20;

/// Compresses and pushes an image, and returns it.
///
/// # Errors
///
/// Those of [`super::push`], and those of [`Draft::compress`].
pub async fn push_draft(
    registry: &Registry,
    target: &Target<'_>,
    draft: Draft,
    options: Options,
    observer: &dyn Observer,
) -> Result<(Image, Pushed)> {
    let requests = registry.requests();
    registry
        .request_access(target.repository, target.mount_from)
        .await;
    let before = current_digests(registry, target).await?;
    let sizes = draft.layers();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| (sizes[*index] > SMALL, std::cmp::Reverse(sizes[*index])));
    let draft = Arc::new(draft);
    let stop = StopOnDrop(Arc::clone(&draft));
    // Every byte is read and sent. Both count as progress until the compressed size of a layer is
    // known.
    let whole = AtomicU64::new(2 * sizes.iter().sum::<u64>());
    let (whole, sizes) = (&whole, &sizes);
    observer.expect(whole.load(Ordering::Relaxed));
    let mut layers: Vec<(usize, Blob, Stored)> = stream::iter(order)
        .map(|index| compressed(Arc::clone(&draft), index, sizes[index], options, observer))
        .buffered(1)
        .map(|found| async move {
            let (index, blob) = found?;
            let (size, packed) = (sizes[index], blob.size);
            let now = whole.fetch_sub(size, Ordering::Relaxed) - size;
            whole.fetch_add(packed, Ordering::Relaxed);
            observer.expect(now + packed);
            let stored = store(registry, target, &blob, observer).await?;
            observer.end(&blob.digest.to_string(), blob.size);
            anyhow::Ok((index, blob, stored))
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    layers.sort_by_key(|(index, ..)| *index);
    let (mut blobs, mut counted) = (Vec::new(), Vec::new());
    for (_, blob, stored) in layers {
        counted.push((blob.size, stored));
        blobs.push(blob);
    }
    drop(stop);
    let draft = Arc::into_inner(draft).context("a layer is still being compressed")?;
    let image = draft.finish(blobs)?;
    let manifest = &image.root;
    let digest = manifest.digest;
    let mut pushed = Pushed::new(digest);
    for (size, stored) in counted {
        pushed.count(size, &stored);
    }
    if let Some(config) = manifest.blobs.last() {
        let stored = store(registry, target, config, observer).await?;
        observer.end(&config.digest.to_string(), config.size);
        pushed.count(config.size, &stored);
    }
    if !super::has(registry, target, digest).await? {
        put(registry, target, manifest, digest.into(), &mut pushed).await?;
    }
    registry
        .manifest(target.repository, digest.into())
        .await
        .context("the registry stored a different image than was pushed")?;
    set_tags(registry, target, &image, &before, &mut pushed).await?;
    pushed.requests = registry.requests() - requests;
    Ok((image, pushed))
}

/// Stops the compression if the push ends first.
struct StopOnDrop(Arc<Draft>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Compresses a layer. Reports progress as that of a separate blob.
async fn compressed(
    draft: Arc<Draft>,
    index: usize,
    size: u64,
    options: Options,
    observer: &dyn Observer,
) -> Result<(usize, Blob)> {
    let (sender, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let work = tokio::task::spawn_blocking(move || {
        draft.compress(index, options, &|bytes| {
            // The receiver is dropped if the push has failed.
            let _ = sender.send(bytes);
        })
    });
    let name = format!("layer {}", index + 1);
    observer.begin(&name, size);
    let mut done = 0;
    while let Some(bytes) = progress.recv().await {
        done += bytes;
        observer.position(&name, done);
    }
    let blob = work.await??;
    observer.end(&name, size);
    Ok((index, blob))
}
