//! Image scans. The local cloud does not search for vulnerabilities: findings are those that
//! `mlops local inject scan` wrote to the state directory, as
//! `scan-findings/REPOSITORY/HEX-DIGEST.json` for one image, or `scan-findings/REPOSITORY/every-image.json` for
//! the others of the repository. Without either file the image has no scan, rather than a scan without findings.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mlops_core::error::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::announce;
use super::digest::sha256_of;
use super::image_id::{ImageId, image_not_found};
use super::states::ScanStatus;
use super::{find, invalid, page, with_token};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;

/// The severities of `FindingSeverity` in ECR's service model, the worst first.
const SEVERITIES: &[&str] = &[
    "CRITICAL",
    "HIGH",
    "MEDIUM",
    "LOW",
    "INFORMATIONAL",
    "UNDEFINED",
];

/// The findings of one image (`ImageScanFindings` in ECR's service model, basic scanning).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    #[serde(rename = "findings")]
    list: Vec<Finding>,
    /// Seconds since the epoch.
    #[serde(default, deserialize_with = "time")]
    image_scan_completed_at: Option<f64>,
    /// Seconds since the epoch.
    #[serde(default, deserialize_with = "time")]
    vulnerability_source_updated_at: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Finding {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    severity: String,
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: String,
}

/// Seconds since the epoch, or a time as the aws CLI writes it.
fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match &value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        Value::String(text) => {
            let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
            Ok(Some(time.as_duration().as_secs_f64()))
        }
        other => Err(serde::de::Error::custom(format!("{other} is not a time"))),
    }
}

impl Findings {
    /// Reads findings as `aws ecr describe-image-scan-findings` prints them: the complete response, or
    /// its `imageScanFindings`.
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut document: Value = serde_json::from_slice(bytes)?;
        if let Some(inner) = document.get_mut("imageScanFindings") {
            document = inner.take();
        }
        if document.get("enhancedFindings").is_some() {
            return Err(anyhow!(
                "findings of enhanced scanning (`enhancedFindings`) are not read, only `findings`"
            ));
        }
        let found: Self = serde_json::from_value(document)?;
        let unknown = |finding: &&Finding| !SEVERITIES.contains(&finding.severity.as_str());
        if let Some(finding) = found.list.iter().find(unknown) {
            return Err(anyhow!(
                "the severity of {} is `{}`, none of {}",
                finding.name,
                finding.severity,
                SEVERITIES.join(", ")
            ));
        }
        Ok(found)
    }

    fn counts(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for finding in &self.list {
            *counts.entry(finding.severity.as_str()).or_default() += 1;
        }
        counts
    }

    /// The members that describe the scan as a whole.
    fn summary(&self) -> Value {
        let mut summary = json!({"findingSeverityCounts": self.counts()});
        let times = [
            ("imageScanCompletedAt", self.image_scan_completed_at),
            (
                "vulnerabilitySourceUpdatedAt",
                self.vulnerability_source_updated_at,
            ),
        ];
        for (name, time) in times {
            if let Some(time) = time {
                summary[name] = json!(time);
            }
        }
        summary
    }
}

/// The file of the images without findings of their own.
const EVERY_IMAGE: &str = "every-image";

fn path(state: &Path, repository: &str, name: &str) -> PathBuf {
    state
        .join("scan-findings")
        .join(repository)
        .join(format!("{name}.json"))
}

/// Writes the findings of an image to a state directory; without a digest, those of every image of the repository
/// that has none of its own. Returns their number by severity. The server reads them on request; it need not be
/// running.
pub(crate) fn inject(
    state: &Path,
    repository: &str,
    digest: Option<&str>,
    bytes: &[u8],
) -> anyhow::Result<BTreeMap<String, u64>> {
    super::check_name(repository)
        .map_err(|_| Failure::usage(format!("`{repository}` is not a repository name")))?;
    let name = match digest {
        None => EVERY_IMAGE,
        Some(digest) => sha256_of(digest).ok_or_else(|| {
            Failure::usage(format!(
                "`{digest}` is not a digest: sha256: and 64 hexadecimal digits"
            ))
        })?,
    };
    let mut findings = Findings::parse(bytes)?;
    findings
        .image_scan_completed_at
        .get_or_insert_with(clock::epoch);
    let path = path(state, repository, name);
    let doing = || format!("cannot write {}", path.display());
    let directory = path.parent().unwrap_or(state);
    std::fs::create_dir_all(directory).with_context(doing)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(doing)?;
    file.write_all(&serde_json::to_vec(&findings)?)
        .with_context(doing)?;
    file.persist(&path).with_context(doing)?;
    Ok(findings
        .counts()
        .into_iter()
        .map(|(severity, count)| (severity.to_owned(), count))
        .collect())
}

/// The findings of an image, if any were loaded for it or for every image of the repository.
fn load(cloud: &Cloud, repository: &str, digest: &str) -> ApiResult<Option<Findings>> {
    let sha256 = sha256_of(digest).unwrap_or_default();
    for name in [sha256, EVERY_IMAGE] {
        match std::fs::read(path(cloud.directory(), repository, name)) {
            Ok(bytes) => {
                return Findings::parse(&bytes).map(Some).map_err(|error| {
                    ApiError::internal(format_args!("the findings of {digest}: {error}"))
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Adds the scan of an image to its description.
pub(super) fn describe(
    cloud: &Cloud,
    repository: &str,
    digest: &str,
    detail: &mut Value,
) -> ApiResult<()> {
    if let Some(findings) = load(cloud, repository, digest)? {
        detail["imageScanStatus"] = complete();
        detail["imageScanFindingsSummary"] = findings.summary();
    }
    Ok(())
}

fn complete() -> Value {
    json!({
        "status": ScanStatus::Complete,
        "description": "The findings that were loaded into the local cloud.",
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScanRequest {
    registry_id: Option<String>,
    repository_name: String,
    image_id: ImageId,
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// The digest of the image to be scanned.
fn image(cloud: &Cloud, input: &ScanRequest) -> ApiResult<String> {
    let name = &input.repository_name;
    let repository = find(cloud, input.registry_id.as_deref(), name)?;
    match repository.locate(&input.image_id) {
        Ok(digest) => Ok(digest),
        Err(("MissingDigestAndTag", reason)) => Err(invalid(reason)),
        Err(_) => Err(image_not_found(name, &input.image_id)),
    }
}

fn answer(input: &ScanRequest, digest: String, status: &Value) -> Value {
    json!({
        "registryId": ACCOUNT,
        "repositoryName": input.repository_name,
        "imageId": input.image_id.at(digest),
        "imageScanStatus": status,
    })
}

/// Starts a scan, which completes immediately: with the loaded findings, or as unavailable.
pub(super) async fn start_image_scan(cloud: &Cloud, input: ScanRequest) -> ApiResult<Value> {
    let digest = image(cloud, &input)?;
    let status = match load(cloud, &input.repository_name, &digest)? {
        Some(findings) => {
            let name = &input.repository_name;
            let repository = find(cloud, input.registry_id.as_deref(), name)?;
            let tags: Vec<String> = repository
                .tags_of(&digest)
                .into_iter()
                .map(str::to_owned)
                .collect();
            announce::scan(cloud, name, &digest, &tags, &json!(findings.counts()))?;
            complete()
        }
        None => json!({
            "status": ScanStatus::FindingsUnavailable,
            "description": "The local cloud has no vulnerability data. Load findings with \
                            `mlops local inject scan`.",
        }),
    };
    Ok(answer(&input, digest, &status))
}

pub(super) async fn describe_image_scan_findings(
    cloud: &Cloud,
    input: ScanRequest,
) -> ApiResult<Value> {
    let digest = image(cloud, &input)?;
    let name = &input.repository_name;
    let findings = load(cloud, name, &digest)?.ok_or_else(|| {
        ApiError::not_found(
            "ScanNotFoundException",
            format!(
                "Image scan does not exist for the image with '{}' in the repository with name \
                 '{name}' in the registry with id '{ACCOUNT}'",
                input.image_id.text()
            ),
        )
    })?;
    let mut shown = findings.summary();
    let token = input.next_token.as_deref();
    let (items, next) = page(findings.list, token, input.max_results)?;
    shown["findings"] = json!(items);
    let mut answer = answer(&input, digest, &complete());
    answer["imageScanFindings"] = shown;
    Ok(with_token(answer, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_as_the_cli_prints_them() {
        let findings = json!({
            "findings": [
                {"name": "CVE-1", "severity": "HIGH", "attributes": [{"key": "package_name", "value": "x"}]},
                {"name": "CVE-2", "severity": "HIGH"},
                {"name": "CVE-3", "severity": "LOW"},
            ],
            "imageScanCompletedAt": "2026-01-02T03:04:05+00:00",
            "findingSeverityCounts": {"HIGH": 9},
        });
        let whole = json!({"imageScanFindings": findings, "registryId": "1"});
        for document in [&findings, &whole] {
            let read = Findings::parse(document.to_string().as_bytes()).unwrap();
            assert_eq!(read.counts(), BTreeMap::from([("HIGH", 2), ("LOW", 1)]));
            assert_eq!(read.image_scan_completed_at, Some(1_767_323_045.0));
        }
        for bad in [
            json!({}),
            json!({"findings": [{"name": "x", "severity": "BAD"}]}),
            json!({"findings": [{"name": "x", "severity": "LOW", "sevrity": 1}]}),
            json!({"findings": [], "enhancedFindings": []}),
            json!([]),
        ] {
            assert!(
                Findings::parse(bad.to_string().as_bytes()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn findings_stay_in_their_directory() {
        let state = tempfile::tempdir().unwrap();
        let digest = format!("sha256:{}", "a".repeat(64));
        let good = br#"{"findings": []}"#;
        for (repository, digest) in [
            ("../x", digest.as_str()),
            ("a/../../x", &digest),
            ("flights", "sha256:../x"),
        ] {
            assert!(inject(state.path(), repository, Some(digest), good).is_err());
        }
        assert!(inject(state.path(), "team/flights", Some(&digest), good).is_ok());
    }
}
