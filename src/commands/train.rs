//! `mlops train`: runs the pipeline of a branch.

use std::fmt;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::names::BranchName;
use mlops_core::text::{clean, duration, state, table};
use mlops_oci::Digest;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::aws::sagemaker::gate::Gate;
use crate::aws::sagemaker::models::{self, Model};
use crate::aws::sagemaker::pipelines::{self, Upsert};
use crate::aws::sagemaker::runs::{self, Origin, RunStep};
use crate::aws::state::{ExecutionState, RunState};
use crate::context::Context;
use crate::output::Report;

mod inputs;
mod origin;
mod resolve;
mod watch;

/// Run the pipeline of a branch, and wait for its model
///
/// Uses the pipeline definition of the branch's head commit, an image by digest, and the newest
/// version of the data, and records all three with the run. The image is the one that the branch
/// pins (`mlops image pin`); on the production branch, that of the promoted version; otherwise the
/// one of --image, or the newest that was pushed from the branch. Ctrl-C does not stop the run. If a
/// gate refuses the model, prints its metrics and the limit, and exits with 3.
///
/// Example: mlops train --branch develop -p MaxRmse=18
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// The branch [default: the current branch]
    #[arg(long, value_name = "BRANCH")]
    branch: Option<BranchName>,
    /// Use exactly this image (`sha256:…`), for example the one whose push started a pipeline
    ///
    /// Pins and promotions take precedence: a branch with a pin accepts only the pinned image, and
    /// the production branch only the promoted one (otherwise exit 2). The ML pipeline passes the
    /// image whose push started it, so on a pinned branch it fails until the pin is removed with
    /// `mlops image use newest --commit`.
    #[arg(long, value_name = "DIGEST", conflicts_with = "working_tree")]
    image: Option<Digest>,
    /// Use the pipeline definition and program of the working tree, without a commit
    ///
    /// The program is packaged as an image for this run only, unless the branch has a pin. The run
    /// and the model version are recorded as dirty: `mlops promote` rejects the version unless you
    /// pass --allow-dirty.
    #[arg(long)]
    working_tree: bool,
    /// Return as soon as the run has started
    #[arg(long)]
    detach: bool,
    /// Set a parameter of the pipeline
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// The version of the data set [default: the newest]
    #[arg(long, value_name = "VERSION")]
    data_version: Option<String>,
    /// Record why the run is started; `mlops runs show` and `lineage` show it
    #[arg(long, value_name = "TEXT", value_parser = origin::reason)]
    reason: Option<String>,
    /// Record the reason of this execution of CodePipeline, as its builds do
    #[arg(long, value_name = "PIPELINE/ID", value_parser = origin::execution, conflicts_with = "reason")]
    execution: Option<(String, String)>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// A run that was started, and its result.
#[derive(Debug, Serialize)]
pub struct Training {
    run: String,
    arn: String,
    status: RunState,
    /// SageMaker's own status: `Failed` for a run that a gate refused.
    execution_status: ExecutionState,
    #[serde(flatten)]
    origin: Origin,
    pipeline: Upsert,
    started: Option<Timestamp>,
    steps: Vec<RunStep>,
    model: Option<Model>,
    /// The metrics of the run, whether or not a gate refused the model.
    metrics: Map<String, Value>,
    /// Why a gate refused it.
    gate: Option<Gate>,
    seconds: Option<i64>,
    #[serde(skip)]
    now: Timestamp,
    #[serde(skip)]
    next: Option<String>,
}

/// Checks everything, starts the run, and waits for it.
pub async fn run(ctx: &Context, args: &TrainArgs) -> Result<Training> {
    let project = ctx.project()?;
    let source = resolve::source(&project, args.branch.as_ref(), args.working_tree)?;
    let data_version = args.data_version.as_deref();
    let wanted = resolve::check_parameters(&source, &args.parameters, data_version, args.image)?;
    let clients = ctx.aws_for(&project).await?;
    let mut start = resolve::start(ctx, clients, &project, source, wanted).await?;
    start.origin.reason = origin::of(clients, args).await?;

    let name = project.file.name.as_str();
    let registered = pipelines::upsert(clients, name, &start.definition, &start.role).await?;
    let description = serde_json::to_string(&start.origin)?;
    let arn = pipelines::start(
        clients,
        name,
        registered.version,
        &start.parameters,
        &description,
    )
    .await?;
    let id = runs::id(&arn).to_owned();
    let show = ctx.command(&format!("runs show {id}"));
    let run = if args.detach {
        runs::describe(clients, &arn).await?
    } else {
        let _note = ctx.on_interrupt(format!("the run continues: {show}"));
        watch::until_over(ctx, clients, &arn).await?
    };
    let model = match run.model_package() {
        Some(arn) => models::describe(clients, arn).await?,
        None => None,
    };
    let next = match &model {
        Some(model) if start.origin.dirty => {
            Some(ctx.command(&format!("promote {} --allow-dirty", model.version)))
        }
        Some(model) => Some(ctx.command(&format!("promote {}", model.version))),
        None if run.status.has_succeeded() || run.gate.is_some() => None,
        None => Some(show),
    };
    let now = Timestamp::now();
    let metrics = match (&model, &run.gate) {
        (Some(model), _) => model.metrics.clone(),
        (None, Some(gate)) => gate.metrics.clone(),
        (None, None) => Map::new(),
    };
    let training = Training {
        next,
        run: id,
        arn,
        seconds: run.seconds(now),
        metrics,
        gate: run.gate,
        status: run.status,
        execution_status: run.execution_status,
        origin: start.origin,
        pipeline: registered.change,
        started: run.started,
        steps: run.steps,
        model,
        now,
    };
    match &training.gate {
        // With --detach, `runs show` reports the result, however quickly the run ended.
        Some(gate) if !args.detach => {
            ctx.output.report(&training)?;
            Err(watch::refusal(ctx, &training.run, gate))
        }
        _ => Ok(training),
    }
}

impl Report for Training {}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run       {}  {}", self.run, state(self.status.as_str()))?;
        write!(f, "{}", self.origin)?;
        if !self.steps.is_empty() {
            let rows = self.steps.iter().map(|step| {
                let time = step.seconds(self.now).map(duration);
                vec![
                    step.name.clone(),
                    step.shown_kind().to_owned(),
                    step.shown_status().to_owned(),
                    time.unwrap_or_default(),
                ]
            });
            writeln!(f)?;
            f.write_str(&table(&["STEP", "TYPE", "STATUS", "TIME"], rows))?;
        }
        if let Some(model) = &self.model {
            writeln!(f)?;
            let status = state(model.status.as_str());
            writeln!(f, "model     version {}  {status}", model.version)?;
            if !model.metrics.is_empty() {
                writeln!(f, "metrics   {}", models::sentence(&model.metrics))?;
            }
            if let Some(artifact) = &model.artifact {
                writeln!(f, "artifact  {artifact}")?;
            }
        }
        if let Some(gate) = &self.gate {
            writeln!(f)?;
            writeln!(f, "refused   {}", clean(&gate.message))?;
            for check in &gate.checks {
                writeln!(f, "          {}", clean(&check.to_string()))?;
            }
            if let Some(note) = &gate.note {
                writeln!(f, "          {}", clean(note))?;
            }
            if !self.metrics.is_empty() {
                writeln!(f, "metrics   {}", models::sentence(&self.metrics))?;
            }
        }
        match &self.next {
            Some(next) => writeln!(f, "\nNext: {next}"),
            None => Ok(()),
        }
    }
}
