//! Removes the records of layers that no image needs, so that the garbage collector can remove their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rusqlite::Transaction;

use super::digest::sha256_of;
use super::manifests::{self, Manifest};
use super::{Layer, Repository, StoredImage, layer_records, repositories};
use crate::Cloud;
use crate::api::ApiResult;
use crate::clock;

/// How long a layer that no image needs is kept: its push may still be in progress.
const PUSH: Duration = Duration::from_hours(24);

/// How long a layer is kept after the last image that needed it was deleted.
const RELEASED: Duration = Duration::from_mins(10);

/// The digests of all images of all repositories.
pub(super) fn digests(cloud: &Cloud) -> ApiResult<Vec<String>> {
    let all = repositories(cloud).list("")?;
    Ok(all
        .into_iter()
        .flat_map(|(_, repository)| repository.images.into_keys())
        .collect())
}

/// The configurations and layers that images consist of; `None` when a manifest cannot be read, or
/// is damaged.
fn needed(cloud: &Cloud, images: &BTreeMap<String, StoredImage>) -> Option<BTreeSet<String>> {
    let mut needed = BTreeSet::new();
    for (digest, image) in images {
        let bytes = cloud.blobs().read(sha256_of(digest)?).ok()?;
        if let Manifest::Image(manifest) = manifests::read(&bytes, &image.media_type).ok()? {
            needed.extend(manifests::parts(&manifest).map(|part| part.digest().to_string()));
        }
    }
    Some(needed)
}

/// After images were removed, marks the layers that no image of the repository needs. They are kept for
/// [`RELEASED`]: a client may put the same manifest again, without its layers.
pub(super) fn release(
    cloud: &Cloud,
    transaction: &Transaction<'_>,
    repository: &Repository,
    removed: &BTreeMap<String, StoredImage>,
) -> ApiResult<()> {
    // If a manifest cannot be read, no layer can be released.
    let (Some(gone), Some(needed)) = (needed(cloud, removed), needed(cloud, &repository.images))
    else {
        return Ok(());
    };
    for digest in gone.difference(&needed) {
        let key = format!("{}@{digest}", repository.name);
        if let Some(mut layer) = layer_records(cloud).get_in(transaction, &key)? {
            layer.released = Some(clock::epoch());
            layer_records(cloud).put_in(transaction, &key, &layer)?;
        }
    }
    Ok(())
}

/// Removes the records of layers whose images were deleted long ago.
pub(super) fn remove_released_layers(cloud: &Cloud) -> ApiResult<()> {
    let end = clock::epoch() - RELEASED.as_secs_f64();
    let is_due = |layer: &Layer| layer.released.is_some_and(|released| released < end);
    for (key, layer) in layer_records(cloud).list("")? {
        if !is_due(&layer) {
            continue;
        }
        cloud.store().transaction(|transaction| {
            // Pushing an image that needs the layer clears its release time.
            let found = layer_records(cloud).get_in(transaction, &key)?;
            if found.as_ref().is_some_and(is_due) {
                layer_records(cloud).remove_in(transaction, &key)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Removes the records of layers of deleted repositories and images, and of layers that were pushed long
/// ago and that no image needs. Only for the start of the server: no push may be in progress.
pub(super) fn remove_orphaned_layers(cloud: &Cloud) -> ApiResult<()> {
    let repositories: BTreeMap<_, _> = repositories(cloud).list("")?.into_iter().collect();
    let needed: BTreeMap<_, _> = repositories
        .iter()
        .map(|(name, repository)| (name, needed(cloud, &repository.images)))
        .collect();
    for (key, layer) in layer_records(cloud).list("")? {
        let Some((name, digest)) = key.split_once('@') else {
            continue;
        };
        let orphaned = match needed.get(&name.to_owned()) {
            None => true,
            Some(None) => false,
            Some(Some(needed)) => {
                !needed.contains(digest) && (layer.released.is_some() || is_old(cloud, digest))
            }
        };
        if orphaned {
            layer_records(cloud).remove(&key)?;
        }
    }
    Ok(())
}

/// True if the layer's bytes were stored long ago, or are missing.
fn is_old(cloud: &Cloud, digest: &str) -> bool {
    let path = cloud.blobs().path(sha256_of(digest).unwrap_or_default());
    let stored = path.metadata().and_then(|found| found.modified());
    let age = stored.map(|stored| SystemTime::now().duration_since(stored));
    // A time in the future has no age.
    age.is_ok_and(|age| age.is_ok_and(|age| age > PUSH))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Mutability;
    use super::*;
    use crate::test_cloud::TestCloud;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn manifest(layer: &str) -> Vec<u8> {
        let config = "cd".repeat(32);
        let text = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{config}"),
                "size": 1,
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer,
                "size": 1,
            }],
        });
        text.to_string().into_bytes()
    }

    fn repository(images: &BTreeMap<String, StoredImage>) -> Repository {
        Repository {
            name: "app".to_owned(),
            created: 0.0,
            mutability: Mutability {
                mode: "MUTABLE".to_owned(),
                exclusions: Vec::new(),
            },
            scan_on_push: false,
            encryption: Value::Null,
            resource_tags: BTreeMap::new(),
            lifecycle_policy: None,
            policy: None,
            images: images.clone(),
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn a_damaged_manifest_releases_nothing() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        let digest = |digits: &str| format!("sha256:{}", digits.repeat(32));
        let (used, other) = (digest("ab"), digest("ef"));
        let name = cloud.blobs().write(&manifest(&used)).unwrap();
        let image = StoredImage {
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            size: 1,
            pushed: 0.0,
            subject: None,
            children: Vec::new(),
        };
        let images = BTreeMap::from([(format!("sha256:{name}"), image)]);
        assert!(needed(&cloud, &images).unwrap().contains(&used));
        let released = Layer {
            size: 1,
            media_type: None,
            released: Some(0.0),
        };
        let kept = Layer {
            released: None,
            ..released.clone()
        };
        let key = |digest: &str| format!("app@{digest}");
        layer_records(&cloud).put(&key(&used), &released).unwrap();
        layer_records(&cloud).put(&key(&other), &kept).unwrap();
        repositories(&cloud)
            .put("app", &repository(&images))
            .unwrap();
        // It still parses: only the digest detects the damage.
        std::fs::write(cloud.blobs().path(&name), manifest(&other)).unwrap();
        remove_orphaned_layers(&cloud).unwrap();
        assert!(layer_records(&cloud).get(&key(&used)).unwrap().is_some());
        cloud
            .store()
            .transaction(|transaction| {
                let rest = repository(&BTreeMap::new());
                release(&cloud, transaction, &rest, &images)
            })
            .unwrap();
        let layer = layer_records(&cloud).get(&key(&other)).unwrap().unwrap();
        assert!(layer.released.is_none());
    }
}
