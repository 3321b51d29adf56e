//! `mlops image`: the container image that every step of a project runs in.

use anyhow::Result;

use crate::context::Context;

mod analyzer;
mod build;
mod list;
mod push;
mod report;
mod revision;

pub use build::{BuildArgs, Built};
pub use push::PushArgs;
pub use report::{ImageReport, Listed, Pushed};

/// Build, push and list container images
#[derive(Debug, clap::Subcommand)]
pub enum ImageCommand {
    Build(BuildArgs),
    Push(PushArgs),
    /// List the images of the project's repository, the newest first
    ///
    /// Example: mlops image list --output json
    List,
}

/// Runs one of the commands.
pub async fn run(ctx: &Context, command: &ImageCommand) -> Result<ImageReport> {
    match command {
        ImageCommand::Build(args) => {
            let built = build::run(ctx, args).await?;
            Ok(ImageReport::Built(Box::new(built)))
        }
        ImageCommand::Push(args) => push::run(ctx, args).await.map(ImageReport::Pushed),
        ImageCommand::List => list::run(ctx).await.map(ImageReport::Listed),
    }
}
