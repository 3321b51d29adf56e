//! The volumes of notebook instances: directories that are kept until the instance is deleted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::ApiResult;
use crate::store::Collection;
use crate::{Cloud, beneath};

/// Directory of the volumes, within the state directory.
const DIRECTORY: &str = "notebooks";

/// The volume of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Volume {
    /// Unique, so that an instance never has the volume of a deleted one of its name.
    id: String,
    /// True if the script of the instance's creation has been started.
    pub(super) on_create_ran: bool,
}

fn volumes(cloud: &Cloud) -> Collection<'_, Volume> {
    cloud.store().collection("sagemaker", "notebook-volume")
}

impl Volume {
    /// The directory of the instance's files.
    pub(super) fn directory(&self, cloud: &Cloud) -> PathBuf {
        cloud.directory().join(DIRECTORY).join(&self.id)
    }
}

/// The volume of an instance, which is created with the first call.
pub(super) fn of(cloud: &Cloud, instance: &str) -> ApiResult<Volume> {
    let new = Volume {
        id: uuid::Uuid::new_v4().simple().to_string(),
        on_create_ran: false,
    };
    volumes(cloud).insert(instance, &new)?;
    let found = volumes(cloud).get(instance)?.unwrap_or(new);
    std::fs::create_dir_all(found.directory(cloud))?;
    Ok(found)
}

/// Records that the script of the creation has been started.
pub(super) fn on_create_runs(cloud: &Cloud, instance: &str, volume: &Volume) -> ApiResult<()> {
    let changed = Volume {
        on_create_ran: true,
        ..volume.clone()
    };
    volumes(cloud).put(instance, &changed)
}

/// Forgets the volume of an instance; [`remove`] removes its files.
pub(super) fn forget(cloud: &Cloud, instance: &str) -> ApiResult<Option<Volume>> {
    let found = volumes(cloud).get(instance)?;
    volumes(cloud).remove(instance)?;
    Ok(found)
}

/// Removes the files of a volume.
pub(super) fn remove(cloud: &Cloud, volume: &Volume) {
    beneath::discard(cloud.directory(), &volume.directory(cloud));
}

/// Removes the files of volumes that no instance has, and all others that a killed server left behind.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    let kept = volumes(cloud).list("")?;
    let is_kept = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        kept.iter().any(|(_, volume)| name == volume.id.as_str())
    };
    let entries = std::fs::read_dir(cloud.directory().join(DIRECTORY));
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        if is_kept(&path) {
            beneath::discard(cloud.directory(), &path.join("disk.run"));
        } else {
            beneath::discard(cloud.directory(), &path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn a_new_instance_never_has_the_volume_of_a_deleted_one() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let first = of(&cloud, "n").unwrap();
        std::fs::write(first.directory(&cloud).join("file"), "").unwrap();
        assert_eq!(of(&cloud, "n").unwrap().id, first.id);
        forget(&cloud, "n").unwrap();
        let second = of(&cloud, "n").unwrap();
        assert_ne!(second.id, first.id);
        // As after a crash before the files were removed.
        recover(&cloud).unwrap();
        assert!(!first.directory(&cloud).exists());
        assert!(second.directory(&cloud).exists());
    }
}
