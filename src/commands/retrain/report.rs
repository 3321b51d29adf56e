//! The reports of `mlops retrain`.

use std::fmt;

use mlops_core::error::Exit;
use mlops_core::text::{clean, table};
use serde::Serialize;
use serde_json::Value;

use super::RetrainReport;
use crate::context::Context;
use crate::infra::{Action, DeployedGate, Switches};
use crate::retraining::{Outcome, Refusal, Request, Start, State};

/// Number of starts and refusals that are shown.
const SHOWN: usize = 5;

/// The strategies, in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Strategies {
    on_drift: bool,
    on_data: bool,
    /// The expression of EventBridge Scheduler.
    schedule: Option<String>,
    time_zone: Option<String>,
}

impl From<Switches> for Strategies {
    fn from(switches: Switches) -> Self {
        let (schedule, time_zone) = switches.schedule.unzip();
        Self {
            on_drift: switches.on_drift,
            on_data: switches.on_data,
            schedule,
            time_zone,
        }
    }
}

impl fmt::Display for Strategies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: bool| if on { "on" } else { "off" };
        writeln!(f, "on drift   {}", word(self.on_drift))?;
        writeln!(f, "on data    {}", word(self.on_data))?;
        match (&self.schedule, &self.time_zone) {
            (Some(expression), Some(zone)) => {
                writeln!(f, "schedule   {} ({})", clean(expression), clean(zone))
            }
            _ => writeln!(f, "schedule   off"),
        }
    }
}

/// Strategies that were switched.
#[derive(Debug, Serialize)]
pub struct Switched {
    pub(super) stack: String,
    pub(super) action: Action,
    #[serde(flatten)]
    pub(super) switches: Strategies,
    #[serde(skip)]
    pub(super) next: String,
}

impl Switched {
    pub(super) fn report(
        ctx: &Context,
        stack: String,
        action: Action,
        switches: Switches,
    ) -> RetrainReport {
        RetrainReport::Switched(Self {
            stack,
            action,
            switches: switches.into(),
            next: ctx.command("retrain status"),
        })
    }
}

/// The gate's answer.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// The request.
    reason: String,
    /// Whether nothing was to be started.
    test: bool,
    /// The answer: `decision` is `start`, `refuse` or `repeated`.
    #[serde(flatten)]
    answer: Value,
    #[serde(skip)]
    watch: Option<String>,
}

impl Asked {
    pub(super) fn new(ctx: &Context, request: &Request, answer: Value) -> Self {
        let execution = answer["execution"].as_str();
        Self {
            watch: execution.map(|id| ctx.command(&format!("runs watch {id}"))),
            reason: request.reason.to_string(),
            test: request.is_test,
            answer,
        }
    }

    fn text(&self, name: &str) -> &str {
        self.answer[name].as_str().unwrap_or_default()
    }

    pub(super) fn exit(&self) -> Exit {
        match self.text("decision") {
            "refuse" => Exit::Refused,
            _ => Exit::Done,
        }
    }
}

/// What the gate did so far.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The strategies; null if the gate was never deployed.
    strategies: Option<Strategies>,
    /// The limits with which it is deployed.
    cool_down_hours: Option<u32>,
    maximum_per_day: Option<u32>,
    /// The newest runs that it has started, oldest first.
    starts: Vec<Start>,
    /// The newest refusals, oldest first.
    refusals: Vec<Refusal>,
    /// The number of all refusals.
    refused: u64,
    #[serde(skip)]
    running: Option<String>,
    /// The refused version of the data that is requested again.
    refused_data: Option<String>,
}

impl Status {
    pub(super) fn new(gate: Option<DeployedGate>, state: State) -> Self {
        let running = state.running().map(|start| {
            let execution = start.execution.as_deref().unwrap_or("being started");
            format!("{} since {}", clean(execution), start.time)
        });
        Self {
            running,
            cool_down_hours: gate.as_ref().map(|gate| gate.cool_down_hours),
            maximum_per_day: gate.as_ref().map(|gate| gate.maximum_per_day),
            strategies: gate.map(|gate| gate.switches.into()),
            refused_data: state.refused_data.map(|reason| reason.detail),
            starts: state.starts,
            refusals: state.refusals,
            refused: state.refused,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.strategies {
            Some(strategies) => write!(f, "{strategies}")?,
            None => writeln!(f, "strategies none: the retrain gate is not deployed")?,
        }
        if let (Some(hours), Some(runs)) = (self.cool_down_hours, self.maximum_per_day) {
            writeln!(
                f,
                "limits     {hours} h between two starts, {runs} starts in 24 h"
            )?;
        }
        let running = self.running.as_deref().unwrap_or("nothing");
        writeln!(f, "running    {running}")?;
        writeln!(f, "refused    {}", self.refused)?;
        if let Some(data) = &self.refused_data {
            writeln!(
                f,
                "waiting    {}: requested again once a run may start",
                clean(data)
            )?;
        }
        let starts = self.starts.iter().rev().take(SHOWN);
        let starts = starts.map(|start| {
            vec![
                start.time.to_string(),
                clean(&start.reason.to_string()),
                start.outcome.map_or("running", Outcome::as_str).to_owned(),
            ]
        });
        let starts: Vec<_> = starts.collect();
        if !starts.is_empty() {
            writeln!(f, "\n{}", table(&["STARTED", "REASON", "OUTCOME"], starts))?;
        }
        let refusals = self.refusals.iter().rev().take(SHOWN);
        let refusals = refusals.map(|refusal| {
            vec![
                refusal.time.to_string(),
                clean(&refusal.reason.to_string()),
                clean(&refusal.why.text()),
            ]
        });
        let refusals: Vec<_> = refusals.collect();
        if !refusals.is_empty() {
            writeln!(f, "\n{}", table(&["REFUSED", "REASON", "WHY"], refusals))?;
        }
        Ok(())
    }
}

impl fmt::Display for RetrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switched(switched) => {
                writeln!(f, "{}: {}", switched.stack, switched.action.as_str())?;
                write!(f, "{}", switched.switches)?;
                writeln!(f, "see what it does with `{}`", switched.next)
            }
            Self::Asked(asked) => {
                let would = if asked.test { "would start" } else { "started" };
                match asked.text("decision") {
                    "start" => match &asked.watch {
                        Some(watch) => writeln!(
                            f,
                            "{would} {}\nwatch it with `{watch}`",
                            asked.text("execution")
                        ),
                        None => writeln!(f, "the gate {would} a run ({})", clean(&asked.reason)),
                    },
                    "refuse" => writeln!(f, "refused: {}", clean(asked.text("because"))),
                    "repeated" => match &asked.watch {
                        Some(watch) => writeln!(f, "started before: `{watch}`"),
                        None => writeln!(f, "this request was answered before"),
                    },
                    other => writeln!(f, "{}", clean(other)),
                }
            }
            Self::Status(status) => status.fmt(f),
        }
    }
}
