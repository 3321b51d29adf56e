//! The sections `reports` and `artifacts`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    ArtifactSpec, MAX_REPORT_GROUPS, ReportSpec, flag, list, mapping, only, refused, scalar,
    section,
};

/// File formats of AWS that are not read here.
const OTHER_FORMATS: [&str; 9] = [
    "CUCUMBERJSON",
    "NUNITXML",
    "NUNIT3XML",
    "TESTNGXML",
    "VISUALSTUDIOTRX",
    "CLOVERXML",
    "COBERTURAXML",
    "JACOCOXML",
    "SIMPLECOV",
];

pub(super) fn reports(reports: &Map<String, Value>) -> Result<Vec<ReportSpec>, String> {
    if reports.len() > MAX_REPORT_GROUPS {
        return Err(format!(
            "a buildspec has at most {MAX_REPORT_GROUPS} report groups"
        ));
    }
    let report = |(group, report): (&String, &Value)| {
        let place = format!("reports/{group}");
        let report = mapping(report, &place)?;
        only(
            report,
            &["files", "base-directory", "discard-paths", "file-format"],
            &place,
        )?;
        match scalar(report, "file-format")?
            .map(str::to_ascii_uppercase)
            .as_deref()
        {
            None | Some("JUNITXML") => {}
            Some(format) if OTHER_FORMATS.contains(&format) => {
                return Err(refused(&format!("the report format {format}")));
            }
            Some(format) => return Err(format!("{place}: {format} is not a report format")),
        }
        let files = list(report, "files", &place)?;
        if files.is_empty() {
            return Err(format!("{place} has no files"));
        }
        Ok(ReportSpec {
            group: group.clone(),
            files,
            base_directory: scalar(report, "base-directory")?.map(str::to_owned),
            discard_paths: flag(report, "discard-paths")?,
        })
    };
    reports.iter().map(report).collect()
}

/// The primary artifact, and the secondary ones by identifier.
pub(super) fn artifacts(
    artifacts: &Map<String, Value>,
) -> Result<(ArtifactSpec, BTreeMap<String, ArtifactSpec>), String> {
    let primary = artifact(artifacts, "artifacts", true)?;
    let mut secondary = BTreeMap::new();
    for (identifier, value) in section(artifacts, "secondary-artifacts")?
        .into_iter()
        .flatten()
    {
        let place = format!("artifacts/secondary-artifacts/{identifier}");
        let found = artifact(mapping(value, &place)?, &place, false)?;
        secondary.insert(identifier.clone(), found);
    }
    // AWS requires `files` even then; pipelines with several outputs are commonly written without.
    if primary.files.is_empty() && secondary.is_empty() {
        return Err("artifacts has no files".to_owned());
    }
    Ok((primary, secondary))
}

fn artifact(
    of: &Map<String, Value>,
    place: &str,
    is_primary: bool,
) -> Result<ArtifactSpec, String> {
    let mut known = vec![
        "files",
        "name",
        "discard-paths",
        "base-directory",
        "exclude-paths",
        "enable-symlinks",
        "s3-prefix",
        // The only type of version 0.1; ignored by AWS since 0.2.
        "type",
    ];
    if is_primary {
        known.push("secondary-artifacts");
    }
    only(of, &known, place)?;
    let files = list(of, "files", place)?;
    if files.is_empty() && !is_primary {
        return Err(format!("{place} has no files"));
    }
    Ok(ArtifactSpec {
        files,
        name: scalar(of, "name")?.map(str::to_owned),
        discard_paths: flag(of, "discard-paths")?,
        base_directory: scalar(of, "base-directory")?.map(str::to_owned),
        exclude_paths: list(of, "exclude-paths", place)?,
        enable_symlinks: flag(of, "enable-symlinks")?,
        s3_prefix: scalar(of, "s3-prefix")?.map(str::to_owned),
    })
}
