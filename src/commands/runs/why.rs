//! `mlops runs why`: the likely cause of a failed run, on one screen.

use std::fmt;

use anyhow::Result;
use mlops_core::text::{WIDTH, clean, state};
use serde::Serialize;
use serde_json::Value;

use super::RunsReport;
use crate::aws::Clients;
use crate::aws::known_causes::Cause;
use crate::aws::run_failure::{self, Chain, Log, Outcome};
use crate::aws::sagemaker::runs;
use crate::context::Context;
use crate::output::wrap;

/// Number of lines of the screen.
const SCREEN: usize = 24;

/// Fewest log lines to print: a traceback's last frame.
const FEWEST: usize = 4;

/// The column at which texts start.
const COLUMN: usize = 8;

/// Maximum number of lines of the service's reason.
const REASON: usize = 4;

/// Why a run failed.
#[derive(Debug, Serialize)]
pub struct Why {
    #[serde(flatten)]
    chain: Chain,
    /// The next command to run.
    next: String,
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    pipeline: &str,
    run: Option<&str>,
) -> Result<RunsReport> {
    let arn = runs::find(clients, pipeline, run).await?;
    let run = runs::describe(clients, &arn).await?;
    let chain = run_failure::explain(clients, &run).await?;
    let id = &run.run;
    let next = match (chain.outcome, chain.step(), &chain.log) {
        (Outcome::InProgress, _, _) => format!("runs logs {id} --follow"),
        (_, Some(step), Some(_)) => format!("runs logs {id} {step}"),
        _ => format!("runs show {id}"),
    };
    Ok(RunsReport::Why(Box::new(Why {
        chain,
        next: ctx.command(&next),
    })))
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = &self.chain;
        let id = &chain.run;
        let status = chain.levels.first().map_or("", |run| run.status.as_str());
        match (chain.outcome, &chain.cause) {
            (Outcome::Succeeded, _) => writeln!(f, "the run {id} did not fail: {}", state(status))?,
            (Outcome::InProgress, _) => {
                writeln!(
                    f,
                    "the run {id} has not failed: it is in progress ({})",
                    state(status)
                )?;
            }
            (Outcome::Stopped, None) => writeln!(f, "the run {id} did not fail: it was stopped")?,
            _ => return self.screen(f),
        }
        row(f, "next", std::slice::from_ref(&self.next))
    }
}

impl Why {
    fn screen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = &self.chain;
        let reason = chain.reason().map(|reason| limited(text(reason), REASON));
        let reason = reason.unwrap_or_default();
        let also = if chain.also_failed.is_empty() {
            Vec::new()
        } else {
            text(&format!(
                "{} failed later, too",
                chain.also_failed.join(", ")
            ))
        };
        let (what, fix) = match &chain.cause {
            Some(cause) => (text(&cause.what), fix(cause)),
            None => (vec!["unknown".to_owned()], Vec::new()),
        };
        for level in &chain.levels {
            let attempts = level.attempts.map(|count| format!("  {count} attempts"));
            let shown = format!(
                "{}  {}{}",
                clean(&level.name),
                state(&level.status),
                attempts.unwrap_or_default()
            );
            row(f, level.kind.name(), &[shown])?;
        }
        row(f, "reason", &reason)?;
        row(f, "also", &also)?;
        let unread = chain.unread.iter().flat_map(|it| text(it));
        row(f, "unread", &unread.collect::<Vec<_>>())?;
        if let Some(log) = &chain.log {
            // Two empty lines, the log's two names, and the next command.
            let others = chain.levels.len() + reason.len() + also.len() + what.len() + fix.len();
            let room = SCREEN.saturating_sub(others + 5);
            write_log(f, log, room.max(FEWEST))?;
        }
        row(f, "cause", &what)?;
        row(f, "fix", &fix)?;
        row(f, "next", std::slice::from_ref(&self.next))
    }
}

/// Writes the end of a log: at most `room` lines, each as wide as the screen.
fn write_log(f: &mut fmt::Formatter<'_>, log: &Log, room: usize) -> fmt::Result {
    writeln!(f)?;
    row(f, "log", &[clean(&log.group), clean(&log.stream)])?;
    let lines: Vec<&str> = log.lines.iter().flat_map(|line| line.lines()).collect();
    for line in &lines[lines.len().saturating_sub(room)..] {
        writeln!(
            f,
            "{}",
            cut(&format!("  {}", clean(line).replace('\t', "    ")))
        )?;
    }
    writeln!(f)
}

/// Writes a label and its lines; nothing without lines.
fn row(f: &mut fmt::Formatter<'_>, label: &str, lines: &[String]) -> fmt::Result {
    for (index, line) in lines.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        writeln!(f, "{label:<COLUMN$}{line}")?;
    }
    Ok(())
}

fn text(text: &str) -> Vec<String> {
    wrap(&clean(text), WIDTH - COLUMN)
}

/// The first lines of a text.
fn limited(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    // A text without spaces cannot be wrapped.
    lines
        .iter()
        .map(|line| cut_to(line, WIDTH - COLUMN))
        .collect()
}

/// The fix; a statement for a policy is written so that it can be copied.
fn fix(cause: &Cause) -> Vec<String> {
    let permission = cause.permission.as_ref();
    let Some(statement) = permission.and_then(|it| it.statement.as_ref()) else {
        return text(&cause.fix);
    };
    let sentence = cause.fix.replace(&statement.to_string(), "");
    let mut lines = text(&sentence);
    lines.extend(members(statement));
    lines
}

/// A statement as JSON, one member a line.
fn members(statement: &Value) -> Vec<String> {
    let members = statement.as_object().into_iter().flatten();
    let members: Vec<String> = members
        .map(|(name, value)| clean(&format!("\"{name}\": {value}")))
        .collect();
    let count = members.len();
    let line = |(index, member): (usize, String)| {
        let open = if index == 0 { "{" } else { " " };
        let close = if index + 1 == count { "}" } else { "," };
        format!("{open}{member}{close}")
    };
    members.into_iter().enumerate().map(line).collect()
}

/// A line that fits on the screen.
fn cut(line: &str) -> String {
    cut_to(line, WIDTH)
}

fn cut_to(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_can_be_copied() {
        let statement =
            json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/k"});
        let lines = members(&statement);
        assert_eq!(
            lines,
            [
                "{\"Effect\": \"Allow\",",
                " \"Action\": \"s3:GetObject\",",
                " \"Resource\": \"arn:aws:s3:::b/k\"}"
            ]
        );
        let parsed: Value = serde_json::from_str(&lines.join("\n")).unwrap();
        assert_eq!(parsed, statement);
    }

    #[test]
    fn texts_fit_on_the_screen() {
        let lines = limited(text(&"word ".repeat(200)), 3);
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= WIDTH - COLUMN),
            "{lines:?}"
        );
        assert!(lines[2].ends_with('…'), "{lines:?}");
        assert_eq!(cut(&"x".repeat(100)).chars().count(), WIDTH);
    }
}
