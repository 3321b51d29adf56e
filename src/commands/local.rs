//! `mlops local`: the server of the local cloud.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use mlops_local_cloud::{self as local, BackgroundOptions, ServerOptions};

use crate::config::LOCAL_HOST;
use crate::context::Context;

mod git_credential;
mod inject;

pub use git_credential::{GitCredential, GitCredentialArgs};
pub use inject::{
    InjectCommand, InjectRequestArgs, InjectResourceArgs, InjectScanArgs, Injected, InjectedScan,
    Step,
};

mod env;
mod report;

pub use env::{Env, EnvArgs};
pub use report::LocalReport;

/// Run and manage the local cloud
#[derive(Debug, clap::Subcommand)]
pub enum LocalCommand {
    /// Run a local cloud until Ctrl-C
    ///
    /// Serves an AWS-compatible endpoint on loopback that runs jobs for real. Needs no project.
    /// Commands with --local find it, or start one that exits after 15 idle minutes.
    ///
    /// Example: mlops local start --port 4566
    Start(StartArgs),
    /// Stop the local cloud and keep its data
    Stop(StateArgs),
    /// Show whether a local cloud is running, and where
    Status(StateArgs),
    Env(EnvArgs),
    /// Stop the local cloud and remove all its data
    Reset(StateArgs),
    /// Trust a state directory that was moved or copied here
    ///
    /// A state directory is bound to the user, machine and path that it was created with, because
    /// its records decide which programs run. Adopt only a directory of your own, never one that
    /// came with a repository or an archive.
    ///
    /// Example: mlops local adopt --state .mlops/local
    Adopt(StateArgs),
    /// Serve as git's credential helper (configured by `mlops --local init`)
    #[command(hide = true)]
    GitCredential(GitCredentialArgs),
    #[command(subcommand)]
    Inject(InjectCommand),
}

/// Arguments of `mlops local start`.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// The port to listen on; 0 selects any free port [default: 4566; with --detach, the last one
    /// used, 4566, or any free port]
    #[arg(long)]
    port: Option<u16>,
    /// Run in the background and return
    #[arg(long)]
    detach: bool,
    /// Generate random credentials and reject all others (for a shared machine)
    #[arg(long)]
    require_credentials: bool,
    /// Exit after this many minutes without a request or a job
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=525_600))]
    idle_minutes: Option<u64>,
    /// Listen on the last port used, 4566, or any free port
    #[arg(long, hide = true, conflicts_with = "port")]
    any_port: bool,
    #[command(flatten)]
    state: StateArgs,
}

/// Location of the local cloud's state.
#[derive(Debug, clap::Args)]
pub struct StateArgs {
    /// The state directory [default: .mlops/local in the project, or in this directory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl StateArgs {
    fn directory(&self, ctx: &Context) -> PathBuf {
        self.state
            .clone()
            .unwrap_or_else(|| ctx.config.local_state())
    }
}

/// Runs one of the commands.
pub async fn run(ctx: &Context, command: &LocalCommand) -> Result<LocalReport> {
    Ok(match command {
        LocalCommand::Env(args) => LocalReport::Env(env::run(ctx, args).await?),
        LocalCommand::Start(args) if args.detach => {
            let directory = args.state.directory(ctx);
            let options = BackgroundOptions {
                port: args.port,
                require_credentials: args.require_credentials,
                idle_minutes: args
                    .idle_minutes
                    .unwrap_or(BackgroundOptions::default().idle_minutes),
            };
            local::detach(&LOCAL_HOST, &directory, &options, &|line| {
                ctx.progress.detail(line);
            })
            .await?;
            LocalReport::Status(local::status(&LOCAL_HOST, &directory).await?)
        }
        LocalCommand::Start(args) => {
            let progress = ctx.progress.clone();
            let guarded = args.require_credentials;
            local::serve(
                ServerOptions {
                    directory: args.state.directory(ctx),
                    port: (!args.any_port).then_some(args.port.unwrap_or(local::DEFAULT_PORT)),
                    region: ctx
                        .config
                        .region
                        .clone()
                        .unwrap_or_else(|| "us-east-1".to_owned()),
                    require_credentials: args.require_credentials,
                    idle: args
                        .idle_minutes
                        .map(|minutes| Duration::from_secs(minutes * 60)),
                    cache: ctx.config.cache.clone(),
                    python: ctx
                        .config
                        .python
                        .clone()
                        .unwrap_or_else(|| PathBuf::from("python3")),
                    host: LOCAL_HOST,
                },
                move |endpoint| {
                    progress.say(format!("The local cloud is listening on {endpoint}"));
                    if guarded {
                        progress.say("Its credentials are in address.json in its state directory");
                    } else {
                        progress.say(format!(
                            "Use it with any AWS client: AWS_ENDPOINT_URL={endpoint} \
                             AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local \
                             AWS_SECRET_ACCESS_KEY=local"
                        ));
                    }
                },
            )
            .await?;
            LocalReport::Ended {
                stopped: true,
                processes: vec![std::process::id()],
            }
        }
        LocalCommand::Stop(args) => {
            let processes = local::stop(&LOCAL_HOST, &args.directory(ctx)).await?;
            LocalReport::Ended {
                stopped: !processes.is_empty(),
                processes,
            }
        }
        LocalCommand::Status(args) => {
            LocalReport::Status(local::status(&LOCAL_HOST, &args.directory(ctx)).await?)
        }
        LocalCommand::GitCredential(args) => {
            LocalReport::GitCredential(git_credential::run(ctx, args).await?)
        }
        LocalCommand::Inject(command) => LocalReport::Injected(inject::run(ctx, command)?),
        LocalCommand::Adopt(args) => {
            let directory = args.directory(ctx);
            ctx.prompt.require(&format!(
                "Trust everything in {}? Its records decide which programs run.",
                directory.display()
            ))?;
            local::adopt(&LOCAL_HOST, &directory)?;
            LocalReport::Status(local::status(&LOCAL_HOST, &directory).await?)
        }
        LocalCommand::Reset(args) => {
            let directory = args.directory(ctx);
            ctx.prompt.require(&format!(
                "Remove all data of the local cloud in {}?",
                directory.display()
            ))?;
            LocalReport::Removed {
                removed: local::reset(&LOCAL_HOST, &directory).await?,
                directory,
            }
        }
    })
}
