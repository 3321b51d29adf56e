//! The report on an image for people, and its subject in a notification.

use std::fmt;

use mlops_core::text::{WIDTH, clean, state, table};
use serde_json::Value;

use super::report::{Facts, ImageReport};
use crate::aws::sagemaker::compared::Role;
use crate::aws::sagemaker::models;
use crate::config::Better;
use crate::output::wrap;

/// Width of a label, including the space after it: a digest still fits on its line.
const LABEL: usize = 9;

impl ImageReport {
    /// Returns the subject of a notification.
    pub(super) fn subject(&self) -> String {
        let (model, branch, run) = (&self.model, &self.branch, &self.run);
        match (&self.gate, self.new.version, &self.new.status) {
            (Some(_), ..) => format!("{model}: the model of run {run} of {branch} was refused"),
            (None, Some(version), Some(status)) => {
                format!("{model}: version {version} from {branch} ({status})")
            }
            _ => format!("{model}: run {run} of {branch}: {}", self.status),
        }
    }

    /// Returns the versions that the report has, with their headers.
    fn columns(&self) -> Vec<(&'static str, Option<Role>, &Facts)> {
        let others = [
            ("PREVIOUS", Role::Previous, &self.previous),
            ("LIVE", Role::Live, &self.live),
        ];
        let others = others
            .into_iter()
            .filter_map(|(header, role, facts)| Some((header, Some(role), facts.as_ref()?)));
        std::iter::once(("NEW", None, &self.new))
            .chain(others)
            .collect()
    }

    fn refused(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gate) = &self.gate {
            labelled(f, "refused", &gate.message)?;
            for line in gate
                .checks
                .iter()
                .map(ToString::to_string)
                .chain(gate.note.clone())
            {
                labelled(f, "", &line)?;
            }
        }
        if let Some(failure) = &self.failure {
            let reason = failure.reason.as_deref().unwrap_or("no reason given");
            let text = match &failure.step {
                Some(step) => format!("at step `{step}`: {reason}"),
                None => reason.to_owned(),
            };
            labelled(f, "failed", &text)?;
        }
        Ok(())
    }

    fn judged(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_others = self.previous.is_some() || self.live.is_some();
        if has_others && self.compared.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        for (index, compared) in self.compared.iter().enumerate() {
            let label = if index == 0 { "compared" } else { "" };
            labelled(f, label, &compared.to_string())?;
        }
        if !has_others {
            let text = format!(
                "with nothing: `{}` has no version from an earlier image, and no version is live",
                self.branch
            );
            labelled(f, "compared", &text)?;
        }
        let undeclared: Vec<&str> = self
            .metrics
            .iter()
            .filter(|row| row.is_undeclared())
            .map(|row| row.metric.as_str())
            .collect();
        if !undeclared.is_empty() {
            let text = format!(
                "{}: declare `lower` or `higher` in [deploy.metrics] of mlops.toml to have them judged",
                undeclared.join(", ")
            );
            labelled(f, "unjudged", &text)?;
        }
        Ok(())
    }
}

/// Writes a text after a label, on as many lines as it needs.
fn labelled(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let lines = wrap(&clean(text), WIDTH - LABEL);
    for (index, line) in lines.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        writeln!(f, "{label:<8} {line}")?;
    }
    Ok(())
}

/// The first characters of an identifier.
fn short(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

impl Facts {
    /// The facts to show, in the order of the table.
    fn rows(&self) -> [(&'static str, Option<String>); 6] {
        let digest = |image: &String| match image.split_once('@') {
            Some((_, digest)) => short(digest, "sha256:".len() + 12),
            None => short(image, "sha256:".len() + 12),
        };
        let commit = |commit: &String| match commit.strip_suffix(models::DIRTY) {
            Some(hash) => short(hash, 12) + models::DIRTY,
            None => short(commit, 12),
        };
        [
            ("version", self.version.as_ref().map(ToString::to_string)),
            ("status", self.status.as_ref().map(ToString::to_string)),
            ("branch", self.branch.clone()),
            ("commit", self.commit.as_ref().map(commit)),
            ("image", self.image.as_ref().map(digest)),
            (
                "data",
                self.data_version.as_deref().map(|data| short(data, 12)),
            ),
        ]
    }
}

fn number(value: Option<&Value>) -> String {
    match value.map(|value| (value, value.as_f64())) {
        Some((_, Some(number))) => models::significant(number),
        Some((value, None)) => value.to_string(),
        None => "-".to_owned(),
    }
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image    {}", self.image)?;
        writeln!(f, "run      {}  {}", self.run, state(self.status.as_str()))?;
        if let Some(build) = &self.build {
            labelled(f, "build", build)?;
        }
        self.refused(f)?;

        let columns = self.columns();
        let header = |first: &[&'static str]| -> Vec<&'static str> {
            let rest = columns.iter().map(|(header, ..)| *header);
            first.iter().copied().chain(rest).collect()
        };
        let facts: Vec<_> = columns.iter().map(|(.., facts)| facts.rows()).collect();
        let rows = (0..facts[0].len()).map(|row| {
            let cells = facts
                .iter()
                .map(|facts| facts[row].1.clone().unwrap_or_else(|| "-".to_owned()));
            std::iter::once(facts[0][row].0.to_owned())
                .chain(cells)
                .collect()
        });
        writeln!(f)?;
        f.write_str(&table(&header(&["FACT"]), rows))?;

        writeln!(f)?;
        if self.metrics.is_empty() {
            labelled(f, "metrics", "none")?;
        } else {
            let rows = self.metrics.iter().map(|row| {
                let better = match row.better {
                    Some(Better::Lower) => "lower",
                    Some(Better::Higher) => "higher",
                    None => "-",
                };
                let cells = columns.iter().map(|(_, role, _)| match role {
                    None => number(row.new.as_ref()),
                    Some(role) => number(row.against(*role).and_then(|other| other.value.as_ref())),
                });
                [row.metric.clone(), better.to_owned()]
                    .into_iter()
                    .chain(cells)
                    .collect()
            });
            f.write_str(&table(&header(&["METRIC", "BETTER"]), rows))?;
        }
        self.judged(f)?;
        match &self.next {
            Some(next) => writeln!(f, "\nNext: {next}"),
            None => Ok(()),
        }
    }
}
