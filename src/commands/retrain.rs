//! `mlops retrain`: when production data, new data or the calendar start the ML pipeline.

mod report;
mod switch;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use serde_json::Value;

use self::report::{Asked, Status, Switched};
use self::switch::{deploy, switch, switch_off};
use crate::aws::lambda::{self, Invoked};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, DeployedGate, Platform, Switches};
use crate::output::Report;
use crate::retraining::{self, Reason, ReasonKind, Request};

/// Decide when the model is retrained: by schedule, on new data, on drift
///
/// Each strategy is a rule or a schedule of EventBridge that invokes the retrain gate, a Lambda function. The gate starts
/// the ML pipeline of the develop branch unless a run that it started is in progress, its last start is more recent than
/// `retrain.cool_down_hours`, or it started `retrain.maximum_per_day` runs in 24 hours. The new version waits for
/// approval. Needs the pipelines of `mlops init --delivery`.
#[derive(Debug, clap::Subcommand)]
pub enum RetrainCommand {
    /// Retrain by a schedule
    ///
    /// EXPRESSION is one of EventBridge Scheduler: `rate(7 days)`, which requests the first run at
    /// once, `cron(0 3 ? * MON *)` or `at(2027-01-01T00:00:00)`.
    ///
    /// Example: mlops retrain schedule 'cron(0 3 ? * MON *)' --time-zone Europe/Berlin
    Schedule {
        /// When
        #[arg(value_parser = expression)]
        expression: String,
        /// The time zone of the expression
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: String,
    },
    /// Retrain when a new version of the data set was pushed
    ///
    /// Example: mlops retrain on-data
    OnData,
    /// Retrain when an alarm of a monitor goes off
    ///
    /// The alarms are those whose names begin with PROJECT-drift-, such as that of `mlops monitor
    /// enable`. If the drift lasts, another run starts after the cool-down.
    ///
    /// Example: mlops retrain on-drift
    OnDrift,
    /// Switch strategies off
    ///
    /// Example: mlops retrain off --strategy drift
    Off {
        /// The strategy [default: all]
        #[arg(long, value_enum, value_name = "STRATEGY")]
        strategy: Option<Strategy>,
    },
    /// Request a run from the gate now
    ///
    /// Exits with 3 if it refuses.
    ///
    /// Example: mlops retrain now --note new-labels
    Now {
        /// Why, for the run's record
        #[arg(long, value_name = "TEXT", default_value = "mlops retrain now")]
        note: String,
    },
    /// Show what the gate would do about an event, without starting anything
    ///
    /// Exits with 3 if it would refuse.
    ///
    /// Example: mlops retrain test --event drift
    Test {
        /// The event
        #[arg(long, value_enum, value_name = "STRATEGY", default_value = "drift")]
        event: Strategy,
    },
    /// Show the strategies, the limits, the runs that were started, and the requests that were refused
    ///
    /// Example: mlops retrain status
    Status,
}

/// A strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strategy {
    /// An alarm of a monitor
    Drift,
    /// A new version of the data set
    Data,
    /// A schedule
    Schedule,
}

/// The result of a command.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub enum RetrainReport {
    /// `schedule`, `on-data`, `on-drift`, `off`
    Switched(Switched),
    /// `now`, `test`
    Asked(Asked),
    /// `status`
    Status(Box<Status>),
}

fn expression(text: &str) -> Result<String, String> {
    let inner = ["rate(", "cron(", "at("]
        .iter()
        .find_map(|start| text.strip_prefix(start)?.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("expected rate(…), cron(…) or at(…)".to_owned()),
    }
}

/// Switches strategies, invokes the gate, or shows what it did.
pub async fn run(ctx: &Context, command: &RetrainCommand) -> Result<RetrainReport> {
    let project = ctx.project()?;
    match command {
        RetrainCommand::Status => status(ctx, &project).await,
        RetrainCommand::Now { note } => {
            let reason = Reason::new(ReasonKind::Manual, note, &new_id());
            ask(ctx, &project, reason, false).await
        }
        RetrainCommand::Test { event } => {
            let name = &project.file.name;
            let (kind, detail) = match event {
                Strategy::Drift => (
                    ReasonKind::Drift,
                    format!("{name}{}test", retraining::ALARMS),
                ),
                Strategy::Data => (ReasonKind::Data, format!("{}@test", project.dataset())),
                Strategy::Schedule => (ReasonKind::Schedule, "test".to_owned()),
            };
            ask(ctx, &project, Reason::new(kind, &detail, &new_id()), true).await
        }
        RetrainCommand::Schedule {
            expression,
            time_zone,
        } => {
            let schedule = Some((expression.clone(), time_zone.clone()));
            switch(ctx, &project, |switches| switches.schedule = schedule).await
        }
        RetrainCommand::OnData => switch(ctx, &project, |it| it.on_data = true).await,
        RetrainCommand::OnDrift => switch(ctx, &project, |it| it.on_drift = true).await,
        RetrainCommand::Off { strategy } => {
            let off = |switches: &mut Switches| match strategy {
                None => *switches = Switches::default(),
                Some(Strategy::Drift) => switches.on_drift = false,
                Some(Strategy::Data) => switches.on_data = false,
                Some(Strategy::Schedule) => switches.schedule = None,
            };
            switch_off(ctx, &project, off).await
        }
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Invokes the gate; the first request deploys it, but a test changes nothing.
async fn ask(
    ctx: &Context,
    project: &Project,
    reason: Reason,
    is_test: bool,
) -> Result<RetrainReport> {
    let clients = ctx.aws_for(project).await?;
    if DeployedGate::read(clients, project).await?.is_none() {
        if is_test {
            return Err(Failure::usage("the retrain gate is not deployed")).hint(format!(
                "deploy it with a strategy, such as `{}`",
                ctx.command("retrain on-drift")
            ));
        }
        deploy(ctx, clients, project, &Switches::default()).await?;
    }
    let request = Request { reason, is_test };
    let function = format!("{}-retrain-gate", project.file.name);
    let answer = match lambda::invoke(clients, &function, request.event()?).await? {
        Invoked::Answer(answer) => answer,
        Invoked::Failed { kind, message, .. } => {
            let exit = if kind == "Retraining.AccessDenied" {
                Exit::Credentials
            } else {
                Exit::Failed
            };
            return Err(Failure::new(
                exit,
                format!("the retrain gate failed: {message}"),
            ))
            .hint(format!(
                "its log is in the log group /aws/lambda/{function}"
            ));
        }
    };
    let answer: Value = serde_json::from_slice(&answer)?;
    Ok(RetrainReport::Asked(Asked::new(ctx, &request, answer)))
}

async fn status(ctx: &Context, project: &Project) -> Result<RetrainReport> {
    let clients = ctx.aws_of(project).await?;
    let platform: Platform = infra::platform(clients, project).await?;
    let (gate, (state, _)) = futures::try_join!(
        DeployedGate::read(clients, project),
        retraining::read(clients, &platform.artifact_bucket)
    )?;
    Ok(RetrainReport::Status(Box::new(Status::new(gate, state))))
}

impl Report for RetrainReport {
    fn exit(&self) -> Exit {
        match self {
            Self::Asked(asked) => asked.exit(),
            Self::Switched(_) | Self::Status(_) => Exit::Done,
        }
    }
}
