//! Artifacts: zip files in the artifact bucket.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};

use zip::ZipArchive;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

use super::super::declaration::ArtifactStore;
use super::super::records::Location;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::unpack::{self, zip_index};

/// Maximum number of characters of the pipeline's name in a key.
const PIPELINE: usize = 20;

/// Maximum number of characters of the artifact's name in a key.
const ARTIFACT: usize = 10;

/// Number of characters of the random part of a key.
const RANDOM: usize = 7;

/// Maximum size of an artifact from which a file is read, in bytes (quotas of the user guide, for actions of
/// `CloudFormation`).
const LARGEST: u64 = 256 << 20;

/// Limits of the directory of an artifact from which a file is read; they protect memory.
const DIRECTORY: zip_index::Limits = zip_index::Limits {
    entries: 100_000,
    bytes: 16 << 20,
};

/// Where an artifact will be stored.
#[derive(Debug, Clone)]
pub(in crate::codepipeline) struct Place {
    pub(in crate::codepipeline) location: Location,
    /// The key of KMS.
    pub(in crate::codepipeline) key: Option<String>,
}

impl Place {
    /// A new key for an artifact: `PIPELINE/ARTIFACT/RANDOM`, with the names cut as AWS cuts them.
    pub(in crate::codepipeline) fn new(
        pipeline: &str,
        artifact: &str,
        store: &ArtifactStore,
    ) -> Self {
        let cut = |name: &str, length: usize| name.chars().take(length).collect::<String>();
        let key = format!(
            "{}/{}/{}",
            cut(pipeline, PIPELINE),
            cut(artifact, ARTIFACT),
            random()
        );
        Self {
            location: Location {
                bucket: store.location.clone(),
                key,
                clone: None,
            },
            key: store.encryption_key.as_ref().map(|key| key.id.clone()),
        }
    }

    /// Stores the contents of a reader.
    pub(in crate::codepipeline) fn put(
        &self,
        cloud: &Cloud,
        caller: &Caller,
        reader: &mut impl Read,
    ) -> ApiResult<()> {
        let Location { bucket, key, .. } = &self.location;
        let encryption = self.key.as_deref();
        let metadata = BTreeMap::new();
        objects::put_with(cloud, caller, (bucket, key), reader, encryption, metadata).map(drop)
    }

    /// Stores a zip with one file.
    pub(in crate::codepipeline) fn put_file(
        &self,
        cloud: &Cloud,
        caller: &Caller,
        name: &str,
        contents: &[u8],
    ) -> ApiResult<()> {
        let mut file = tempfile::tempfile()?;
        let mut archive = zip::ZipWriter::new(&mut file);
        let options = SimpleFileOptions::default();
        archive
            .start_file(name, options)
            .map_err(ApiError::internal)?;
        archive.write_all(contents)?;
        archive.finish().map_err(ApiError::internal)?;
        file.rewind()?;
        self.put(cloud, caller, &mut file)
    }
}

/// Letters and digits.
fn random() -> String {
    const DIGITS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut rest = uuid::Uuid::new_v4().as_u128();
    (0..RANDOM)
        .map(|_| {
            let digit = DIGITS[usize::try_from(rest % 62).unwrap_or(0)];
            rest /= 62;
            char::from(digit)
        })
        .collect()
}

/// Reads a file of an artifact of at most `largest` bytes; `None` if the artifact does not have it.
pub(super) fn read_file(
    cloud: &Cloud,
    caller: &Caller,
    artifact: &Location,
    file: &str,
    largest: u64,
) -> ApiResult<Option<Vec<u8>>> {
    let object = objects::head(cloud, caller, &artifact.bucket, &artifact.key)?;
    if object.size > LARGEST {
        let message = format!("the artifact has more than {LARGEST} bytes");
        return Err(ApiError::validation(message));
    }
    let mut archive = open(objects::open(cloud, caller, &object)?)?;
    let file = file.trim_start_matches("./").trim_start_matches('/');
    let entry = match archive.by_name(file) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(broken(&error)),
    };
    if entry.is_symlink() {
        let message = format!("{file} in the artifact is a symbolic link");
        return Err(ApiError::validation(message));
    }
    let mut bytes = Vec::new();
    // The size in an entry's header cannot be trusted.
    entry.take(largest + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > largest {
        let message = format!("{file} in the artifact has more than {largest} bytes");
        return Err(ApiError::validation(message));
    }
    Ok(Some(bytes))
}

fn open<R: Read + Seek>(reader: R) -> ApiResult<ZipArchive<R>> {
    unpack::open_zip(reader, &DIRECTORY)
        .map_err(|problem| ApiError::validation(format!("the artifact: {problem}")))
}

fn broken(error: &ZipError) -> ApiError {
    ApiError::validation(format!("the artifact is not a valid zip file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::buckets;
    use crate::test_cloud::TestCloud;

    fn store(key: Option<&str>) -> ArtifactStore {
        ArtifactStore {
            kind: "S3".to_owned(),
            location: "artifacts".to_owned(),
            encryption_key: key.map(|id| super::super::super::declaration::EncryptionKey {
                id: id.to_owned(),
                kind: "KMS".to_owned(),
            }),
        }
    }

    #[test]
    fn keys_have_cut_names() {
        let place = Place::new(
            "a-pipeline-with-a-long-name",
            "SourceArtifact",
            &store(None),
        );
        let key = &place.location.key;
        assert!(key.starts_with("a-pipeline-with-a-lo/SourceArti/"), "{key}");
        assert_eq!(key.rsplit('/').next().unwrap().len(), RANDOM);
        let other = Place::new(
            "a-pipeline-with-a-long-name",
            "SourceArtifact",
            &store(None),
        );
        assert_ne!(&other.location.key, key);
    }

    #[test]
    fn files_of_artifacts_are_read_within_limits() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        buckets::create(&cloud, "artifacts").unwrap();
        let place = Place::new("p", "a", &store(None));
        let contents = vec![b'x'; 1000];
        place
            .put_file(&cloud, &Caller::Root, "dir/file", &contents)
            .unwrap();
        let read =
            |file: &str, largest| read_file(&cloud, &Caller::Root, &place.location, file, largest);
        assert_eq!(read("dir/file", 1000).unwrap(), Some(contents));
        assert_eq!(read("file", 1000).unwrap(), None);
        let error = read("dir/file", 999).unwrap_err();
        assert!(error.message.contains("more than 999 bytes"), "{error}");
        place
            .put(&cloud, &Caller::Root, &mut &b"not a zip"[..])
            .unwrap();
        assert!(read("dir/file", 10).is_err());
    }
}
