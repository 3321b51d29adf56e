//! Renders the project on one screen: at most 24 lines of 80 columns.

use std::fmt;

use mlops_core::names::Version;
use mlops_core::text::{clean, states, time};

use super::delivery;
use super::report::{NewestImage, StatusReport};
use crate::aws::state::ModelApproval;
use crate::releases::store::Outcome;

impl NewestImage {
    /// Formats an image: `sha256:1f2e3d4c5b6a, develop, commit 1234567890`. A tag of 40 hexadecimal
    /// digits is the commit; any other tag is the branch.
    fn short(&self) -> String {
        let (commits, mut branches): (Vec<&String>, Vec<&String>) = self
            .tags
            .iter()
            .partition(|tag| tag.len() == 40 && tag.chars().all(|c| c.is_ascii_hexdigit()));
        branches.truncate(2);
        let mut parts: Vec<String> = vec![format!("sha256:{}", self.digest.short())];
        parts.extend(branches.into_iter().cloned());
        parts.extend(
            commits
                .first()
                .map(|commit| format!("commit {}", &commit[..10])),
        );
        parts.join(", ")
    }
}

/// Formats the name of a run's directory (`2026-01-02T03-04-05Z`) as a time.
fn shown_time(directory: &str) -> String {
    match jiff::fmt::strtime::parse("%Y-%m-%dT%H-%M-%SZ", directory)
        .and_then(|parsed| parsed.to_datetime())
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
    {
        Ok(at) => time(at.timestamp()),
        Err(_) => directory.to_owned(),
    }
}

/// Maximum number of lines with executions of pipelines.
const DELIVERED: usize = 2;

/// The columns of a line after its label.
const LINE: usize = 68;

/// Limits a line of the screen to 80 columns.
fn line(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let text = clean(text);
    let text = if text.chars().count() > LINE {
        format!("{}…", text.chars().take(LINE - 1).collect::<String>())
    } else {
        text
    };
    writeln!(f, "{label:<10} {}", states(&text))
}

fn list(versions: impl Iterator<Item = Version>) -> String {
    let all: Vec<String> = versions.map(|version| version.to_string()).collect();
    match all.len() {
        0 => "none".to_owned(),
        1..=5 => all.join(", "),
        more => format!("{} and {} more", all[..5].join(", "), more - 5),
    }
}

/// Splits a text between words into lines of the screen.
fn in_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= LINE {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Writes the first lines of a list.
fn some_lines(f: &mut fmt::Formatter<'_>, label: &str, all: &[String]) -> fmt::Result {
    const MOST: usize = 3;

    if all.is_empty() {
        return line(f, label, "nothing");
    }
    let shown = if all.len() > MOST { MOST - 1 } else { MOST };
    for (number, text) in all.iter().take(shown).enumerate() {
        line(f, if number == 0 { label } else { "" }, text)?;
    }
    match all.len().saturating_sub(shown) {
        0 => Ok(()),
        more => line(f, "", &format!("and {more} more")),
    }
}

impl StatusReport {
    /// Returns each status with the stacks that have it, in the order of the stacks.
    fn stacks_by_status(&self) -> Vec<(&str, Vec<&str>)> {
        let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
        for stack in &self.stacks {
            let status = stack.status.as_deref().unwrap_or("not deployed");
            match found.iter_mut().find(|(known, _)| *known == status) {
                Some((_, parts)) => parts.push(stack.part.as_str()),
                None => found.push((status, vec![stack.part.as_str()])),
            }
        }
        found
    }

    /// What became of the last deployment, unless it is live.
    fn last_deployment(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last_release.as_ref();
        if let Some(last) = last.filter(|last| Some(last.release) != self.release) {
            let word = last.outcome.map_or("in progress", Outcome::as_str);
            let why = last.reason.as_deref().map(|why| format!(": {why}"));
            let (release, version) = (last.release, last.version);
            let why = why.unwrap_or_default();
            line(
                f,
                "",
                &format!("release {release} (version {version}) {word}{why}"),
            )?;
        } else if let Some(failure) = self.endpoint.as_ref().and_then(|e| e.failure.as_deref()) {
            line(f, "", &format!("last deployment failed: {failure}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        line(
            f,
            "project",
            &format!(
                "{} in account {}, {}",
                self.project, self.account, self.region
            ),
        )?;
        for (status, parts) in self.stacks_by_status() {
            let text = format!("{status}: {}", parts.join(", "));
            for (number, part) in in_lines(&text).iter().enumerate() {
                line(f, if number == 0 { "stacks" } else { "" }, part)?;
            }
        }
        let notebook = self.notebook.as_ref();
        line(
            f,
            "notebook",
            &notebook.map_or_else(none, |notebook| match &notebook.failure {
                Some(failure) => format!("{}: {failure}", notebook.status),
                None => notebook.status.clone(),
            }),
        )?;
        line(
            f,
            "image",
            &self.image.as_ref().map_or_else(none, NewestImage::short),
        )?;
        let data = self.data.as_ref().map_or_else(none, |data| {
            let version = data.version.as_deref();
            version.map_or_else(none, |version| {
                format!("{} version {version}", data.dataset)
            })
        });
        line(f, "data", &data)?;
        if self.runs.is_empty() {
            line(f, "last runs", "none")?;
        }
        for (number, run) in self.runs.iter().enumerate() {
            let text = match &run.gate {
                Some(gate) => format!("{} {}: {}", run.id, run.status, gate.sentence()),
                None => format!("{} {}", run.id, run.status),
            };
            line(f, if number == 0 { "last runs" } else { "" }, &text)?;
        }
        let delivered = in_lines(&delivery::sentence(&self.delivery));
        let delivered = delivered.iter().filter(|text| !text.is_empty());
        for (number, text) in delivered.take(DELIVERED).enumerate() {
            line(f, if number == 0 { "delivery" } else { "" }, text)?;
        }
        line(
            f,
            "models",
            &format!(
                "approved: {}; pending: {}; rejected: {}",
                list(self.versions(ModelApproval::is_approved)),
                list(self.versions(ModelApproval::is_pending)),
                list(self.versions(ModelApproval::is_rejected))
            ),
        )?;
        let endpoint = self.endpoint.as_ref().map_or_else(none, |endpoint| {
            let live = self
                .live
                .map_or_else(none, |version| format!("version {version}"));
            let release = self.release;
            let release = release.map_or_else(String::new, |number| format!(", release {number}"));
            format!(
                "{} {}, live: {live}{release}",
                endpoint.name, endpoint.status
            )
        });
        line(f, "endpoint", &endpoint)?;
        self.last_deployment(f)?;
        let monitor = self.monitor.as_ref().map_or_else(none, |monitor| {
            format!(
                "{} violations at {}",
                monitor.violations,
                shown_time(&monitor.time)
            )
        });
        line(f, "monitoring", &monitor)?;
        let waiting: Vec<String> = self
            .waiting
            .iter()
            .map(|waiting| {
                let decide = &waiting.command;
                format!("{} waits for {}: {decide}", waiting.what, waiting.waits_for)
            })
            .collect();
        some_lines(f, "waiting", &waiting)?;
        let billed: Vec<String> = self.billed.iter().map(ToString::to_string).collect();
        some_lines(f, "by hour", &billed)?;
        writeln!(f, "{:<10} {}", "next", clean(&self.next))
    }
}

#[cfg(test)]
mod tests;
