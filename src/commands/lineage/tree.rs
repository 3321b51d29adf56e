//! Renders the lineage of a version as a tree.

use std::fmt;

use mlops_core::text::clean;

use super::LineageReport;
use crate::aws::sagemaker::models;

impl fmt::Display for LineageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = &self.version;
        let stage = version.stage.as_ref().map(|stage| format!(", {stage}"));
        writeln!(
            f,
            "{} version {} ({}{})",
            self.model,
            version.version,
            version.status,
            stage.unwrap_or_default()
        )?;
        let mut lines: Vec<(&str, String)> = Vec::new();
        for data in &self.data {
            lines.push(("data", format!("version {}\n{}", data.version, data.uri)));
        }
        for image in &self.images {
            lines.push(("image", image.replacen('@', "\n@", 1)));
        }
        for commit in &self.commits {
            let branch = self.branch.as_ref();
            let branch = branch.map(|branch| format!(", branch {branch}"));
            lines.push(("commit", format!("{commit}{}", branch.unwrap_or_default())));
        }
        if let Some(run) = &version.run {
            let reason = self.reason.as_ref();
            let reason = reason.map(|reason| format!(", {reason}"));
            lines.push(("run", format!("{run}{}", reason.unwrap_or_default())));
        }
        for job in &self.jobs {
            let status = job.status.as_deref().unwrap_or("unknown");
            lines.push(("job", format!("{} ({}, {status})", job.name, job.r#type)));
        }
        if !version.metrics.is_empty() {
            lines.push(("metrics", models::sentence(&version.metrics)));
        }
        if let Some(artifact) = &version.artifact {
            lines.push(("artifact", artifact.clone()));
        }
        match &self.endpoint {
            Some(endpoint) => lines.push((
                "endpoint",
                format!("{} ({})", endpoint.name, endpoint.status),
            )),
            None => lines.push(("endpoint", "not deployed".to_owned())),
        }
        write_tree(f, &lines)
    }
}

/// Renders one branch per group of lines with the same label; the last is the endpoint's.
fn write_tree(f: &mut fmt::Formatter<'_>, lines: &[(&str, String)]) -> fmt::Result {
    let last = lines.len() - 1;
    let mut before = "";
    for (index, (label, text)) in lines.iter().enumerate() {
        let stem = if index == last { "  " } else { "│ " };
        let branch = match (index == last, *label == before) {
            (true, _) => "└─",
            (false, true) => stem,
            (false, false) => "├─",
        };
        let shown = if *label == before { "" } else { label };
        before = label;
        for (number, line) in clean(text).lines().enumerate() {
            if number == 0 {
                writeln!(f, "{branch} {shown:<10} {line}")?;
            } else {
                writeln!(f, "{stem} {:<10} {line}", "")?;
            }
        }
    }
    Ok(())
}
