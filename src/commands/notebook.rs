//! `mlops notebook`: the project's notebook instance.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;

use crate::aws::Clients;
use crate::aws::sagemaker::notebooks;
use crate::config::Project;
use crate::context::Context;
use crate::infra;

mod change;
mod logs;
mod open;
mod report;

pub use logs::LogArgs;
pub use open::OpenArgs;
pub use report::NotebookReport;

/// Start, open and stop the project's notebook
///
/// The notebook is a SageMaker notebook instance with JupyterLab. Both Git repositories of the
/// project are in its volume, which survives a stop and is deleted with the instance. A running
/// instance costs money until it is stopped; its life-cycle configuration stops it when it is idle.
#[derive(Debug, clap::Subcommand)]
pub enum NotebookCommand {
    /// Start the notebook and wait until it is in service
    ///
    /// On AWS, this takes a few minutes. If the life-cycle script fails, prints the end of its log.
    ///
    /// Example: mlops notebook start
    Start(NotebookArgs),
    /// Stop the notebook and wait until it has stopped
    ///
    /// Ends kernels and terminals. Files in ~/SageMaker are kept; everything else on the instance is
    /// lost.
    ///
    /// Example: mlops notebook stop
    Stop(NotebookArgs),
    /// Show the notebook's state, and why it failed
    ///
    /// Example: mlops notebook status --output json
    Status(NotebookArgs),
    Open(OpenArgs),
    Logs(LogArgs),
}

/// The notebook of a command.
#[derive(Debug, clap::Args)]
pub struct NotebookArgs {
    /// The notebook instance's name [default: the project's]
    notebook: Option<String>,
}

/// Runs the command.
pub async fn run(ctx: &Context, command: &NotebookCommand) -> Result<NotebookReport> {
    let project = ctx.project()?;
    Ok(match command {
        NotebookCommand::Start(args) => {
            let clients = ctx.aws_for(&project).await?;
            let name = name(clients, &project, args).await?;
            NotebookReport::Changed(change::start(ctx, clients, &name).await?)
        }
        NotebookCommand::Stop(args) => {
            let clients = ctx.aws_for(&project).await?;
            let name = name(clients, &project, args).await?;
            NotebookReport::Changed(change::stop(ctx, clients, &name).await?)
        }
        NotebookCommand::Status(args) => {
            let clients = ctx.aws_of(&project).await?;
            let name = name(clients, &project, args).await?;
            NotebookReport::status(ctx, notebooks::describe(clients, &name).await?)
        }
        NotebookCommand::Open(args) => {
            let clients = ctx.aws_for(&project).await?;
            let name = name(clients, &project, &args.notebook).await?;
            NotebookReport::Opened(open::run(ctx, clients, &name, args).await?)
        }
        NotebookCommand::Logs(args) => {
            let clients = ctx.aws_of(&project).await?;
            let name = name(clients, &project, &args.notebook).await?;
            NotebookReport::Logs(logs::run(clients, &name, args).await?)
        }
    })
}

/// The notebook instance that the user named, or the one of the project's workbench stack.
async fn name(clients: &Clients, project: &Project, args: &NotebookArgs) -> Result<String> {
    if let Some(name) = &args.notebook {
        return Ok(name.clone());
    }
    let stack = infra::Part::Workbench.stack(&project.file.name);
    let outputs = infra::outputs(clients, &stack)
        .await?
        .ok_or_else(|| anyhow!("{} has no stack {stack} in this account", project.file.name))
        .hint(format!("run `{}`", clients.command("init")))?;
    infra::Workbench::read(&project.file.name, &outputs).map(|workbench| workbench.notebook)
}
