//! `mlops status --watch`: the screen again and again on a terminal, else a line for each change.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::error::{Exit, exit, message};
use mlops_core::text::exact_time;
use mlops_core::wait::Waiter;
use serde::Serialize;

use super::StatusReport;
use crate::config::{Origin, Project};
use crate::context::Context;
use crate::output::Format;

/// Default interval between refreshes; each refresh sends about a dozen requests.
const INTERVAL: Duration = Duration::from_secs(5);

/// Failed looks in a row after which the command ends.
const PATIENCE: u32 = 5;

/// A change of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    /// When it was seen.
    time: Timestamp,
    /// What changed.
    what: String,
    /// Its state before; null if it is new.
    from: Option<String>,
    /// Its state now; null if it is gone.
    to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = exact_time(self.time);
        let what = mlops_core::text::clean(&self.what);
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "{time}  {what}: {from} -> {to}"),
            (None, Some(to)) => write!(f, "{time}  {what}: {to}"),
            (_, None) => write!(f, "{time}  {what}: gone"),
        }
    }
}

/// Returns what differs between two looks, in a stable order.
fn changes(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    time: Timestamp,
) -> Vec<Change> {
    let all: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    all.into_iter()
        .filter(|what| before.get(*what) != now.get(*what))
        .map(|what| Change {
            time,
            what: what.clone(),
            from: before.get(what).cloned(),
            to: now.get(what).cloned(),
        })
        .collect()
}

/// Watches a project until Ctrl-C or `--timeout`.
///
/// # Errors
/// The credentials expire, or several looks in a row fail.
pub(super) async fn run(ctx: &Context, project: &Project) -> Result<()> {
    let is_default = ctx.config.origins.get("poll_interval") == Some(&Origin::Default);
    let waiter = Waiter {
        interval: if is_default {
            INTERVAL
        } else {
            ctx.waiter.interval
        },
        timeout: ctx.waiter.timeout,
    };
    let redraws = ctx.output.format() == Format::Human && ctx.output.is_terminal();
    let start = Instant::now();
    let (mut known, mut failures) = (None, 0);
    loop {
        match Box::pin(super::look(ctx, project)).await {
            Ok(report) => {
                failures = 0;
                if !show(ctx, &report, &mut known, redraws)? {
                    return Ok(());
                }
            }
            Err(error) => {
                failures += 1;
                if failures == PATIENCE || exit(&error) == Exit::Credentials {
                    return Err(error);
                }
                let rest = PATIENCE - failures;
                ctx.progress
                    .say(format!("{}; {rest} more attempts", message(&error)));
            }
        }
        if start.elapsed() + waiter.interval > waiter.timeout {
            return Ok(());
        }
        waiter.pause().await;
    }
}

/// Shows a look: the whole of the first, then what changed. Returns false if stdout was closed.
fn show(
    ctx: &Context,
    report: &StatusReport,
    known: &mut Option<BTreeMap<String, String>>,
    redraws: bool,
) -> Result<bool> {
    if redraws {
        let first = known.replace(BTreeMap::new()).is_none();
        let note = format!("{}  Ctrl-C ends this", exact_time(ctx.now()));
        return Ok(ctx.output.screen(&format!("{report}\n{note}\n"), first)?);
    }
    let facts = report.facts();
    let open = match known.replace(facts.clone()) {
        None => ctx.output.line(report)?,
        Some(before) => {
            let mut open = true;
            for change in changes(&before, &facts, ctx.now()) {
                open &= ctx.output.line(&change)?;
            }
            open
        }
    };
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_new_different_or_gone() {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let before = map(&[
            ("endpoint", "Creating"),
            ("image", "a"),
            ("notebook", "Stopped"),
        ]);
        let now = map(&[
            ("endpoint", "InService"),
            ("image", "a"),
            ("run 1", "Executing"),
        ]);
        let time: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let found: Vec<String> = changes(&before, &now, time)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "2026-01-02 03:04:05Z  endpoint: Creating -> InService",
                "2026-01-02 03:04:05Z  notebook: gone",
                "2026-01-02 03:04:05Z  run 1: Executing",
            ]
        );
        assert!(changes(&now, &now, time).is_empty());
    }
}
