//! Uploads the output of a build, on behalf of the service role.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use md5::Md5;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::buildspec::ArtifactSpec;
use super::globs::{Layout, Rules, Selection, select};
use super::interrupt::{Interrupt, Limited};
use super::log::BuildLog;
use super::records::{Artifacts, BuildArtifacts, PipelineLocation};
use super::settings::DEFAULT_KEY;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::cloud::caller::Caller;
use crate::s3::objects;

/// Maximum total size of the files of an output, in bytes.
const MAX_BYTES: u64 = 20 << 30;

/// Maximum number of links that the log names.
const MAX_NOTES: usize = 20;

/// What an upload needs to know about its build.
pub(super) struct Output<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) role: Caller,
    pub(super) root: &'a Directory,
    pub(super) layout: &'a Layout,
    pub(super) log: &'a BuildLog,
    pub(super) interrupt: Interrupt,
    /// The ARN of the build, in the metadata of each object.
    pub(super) build: String,
    /// The id of the build without its project.
    pub(super) uuid: String,
    pub(super) encryption_key: String,
}

/// An artifact definition whose expressions have been evaluated.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    pub(super) spec: ArtifactSpec,
}

/// Path parts of an object key, without empty ones.
fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts = parts.into_iter().flat_map(|part| part.split('/'));
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

/// The key of an artifact in S3: `path/namespace/name`.
fn key(artifacts: &Artifacts, uuid: &str, name: Option<&str>, prefix: Option<&str>) -> String {
    let has_namespace = artifacts.namespace_type.as_deref() == Some("BUILD_ID");
    let namespace = if has_namespace { uuid } else { "" };
    let prefix = prefix.filter(|_| has_namespace).unwrap_or_default();
    let name = match name {
        Some(name) if artifacts.override_artifact_name == Some(true) => name,
        _ => artifacts.name.as_deref().unwrap_or_default(),
    };
    let path = artifacts.path.as_deref().unwrap_or_default();
    joined([path, prefix, namespace, name])
}

/// The ARN of an artifact in S3. `name` and `prefix` are those of the buildspec.
pub(super) fn arn(
    artifacts: &Artifacts,
    uuid: &str,
    name: Option<&str>,
    prefix: Option<&str>,
) -> String {
    let bucket = artifacts.location.as_deref().unwrap_or_default();
    let key = key(artifacts, uuid, name, prefix);
    format!("arn:aws:s3:::{}", joined([bucket, &key]))
}

impl Output<'_> {
    /// Selects the files of a definition; an error if there are none, or if they are too large.
    fn files(&self, spec: &ArtifactSpec) -> ApiResult<Selection> {
        let base = spec.base_directory.as_deref().unwrap_or(".");
        self.log
            .container(&format!("Expanding base directory path: {base}"));
        self.log.container("Assembling file list");
        let rules = Rules {
            files: &spec.files,
            base_directory: spec.base_directory.as_deref(),
            exclude: &spec.exclude_paths,
            discard_paths: spec.discard_paths,
            links: spec.enable_symlinks,
        };
        let selection = select(self.root, self.layout, &rules, &self.interrupt)?;
        for text in &spec.files {
            self.log.container(&format!("Expanding {text}"));
            if selection.unmatched.contains(text) {
                self.log
                    .container(&format!("Skipping invalid file path {text}"));
            }
        }
        let links = selection.link_count;
        for link in &selection.links {
            let shown = self.root.shown(link);
            self.note_link(&shown.display().to_string(), "without enable-symlinks");
        }
        if selection.files.is_empty() {
            return Err(ApiError::validation(if links == 0 {
                "no matching artifact paths found".to_owned()
            } else {
                format!(
                    "no matching artifact paths found: {links} symbolic link(s) match, without enable-symlinks"
                )
            }));
        }
        check_size(&selection, MAX_BYTES)?;
        self.log
            .container(&format!("Found {} file(s)", selection.files.len()));
        Ok(selection)
    }

    fn note_link(&self, link: &str, why: &str) {
        self.log.container(&format!(
            "Skipping symbolic link {link}: links are not uploaded {why}"
        ));
    }

    /// Uploads an artifact of the project.
    pub(super) fn upload(
        &self,
        artifacts: &Artifacts,
        definition: &Definition,
    ) -> ApiResult<BuildArtifacts> {
        let spec = &definition.spec;
        let mut shown = BuildArtifacts {
            override_artifact_name: artifacts.override_artifact_name,
            encryption_disabled: artifacts.encryption_disabled,
            artifact_identifier: artifacts.artifact_identifier.clone(),
            ..BuildArtifacts::default()
        };
        let selection = self.files(spec)?;
        let bucket = artifacts.location.as_deref().unwrap_or_default();
        let (name, prefix) = (spec.name.as_deref(), spec.s3_prefix.as_deref());
        shown.location = arn(artifacts, &self.uuid, name, prefix);
        let key = key(artifacts, &self.uuid, name, prefix);
        let encrypted = artifacts.encryption_disabled != Some(true);
        if artifacts.packaging.as_deref() == Some("ZIP") {
            let (mut zip, sums) = self.zip(&selection)?;
            let mut zip = Limited::new(&mut zip, u64::MAX, &self.interrupt);
            self.put(bucket, &key, &mut zip, encrypted)?;
            (shown.sha256sum, shown.md5sum) = (Some(sums.0), Some(sums.1));
            return Ok(shown);
        }
        let mut left = MAX_BYTES;
        let mut links = 0;
        for (name, selected) in &selection.files {
            self.interrupt.check()?;
            if selected.link.is_some() {
                links += 1;
                if links <= MAX_NOTES {
                    self.note_link(&name.display().to_string(), "without packaging: ZIP");
                }
                continue;
            }
            let Some(file) = self.root.file(&selected.path)? else {
                continue;
            };
            let mut file = Limited::new(file, left, &self.interrupt);
            let key = joined([key.as_str(), &name.to_string_lossy()]);
            self.put(bucket, &key, &mut file, encrypted)?;
            left = file.left();
        }
        Ok(shown)
    }

    /// Uploads an output artifact of a pipeline.
    pub(super) fn upload_to_pipeline(
        &self,
        output: &PipelineLocation,
        definition: &Definition,
    ) -> ApiResult<BuildArtifacts> {
        let selection = self.files(&definition.spec)?;
        let (mut zip, sums) = self.zip(&selection)?;
        let mut zip = Limited::new(&mut zip, u64::MAX, &self.interrupt);
        self.put(&output.bucket, &output.key, &mut zip, true)?;
        Ok(BuildArtifacts {
            location: format!("arn:aws:s3:::{}/{}", output.bucket, output.key),
            sha256sum: Some(sums.0),
            md5sum: Some(sums.1),
            ..BuildArtifacts::default()
        })
    }

    fn put(&self, bucket: &str, key: &str, from: &mut impl Read, encrypted: bool) -> ApiResult<()> {
        let metadata = BTreeMap::from([("codebuild-buildarn".to_owned(), self.build.clone())]);
        let kms_key =
            Some(self.encryption_key.as_str()).filter(|key| encrypted && *key != DEFAULT_KEY);
        let put = objects::put_with(
            self.cloud,
            &self.role,
            (bucket, key),
            from,
            kms_key,
            metadata,
        );
        put.map(drop).map_err(|error| ApiError {
            message: format!(
                "Error uploading s3://{bucket}/{key}: {}: {}",
                error.code, error.message
            ),
            ..error
        })
    }

    /// Packs files into a temporary zip. Returns its SHA-256 and its MD5.
    fn zip(&self, selection: &Selection) -> ApiResult<(File, (String, String))> {
        let broken = |error: zip::result::ZipError| ApiError::internal(error);
        let file = tempfile::tempfile_in(self.cloud.blobs().temporary_directory())?;
        let mut writer = ZipWriter::new(std::io::BufWriter::new(file));
        let mut left = MAX_BYTES;
        for (name, selected) in &selection.files {
            self.interrupt.check()?;
            let name = name.to_string_lossy();
            if let Some(target) = &selected.link {
                let target = target.to_string_lossy();
                let options = SimpleFileOptions::default();
                writer
                    .add_symlink(&*name, &*target, options)
                    .map_err(broken)?;
                continue;
            }
            let Some(file) = self.root.file(&selected.path)? else {
                continue;
            };
            let metadata = file.metadata()?;
            let options = SimpleFileOptions::default()
                .unix_permissions(metadata.permissions().mode() & 0o777)
                .large_file(metadata.len() > u64::from(u32::MAX / 2));
            writer.start_file(&*name, options).map_err(broken)?;
            let mut file = Limited::new(file, left, &self.interrupt);
            std::io::copy(&mut file, &mut writer)?;
            left = file.left();
        }
        let writer = writer.finish().map_err(broken)?;
        let mut file = writer
            .into_inner()
            .map_err(|error| ApiError::from(error.into_error()))?;
        file.flush()?;
        let sums = sums(&mut file, &self.interrupt)?;
        Ok((file, sums))
    }
}

/// Refuses files that are larger than an output can be, before anything of them is uploaded or packed. Files with
/// holes count with their holes, which the output does not have.
fn check_size(selection: &Selection, most: u64) -> ApiResult<()> {
    let sizes = selection.files.values().map(|file| file.size);
    if sizes.fold(0, u64::saturating_add) > most {
        return Err(ApiError::validation(format!(
            "the files of an artifact have more than {most} bytes"
        )));
    }
    Ok(())
}

/// The SHA-256 and the MD5 of a file, which is rewound.
fn sums(file: &mut File, interrupt: &Interrupt) -> ApiResult<(String, String)> {
    let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
    let mut buffer = vec![0; 64 << 10];
    file.seek(SeekFrom::Start(0))?;
    loop {
        interrupt.check()?;
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        md5.update(&buffer[..read]);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((hex::encode(sha256.finalize()), hex::encode(md5.finalize())))
}

/// The definition of an output artifact of a pipeline: with several outputs, the secondary artifact of its name.
pub(super) fn of_output<'a>(
    output: &PipelineLocation,
    is_only: bool,
    primary: Option<&'a Definition>,
    secondary: &'a BTreeMap<String, Definition>,
) -> ApiResult<&'a Definition> {
    let named = secondary.get(&output.name);
    let primary = primary.filter(|definition| !definition.spec.files.is_empty());
    let found = if is_only { primary.or(named) } else { named };
    found.ok_or_else(|| {
        let message = if is_only {
            "no artifacts are defined in the buildspec".to_owned()
        } else {
            format!(
                "no definition for secondary artifact {} in the buildspec",
                output.name
            )
        };
        ApiError::validation(message)
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::globs::Selected;
    use super::*;

    #[test]
    fn the_size_of_an_output_is_known_before_it_is_read() {
        let files = ["a", "b"].map(|name| {
            let selected = Selected {
                path: PathBuf::from("src").join(name),
                link: None,
                size: 6,
            };
            (PathBuf::from(name), selected)
        });
        let selection = Selection {
            files: files.into(),
            ..Selection::default()
        };
        check_size(&selection, 12).unwrap();
        assert!(check_size(&selection, 11).is_err());
    }

    fn artifacts(path: &str, namespace: &str, name: &str) -> Artifacts {
        Artifacts {
            kind: "S3".to_owned(),
            location: Some("out".to_owned()),
            path: Some(path.to_owned()),
            namespace_type: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..Artifacts::default()
        }
    }

    #[test]
    fn keys_are_those_of_the_api_reference() {
        let key =
            |path, namespace, name| key(&artifacts(path, namespace, name), "id", None, Some("p"));
        assert_eq!(
            key("MyArtifacts", "BUILD_ID", "MyArtifact.zip"),
            "MyArtifacts/p/id/MyArtifact.zip"
        );
        assert_eq!(key("", "NONE", "MyArtifact.zip"), "MyArtifact.zip");
        assert_eq!(key("MyArtifacts", "BUILD_ID", "/"), "MyArtifacts/p/id");
        assert_eq!(key("/a//b/", "NONE", "/"), "a/b");
        let arn = arn(&artifacts("a", "NONE", "n"), "id", Some("own"), None);
        assert_eq!(arn, "arn:aws:s3:::out/a/n");
        let own = Artifacts {
            override_artifact_name: Some(true),
            ..artifacts("a", "NONE", "n")
        };
        assert_eq!(
            super::arn(&own, "id", Some("own"), None),
            "arn:aws:s3:::out/a/own"
        );
    }
}
