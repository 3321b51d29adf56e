//! `mlops image`: the container image that every step of a project runs in.

use anyhow::Result;

use crate::context::Context;

mod analyzer;
mod build;
mod inventory;
mod lifecycle;
mod list;
mod names;
mod pin;
mod pins;
mod push;
mod pushed;
mod removal;
mod report;
mod rm;
mod scan;
mod show;
mod transfer;
mod used_by;

pub use build::{BuildArgs, Built};
pub use lifecycle::Preview;
pub use list::{ImageList, ListArgs};
pub use pin::{PinArgs, PinReport, UseArgs};
pub use push::PushArgs;
pub use pushed::PushedImage;
pub use removal::Removal;
pub use report::ImageReport;
pub use rm::RmArgs;
pub use scan::{ScanArgs, Scanned};
pub use show::{ImageDetails, ShowArgs};

/// Build, push, inspect and pin container images
#[derive(Debug, clap::Subcommand)]
pub enum ImageCommand {
    Build(BuildArgs),
    Push(PushArgs),
    List(ListArgs),
    Show(ShowArgs),
    Pin(PinArgs),
    Use(UseArgs),
    Scan(ScanArgs),
    Rm(RmArgs),
}

/// Runs one of the commands.
pub async fn run(ctx: &Context, command: &ImageCommand) -> Result<ImageReport> {
    match command {
        ImageCommand::Build(args) => {
            let built = build::run(ctx, args).await?;
            Ok(ImageReport::Built(Box::new(built)))
        }
        ImageCommand::Push(args) => push::run(ctx, args).await.map(ImageReport::Pushed),
        ImageCommand::List(args) => match &args.lifecycle_preview {
            Some(file) => lifecycle::run(ctx, file.as_deref())
                .await
                .map(ImageReport::Preview),
            None => list::run(ctx).await.map(ImageReport::Listed),
        },
        ImageCommand::Show(args) => {
            let shown = show::run(ctx, args).await?;
            Ok(ImageReport::Shown(Box::new(shown)))
        }
        ImageCommand::Pin(args) => pin::run(ctx, args).await.map(ImageReport::Pinned),
        ImageCommand::Use(args) => pin::follow(ctx, args).map(ImageReport::Pinned),
        ImageCommand::Scan(args) => scan::run(ctx, args).await.map(ImageReport::Scanned),
        ImageCommand::Rm(args) => rm::run(ctx, args).await.map(ImageReport::Removed),
    }
}
