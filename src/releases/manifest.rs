//! The release manifest: one document that names everything a release serves, by content.
//!
//! The document is written once and never changed. Its bytes are what its SHA-256 is computed from, so a
//! manifest that was read is passed on as bytes ([`Sealed`]), never rendered again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use mlops_core::names::Version;
use mlops_core::s3::S3Uri;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::settings::Settings;

/// The format of manifests.
pub const SCHEMA: u32 = 1;

/// Parameters of endpoint.yaml that identify the manifest and so cannot be in it.
pub const IDENTITY: [&str; 3] = ["ReleaseNumber", "ReleaseChecksum", "Suffix"];

/// Everything that a release serves, and where it came from. docs/release-manifest.schema.json describes
/// the document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format; always [`SCHEMA`].
    pub schema: u32,
    /// The release's number: 1, 2, 3, …
    pub release: u32,
    /// The endpoint.
    pub endpoint: String,
    /// When the release was requested, by the client's clock.
    pub created: Timestamp,
    /// ARN of the identity that requested it.
    pub created_by: String,
    /// Why: the text of `--note`.
    pub note: Option<String>,
    /// The release that was live before.
    pub previous: Option<u32>,
    /// For a rollback: the release whose deployment this one repeats.
    pub restores: Option<u32>,
    /// The model version.
    pub model: ModelVersion,
    /// The image that serves it.
    pub image: Image,
    /// The model artifact.
    pub artifact: Option<Artifact>,
    /// The code that trained it.
    pub code: Code,
    /// The data that it was trained on.
    pub data: Option<Data>,
    /// The run that produced it.
    pub pipeline: Option<Pipeline>,
    /// Its metrics.
    pub metrics: Map<String, Value>,
    /// The second version that receives a share of the requests.
    pub challenger: Option<Challenger>,
    /// How it is deployed.
    pub settings: Settings,
    /// SHA-256 of the CloudFormation template.
    pub template_sha256: String,
    /// The template's parameters, except those that identify this document.
    pub parameters: BTreeMap<String, String>,
}

/// The model version of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelVersion {
    /// The model package group.
    pub group: String,
    /// The version in it.
    pub version: Version,
    /// The model package's ARN.
    pub package_arn: String,
    /// The decision to deploy it.
    pub approval: Approval,
}

/// Who approved a version, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// ARN of the approver; null if AWS does not report it.
    pub by: Option<String>,
    /// When; null if unknown.
    pub at: Option<Timestamp>,
    /// The approver's comment.
    pub note: Option<String>,
}

/// The image of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its reference.
    pub uri: String,
    /// Its repository in the project's registry; null for an image elsewhere.
    pub repository: Option<String>,
    /// Its digest; null for an image elsewhere that is named by tag.
    pub digest: Option<String>,
}

/// The model artifact of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its address.
    pub uri: S3Uri,
    /// The version of the object; null in a bucket without versions.
    pub version_id: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// The code of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The git commit.
    pub commit: Option<String>,
    /// True if uncommitted files were included.
    pub dirty: bool,
    /// The branch.
    pub branch: Option<String>,
}

/// The data of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The data set.
    pub dataset: String,
    /// Its version: the version id of its manifest.
    pub version: String,
    /// The address of its manifest, which has the SHA-256 of each file.
    pub manifest: S3Uri,
    /// SHA-256 of that manifest.
    pub manifest_sha256: String,
    /// The number of files.
    pub files: usize,
    /// Their total size in bytes.
    pub bytes: u64,
}

/// The run of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The execution's id.
    pub run: String,
    /// Its ARN.
    pub run_arn: String,
    /// SHA-256 of the pipeline definition that it executed.
    pub definition_sha256: Option<String>,
}

/// The second version of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenger {
    /// The version.
    pub version: Version,
    /// The model package's ARN.
    pub package_arn: String,
    /// The image.
    pub image: Image,
    /// The artifact.
    pub artifact: Option<Artifact>,
}

impl Manifest {
    /// Returns whether two manifests deploy the same content, whoever requested it and however the traffic
    /// is shifted.
    pub fn serves_the_same(&self, other: &Self) -> bool {
        const SHIFT: [&str; 4] = ["Strategy", "StepType", "StepSize", "BakeSeconds"];

        let parameters = |manifest: &Self| {
            let all = manifest.parameters.clone().into_iter();
            all.filter(|(name, _)| !SHIFT.contains(&name.as_str()))
                .collect::<BTreeMap<_, _>>()
        };
        self.endpoint == other.endpoint
            && self.model.package_arn == other.model.package_arn
            && self.image == other.image
            && self.artifact == other.artifact
            && self.challenger == other.challenger
            && self.template_sha256 == other.template_sha256
            && parameters(self) == parameters(other)
    }

    /// Returns whether a request for `other` is the one that wrote this manifest: the same content, shifted
    /// the same way, after the same release. Times and identities may differ.
    pub fn is_same_request(&self, other: &Self) -> bool {
        self.serves_the_same(other)
            && self.parameters == other.parameters
            && self.previous == other.previous
            && self.restores == other.restores
    }

    /// Whether the deploy pipeline claimed the release: a build with the project's role for it.
    pub fn is_of_pipeline(&self) -> bool {
        let role = format!(":assumed-role/{}-deploy-build/", self.endpoint);
        self.created_by.contains(&role)
    }

    /// Renders the document; this is the only place that does.
    pub fn seal(self) -> Result<Sealed> {
        let mut bytes = serde_json::to_vec_pretty(&self).context("cannot write a manifest")?;
        bytes.push(b'\n');
        Ok(Sealed {
            sha256: hex::encode(Sha256::digest(&bytes)),
            manifest: self,
            bytes,
        })
    }
}

/// A manifest with its exact bytes and their SHA-256.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// The document.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their SHA-256.
    pub sha256: String,
}

impl Sealed {
    /// Reads a document.
    pub fn read(bytes: Vec<u8>, name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            schema: u32,
        }

        let doing = || format!("{name} is not a release manifest");
        let format: Format = serde_json::from_slice(&bytes).with_context(doing)?;
        if format.schema != SCHEMA {
            bail!(
                "{name} has the format {}, but this version of mlops supports {SCHEMA}",
                format.schema
            );
        }
        Ok(Self {
            sha256: hex::encode(Sha256::digest(&bytes)),
            manifest: serde_json::from_slice(&bytes).with_context(doing)?,
            bytes,
        })
    }

    /// Returns the end of the names of the release's model and endpoint configuration: its number and the
    /// start of its checksum, so that the name itself shows which document is deployed.
    pub fn suffix(&self) -> String {
        format!("{}-{}", self.manifest.release, &self.sha256[..8])
    }

    /// Returns all parameters of endpoint.yaml.
    pub fn parameters(&self) -> BTreeMap<String, String> {
        let [number, checksum, suffix] = IDENTITY.map(str::to_owned);
        let mut all = self.manifest.parameters.clone();
        all.insert(number, self.manifest.release.to_string());
        all.insert(checksum, self.sha256.clone());
        all.insert(suffix, self.suffix());
        all
    }

    /// Returns the name of the endpoint configuration.
    pub fn configuration(&self) -> String {
        format!("{}-{}", self.manifest.endpoint, self.suffix())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::DeploySection;

    /// A manifest with every member.
    pub(crate) fn example() -> Manifest {
        let settings = Settings::of(&DeploySection::default(), None).unwrap();
        let image = Image {
            uri: "r/flights@sha256:aa".to_owned(),
            repository: Some("flights".to_owned()),
            digest: Some("sha256:aa".to_owned()),
        };
        let artifact = Artifact {
            uri: "s3://flights-artifacts/models/1/model.tar.gz"
                .parse()
                .unwrap(),
            version_id: Some("v1".to_owned()),
            size: 10,
            sha256: "aa".repeat(32),
        };
        Manifest {
            schema: SCHEMA,
            release: 2,
            endpoint: "flights".to_owned(),
            created: "2026-01-02T03:04:05Z".parse().unwrap(),
            created_by: "arn:aws:iam::000000000000:root".to_owned(),
            note: Some("a note".to_owned()),
            previous: Some(1),
            restores: Some(1),
            model: ModelVersion {
                group: "flights".to_owned(),
                version: Version(1),
                package_arn: "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/1"
                    .to_owned(),
                approval: Approval {
                    by: Some("arn:aws:iam::000000000000:role/flights-approver".to_owned()),
                    at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
                    note: Some("fine".to_owned()),
                },
            },
            image: image.clone(),
            artifact: Some(artifact.clone()),
            code: Code {
                commit: Some("1".repeat(40)),
                dirty: false,
                branch: Some("develop".to_owned()),
            },
            data: Some(Data {
                dataset: "flights".to_owned(),
                version: "v2".to_owned(),
                manifest: "s3://flights-data/datasets/flights/manifest.json"
                    .parse()
                    .unwrap(),
                manifest_sha256: "bb".repeat(32),
                files: 2,
                bytes: 30,
            }),
            pipeline: Some(Pipeline {
                run: "abc".to_owned(),
                run_arn: "arn:aws:sagemaker:us-east-1:000000000000:pipeline/flights/execution/abc"
                    .to_owned(),
                definition_sha256: Some("cc".repeat(32)),
            }),
            metrics: json!({"rmse": 4.25}).as_object().cloned().unwrap(),
            challenger: Some(Challenger {
                version: Version(2),
                package_arn: "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/2"
                    .to_owned(),
                image,
                artifact: Some(artifact),
            }),
            parameters: settings
                .parameters()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            settings,
            template_sha256: "dd".repeat(32),
        }
    }

    #[test]
    fn bytes_and_checksum_survive_a_round_trip() {
        let sealed = example().seal().unwrap();
        let read = Sealed::read(sealed.bytes.clone(), "x").unwrap();
        assert_eq!(read, sealed);
        assert_eq!(sealed.parameters()["ReleaseChecksum"], sealed.sha256);
        assert_eq!(
            sealed.configuration(),
            format!("flights-2-{}", &sealed.sha256[..8])
        );
        let newer = String::from_utf8(sealed.bytes).unwrap();
        let newer = newer.replace("\"schema\": 1", "\"schema\": 2");
        let error = Sealed::read(newer.into_bytes(), "x").unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
    }

    #[test]
    fn a_request_is_recognized_whoever_made_it() {
        let one = example();
        let mut two = example();
        two.created_by = "somebody else".to_owned();
        two.release = 7;
        two.model.approval = Approval::default();
        assert!(one.is_same_request(&two));
        two.previous = None;
        assert!(!one.is_same_request(&two) && one.serves_the_same(&two));
        two.parameters
            .insert("Strategy".to_owned(), "canary".to_owned());
        assert!(
            one.serves_the_same(&two),
            "how it is shifted is not content"
        );
        two.parameters
            .insert("InstanceCount".to_owned(), "9".to_owned());
        assert!(!one.serves_the_same(&two));
    }

    /// Every member of a real manifest is in the published schema, and the schema requires no other.
    #[test]
    fn the_published_schema_describes_the_document() {
        fn compare(schema: &Value, value: &Value, path: &str) {
            let Value::Object(members) = value else {
                return;
            };
            let schema = match schema["anyOf"].as_array() {
                Some(options) => options.iter().find(|option| option["type"] == "object"),
                None => Some(schema),
            };
            let schema = schema.unwrap_or_else(|| panic!("{path} is not an object in the schema"));
            let Some(known) = schema["properties"].as_object() else {
                assert!(schema["additionalProperties"].is_object(), "{path}");
                return;
            };
            let required: Vec<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            for (name, value) in members {
                let path = format!("{path}.{name}");
                let member = known
                    .get(name)
                    .unwrap_or_else(|| panic!("{path} is not in the schema"));
                assert!(member["description"].is_string(), "{path} is not described");
                assert!(required.contains(&name.as_str()), "{path} is not required");
                compare(member, value, &path);
            }
            for name in known.keys() {
                assert!(members.contains_key(name), "{path}.{name} does not exist");
            }
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }

        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs/release-manifest.schema.json");
        let schema: Value = serde_json::from_slice(&std::fs::read(page).unwrap()).unwrap();
        let mut manifest = example();
        manifest.settings.autoscaling = Some(
            serde_json::from_value(json!({"min": 1, "max": 2, "invocations_per_instance": 3}))
                .unwrap(),
        );
        manifest.settings.challenger =
            Some(serde_json::from_value(json!({"version": 2, "percent": 10})).unwrap());
        let sealed = manifest.seal().unwrap();
        let document: Value = serde_json::from_slice(&sealed.bytes).unwrap();
        compare(&schema, &document, "manifest");
    }
}
