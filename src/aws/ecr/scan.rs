//! Image scans: starts them, and reads the findings of basic and enhanced scanning.

use anyhow::Result;
use aws_sdk_ecr::types::{EnhancedImageScanFinding, FindingSeverity, ImageScanFinding};
use mlops_oci::Digest;
use serde::Serialize;

use super::identifier;
use crate::aws::state::ScanState;
use crate::aws::{AwsResultExt, Clients, Missing};

/// The severity of a finding, lowest first. `Undefined` has not been rated by its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not rated.
    Undefined,
    /// Informational.
    Informational,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// Every severity, highest first.
    pub const ALL: [Self; 6] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Informational,
        Self::Undefined,
    ];

    /// Parses ECR's severity. Unknown ones count as critical, so that a person decides.
    fn read(word: Option<&str>) -> Self {
        match word {
            None | Some("UNDEFINED" | "UNTRIAGED") => Self::Undefined,
            Some("INFORMATIONAL") => Self::Informational,
            Some("LOW") => Self::Low,
            Some("MEDIUM") => Self::Medium,
            Some("HIGH") => Self::High,
            Some(_) => Self::Critical,
        }
    }

    /// The severity as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A vulnerability.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Name of the vulnerability, usually a CVE.
    pub name: String,
    /// Its severity.
    pub severity: Severity,
    /// The affected package and its version.
    pub package: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Link to details.
    pub uri: Option<String>,
}

/// A scan of an image.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Whether its findings can be read.
    pub status: ScanState,
    /// ECR's description.
    pub description: Option<String>,
    /// When it ended.
    pub completed: Option<jiff::Timestamp>,
    /// The findings, most severe first.
    pub findings: Vec<Finding>,
}

/// Returns the scan of an image with all its findings; `None` if it was never scanned.
pub async fn find(clients: &Clients, repository: &str, digest: Digest) -> Result<Option<Scan>> {
    let mut pages = clients
        .ecr
        .describe_image_scan_findings()
        .repository_name(repository)
        .image_id(identifier(digest))
        .into_paginator()
        .send();
    let mut scan: Option<Scan> = None;
    while let Some(page) = pages.next().await {
        let page = page.aws_if_found(format!("cannot read the scan of {digest}"), Missing::Scan)?;
        let Some(page) = page else { return Ok(None) };
        let status = page.image_scan_status();
        let found = page.image_scan_findings();
        let scan = scan.get_or_insert_with(|| Scan {
            status: ScanState::of(status.and_then(|status| status.status())),
            description: status
                .and_then(|status| status.description())
                .map(str::to_owned),
            completed: found
                .and_then(|found| found.image_scan_completed_at())
                .and_then(|time| jiff::Timestamp::from_second(time.secs()).ok()),
            findings: Vec::new(),
        });
        if let Some(found) = found {
            scan.findings.extend(found.findings().iter().map(basic));
            scan.findings
                .extend(found.enhanced_findings().iter().map(enhanced));
        }
    }
    if let Some(scan) = &mut scan {
        scan.findings
            .sort_by(|a, b| b.severity.cmp(&a.severity).then(a.name.cmp(&b.name)));
    }
    Ok(scan)
}

fn basic(finding: &ImageScanFinding) -> Finding {
    let attribute = |key: &str| {
        let attributes = finding.attributes().iter();
        let mut named = attributes.filter(|attribute| attribute.key() == key);
        named.find_map(|attribute| attribute.value())
    };
    let package = attribute("package_name").map(|name| match attribute("package_version") {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    });
    Finding {
        name: finding.name().unwrap_or("without a name").to_owned(),
        severity: Severity::read(finding.severity().map(FindingSeverity::as_str)),
        package,
        description: finding.description().map(str::to_owned),
        uri: finding.uri().map(str::to_owned),
    }
}

fn enhanced(finding: &EnhancedImageScanFinding) -> Finding {
    let details = finding.package_vulnerability_details();
    let package = details
        .and_then(|details| details.vulnerable_packages().first())
        .and_then(|package| {
            let version = package.version().unwrap_or_default();
            Some(format!("{} {version}", package.name()?))
        });
    let name = details
        .and_then(|details| details.vulnerability_id())
        .or(finding.title())
        .or(finding.finding_arn());
    Finding {
        name: name.unwrap_or("without a name").to_owned(),
        severity: Severity::read(finding.severity()),
        package,
        description: finding.description().map(str::to_owned),
        uri: details
            .and_then(|details| details.source_url())
            .map(str::to_owned),
    }
}

/// Requests a scan, which has no findings yet.
pub async fn start(clients: &Clients, repository: &str, digest: Digest) -> Result<Scan> {
    let answer = clients
        .ecr
        .start_image_scan()
        .repository_name(repository)
        .image_id(identifier(digest))
        .send()
        .await
        .aws(format!("cannot scan {digest}"))?;
    let status = answer.image_scan_status();
    Ok(Scan {
        status: ScanState::of(status.and_then(|status| status.status())),
        description: status
            .and_then(|status| status.description())
            .map(str::to_owned),
        completed: None,
        findings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_have_an_order() {
        let words = [
            "CRITICAL",
            "HIGH",
            "MEDIUM",
            "LOW",
            "INFORMATIONAL",
            "UNDEFINED",
        ];
        assert_eq!(words.map(|word| Severity::read(Some(word))), Severity::ALL);
        assert!(Severity::ALL.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(Severity::read(Some("WORSE")), Severity::Critical);
    }
}
