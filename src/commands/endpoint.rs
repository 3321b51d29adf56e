//! `mlops endpoint`: the project's endpoint in operation.

use anyhow::Result;

use crate::context::Context;

mod delete;
mod logs;
mod report;
mod show;

pub use delete::DeleteArgs;
pub use logs::LogArgs;
pub use report::EndpointReport;

/// Show the endpoint, read its log, delete it
///
/// The endpoint has the project's name. `mlops promote` creates and updates it.
#[derive(Debug, clap::Subcommand)]
pub enum EndpointCommand {
    /// Show variants, configuration, alarms and the last deployments
    ///
    /// If the last deployment failed, also prints the likely cause, from the log of its container.
    ///
    /// Example: mlops endpoint show
    Show,
    Logs(LogArgs),
    Delete(DeleteArgs),
}

/// Runs the command.
pub async fn run(ctx: &Context, command: &EndpointCommand) -> Result<EndpointReport> {
    let project = ctx.project()?;
    Ok(match command {
        EndpointCommand::Show => {
            let clients = ctx.aws_of(&project).await?;
            EndpointReport::Shown(Box::new(show::run(ctx, clients, &project).await?))
        }
        EndpointCommand::Logs(args) => {
            let clients = ctx.aws_of(&project).await?;
            logs::run(ctx, clients, project.file.name.as_str(), args).await?
        }
        EndpointCommand::Delete(args) => {
            let clients = ctx.aws_for(&project).await?;
            EndpointReport::Deleted(delete::run(ctx, clients, &project, args).await?)
        }
    })
}
