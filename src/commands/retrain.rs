//! `mlops retrain`: when production data, new data or the calendar start the ML pipeline.

mod report;

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use serde_json::Value;

use self::report::{Asked, Status, Switched};
use crate::aws::Clients;
use crate::aws::lambda::{self, Invoked};
use crate::config::Project;
use crate::context::Context;
use crate::delivery;
use crate::infra::{self, Platform, Switches};
use crate::output::Report;
use crate::retraining::{self, Reason, ReasonKind, Request};

/// Decide when the model is retrained: by schedule, on new data, on drift
///
/// Each strategy is a rule or a schedule of EventBridge that asks the retrain gate, a Lambda function. The gate starts the
/// ML pipeline of the develop branch unless a run is in progress, the last start is more recent than
/// `retrain.cool_down_hours`, or there were `retrain.maximum_per_day` starts in 24 hours. The new version waits for
/// approval. Needs the pipelines of `mlops init --delivery`.
#[derive(Debug, clap::Subcommand)]
pub enum RetrainCommand {
    /// Retrain by a schedule
    ///
    /// EXPRESSION is one of EventBridge Scheduler: `rate(7 days)`, `cron(0 3 ? * MON *)` or
    /// `at(2027-01-01T00:00:00)`.
    ///
    /// Example: mlops retrain schedule 'cron(0 3 ? * MON *)' --time-zone Europe/Berlin
    Schedule {
        /// When
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
    /// The alarms are those whose names begin with PROJECT-drift-. An alarm that was refused is
    /// re-armed once a run may start, and the one that started a run when the run ends.
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
    /// Ask the gate for a run now
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

/// Switches strategies, asks the gate, or shows what it did.
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
            switch(ctx, &project, off).await
        }
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Deploys the stack with changed switches.
async fn switch(
    ctx: &Context,
    project: &Project,
    change: impl FnOnce(&mut Switches),
) -> Result<RetrainReport> {
    let clients = ctx.aws_for(project).await?;
    let deployed = Switches::deployed(clients, project).await?;
    let mut switches = deployed.unwrap_or_default();
    change(&mut switches);
    let outcome = deploy(ctx, clients, project, &switches).await?;
    Ok(RetrainReport::Switched(Switched {
        stack: outcome.stack,
        action: outcome.action,
        switches: switches.into(),
        next: ctx.command("retrain status"),
    }))
}

async fn deploy(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    switches: &Switches,
) -> Result<infra::StackOutcome> {
    let develop = &project.file.branches.develop;
    if !project.file.delivered().contains(develop) {
        return Err(Failure::usage(format!(
            "the branch {develop} has no pipelines, which retraining starts"
        )))
        .hint(format!(
            "deploy them: `{}` (docs/delivery.md)",
            ctx.command("init --delivery")
        ));
    }
    let program = delivery::deployed(clients, project).await?;
    let program = program
        .ok_or_else(|| anyhow!("the pipelines are not deployed, or run another version of mlops"))
        .hint(format!("run `{}`", ctx.command("init")))?;
    let spec = infra::retraining_stack(project, &program, switches);
    infra::deploy(clients, ctx.waiter, &ctx.progress, &spec).await
}

/// Asks the gate; the first request deploys it.
async fn ask(
    ctx: &Context,
    project: &Project,
    reason: Reason,
    is_test: bool,
) -> Result<RetrainReport> {
    let clients = ctx.aws_for(project).await?;
    if Switches::deployed(clients, project).await?.is_none() {
        deploy(ctx, clients, project, &Switches::default()).await?;
    }
    let request = Request {
        reason,
        time: ctx.now(),
        is_test,
    };
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
    let (switches, (state, _)) = futures::try_join!(
        Switches::deployed(clients, project),
        retraining::read(clients, &platform.artifact_bucket)
    )?;
    Ok(RetrainReport::Status(Box::new(Status::new(
        project, switches, state,
    ))))
}

impl Report for RetrainReport {
    fn exit(&self) -> Exit {
        match self {
            Self::Asked(asked) => asked.exit(),
            Self::Switched(_) | Self::Status(_) => Exit::Done,
        }
    }
}
