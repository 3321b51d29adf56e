//! `mlops runs why`: the likely cause of a failed run, on one screen.

use std::fmt;

use anyhow::Result;
use mlops_core::text::{clean, state};
use serde::Serialize;

use super::RunsReport;
use crate::aws::Clients;
use crate::aws::project_runs::{self, RunRef};
use crate::aws::run_failure::{self, Chain, Level, LevelKind, Outcome};
use crate::context::Context;

mod screen;

use screen::{fix, limited, row, text, write_log};

/// Number of lines of the screen.
const SCREEN: usize = 24;

/// Fewest log lines to print: a traceback's last frame.
const FEWEST: usize = 4;

/// Number of newest runs among which a failed one is searched.
const SEARCHED: usize = 20;

/// Maximum number of lines of the service's reason; half of it if there are many levels.
const REASON: usize = 4;

/// Maximum number of levels that leave room for the complete reason.
const FEW: usize = 4;

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
    project: &str,
    run: Option<&str>,
) -> Result<RunsReport> {
    let run = match run {
        Some(_) => project_runs::find(clients, project, run).await?,
        None => newest_failed(clients, project).await?,
    };
    let run = project_runs::describe(clients, project, &run).await?;
    let chain = run_failure::explain_any(clients, &run).await?;
    let id = run.id();
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

/// The newest run that did not succeed; the newest of all if there is none.
async fn newest_failed(clients: &Clients, project: &str) -> Result<RunRef> {
    let history = project_runs::newest(clients, project, SEARCHED).await?;
    match history.first_failed().or_else(|| history.first()) {
        Some(run) => Ok(run),
        None => project_runs::find(clients, project, None).await,
    }
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
            (Outcome::Stopped, None) => {
                writeln!(
                    f,
                    "the run {id} did not fail: it was stopped ({})",
                    state(status)
                )?;
            }
            _ => return self.screen(f),
        }
        row(f, "next", std::slice::from_ref(&self.next))
    }
}

impl Why {
    fn screen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = &self.chain;
        // A stage is named together with its action.
        let levels: Vec<&Level> = chain
            .levels
            .iter()
            .filter(|level| level.kind != LevelKind::Stage)
            .collect();
        let most = if levels.len() > FEW {
            REASON / 2
        } else {
            REASON
        };
        let reason = chain.reason().map(|reason| limited(text(reason), most));
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
        for level in &levels {
            row(f, level.kind.name(), &[self.shown(level)])?;
        }
        row(f, "reason", &reason)?;
        row(f, "also", &also)?;
        let unread = chain.unread.iter().flat_map(|it| text(it));
        row(f, "unread", &unread.collect::<Vec<_>>())?;
        if let Some(log) = &chain.log {
            // Two empty lines, the log's two names, and the next command.
            let others = levels.len() + reason.len() + also.len() + what.len() + fix.len();
            let room = SCREEN.saturating_sub(others + 5);
            write_log(f, log, room.max(FEWEST))?;
        }
        row(f, "cause", &what)?;
        row(f, "fix", &fix)?;
        row(f, "next", std::slice::from_ref(&self.next))
    }

    /// A level on one line.
    fn shown(&self, level: &Level) -> String {
        let attempts = level.attempts.map(|count| format!("  {count} attempts"));
        let name = match level.kind {
            LevelKind::Execution => format!("{}  {}", self.chain.run, level.name),
            LevelKind::Action => {
                let mut all = self.chain.levels.iter();
                let stage = all.find(|other| other.kind == LevelKind::Stage);
                let stage = stage.map(|stage| format!("{}/", stage.name));
                format!("{}{}", stage.unwrap_or_default(), level.name)
            }
            _ => level.name.clone(),
        };
        format!(
            "{}  {}{}",
            clean(&name),
            state(&level.status),
            attempts.unwrap_or_default()
        )
    }
}
