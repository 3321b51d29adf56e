//! What `mlops data` says.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::aws::datasets::{DatasetVersion, Finding};
use crate::error::Exit;
use crate::names::DatasetName;
use crate::output::{Report, bytes, table};

/// What one of the commands did or found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum DataReport {
    /// `mlops data push`
    Pushed(PushReport),
    /// `mlops data versions`
    Versions(VersionsReport),
    /// `mlops data verify`
    Verified(VerifyReport),
}

/// What a push did.
#[derive(Debug, Serialize)]
pub struct PushReport {
    pub(super) bucket: String,
    pub(super) dataset: DatasetName,
    pub(super) version: String,
    pub(super) manifest: String,
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) uploaded: usize,
    pub(super) uploaded_bytes: u64,
    pub(super) unchanged: bool,
}

/// The versions of a data set.
#[derive(Debug, Serialize)]
pub struct VersionsReport {
    pub(super) bucket: String,
    pub(super) dataset: DatasetName,
    pub(super) versions: Vec<VersionRow>,
}

/// A version of a data set.
#[derive(Debug, Serialize)]
pub struct VersionRow {
    pub(super) version: String,
    pub(super) created: Timestamp,
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) latest: bool,
}

impl VersionRow {
    pub(super) fn new(version: DatasetVersion, latest: bool) -> Self {
        Self {
            version: version.id,
            created: version.manifest.created,
            files: version.manifest.files.len(),
            bytes: version.manifest.files.iter().map(|file| file.size).sum(),
            latest,
        }
    }
}

/// What reading a version back found.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    pub(super) bucket: String,
    pub(super) dataset: DatasetName,
    pub(super) version: String,
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) problems: Vec<Finding>,
}

impl Report for DataReport {
    fn exit(&self) -> Exit {
        match self {
            Self::Verified(report) if !report.problems.is_empty() => Exit::Refused,
            _ => Exit::Done,
        }
    }
}

/// "1 file", "2 files".
struct Files(usize);

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} file{plural}", self.0)
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pushed(report) => {
                let (name, version) = (&report.dataset, &report.version);
                let (files, size) = (Files(report.files), bytes(report.bytes));
                if report.unchanged {
                    return write!(
                        f,
                        "{name} is unchanged: version {version} has {files}, {size}"
                    );
                }
                writeln!(f, "Pushed {name}, version {version}: {files}, {size}")?;
                write!(
                    f,
                    "Sent {}, {}",
                    Files(report.uploaded),
                    bytes(report.uploaded_bytes)
                )?;
                match report.files - report.uploaded {
                    0 => Ok(()),
                    kept => write!(f, "; {} already there", Files(kept)),
                }
            }
            Self::Versions(report) if report.versions.is_empty() => {
                write!(f, "{} has no data set {}", report.bucket, report.dataset)
            }
            Self::Versions(report) => {
                let rows = report.versions.iter().map(|row| {
                    vec![
                        row.version.clone(),
                        row.created.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
                        row.files.to_string(),
                        bytes(row.bytes),
                    ]
                });
                f.write_str(&table(&["VERSION", "PUSHED", "FILES", "SIZE"], rows))
            }
            Self::Verified(report) => {
                let (name, version) = (&report.dataset, &report.version);
                if report.problems.is_empty() {
                    let size = bytes(report.bytes);
                    let files = Files(report.files);
                    return write!(f, "{name}, version {version}, is whole: {files}, {size}");
                }
                writeln!(f, "{name}, version {version}, is damaged")?;
                let rows = report
                    .problems
                    .iter()
                    .map(|finding| vec![finding.path.clone(), finding.problem.clone()]);
                f.write_str(&table(&["FILE", "PROBLEM"], rows))
            }
        }
    }
}
