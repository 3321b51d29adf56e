//! The command tree and its dispatcher.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use mlops_core::error::Exit;

use crate::commands;
use crate::config::{Color, Config, GlobalArgs};
use crate::context::{Context, Interrupts};

mod complete;
mod examples;
mod help;
mod hidden;
mod spelling;

pub use complete::{complete as respond_to_completion, script as completion_script};

/// Build, train, promote and monitor machine-learning models on AWS
///
/// `mlops` deploys an MLOps reference architecture to your AWS account and runs the daily work on
/// it. With --local, every command does the same on a local cloud that runs the jobs
/// for real, without an AWS account or Docker. Run `mlops demo` to see the whole workflow.
#[derive(Debug, Parser)]
#[command(name = "mlops", version, max_term_width = 80)]
pub struct Cli {
    /// Flags that every command accepts.
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(commands::init::InitArgs),
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    Plan(commands::plan::PlanArgs),
    Destroy(commands::destroy::DestroyArgs),
    Promote(commands::promote::PromoteArgs),
    Invoke(commands::invoke::InvokeArgs),
    #[command(subcommand)]
    Endpoint(commands::endpoint::EndpointCommand),
    Rollback(commands::rollback::RollbackArgs),
    #[command(subcommand)]
    Releases(commands::releases::ReleasesCommand),
    Lineage(commands::lineage::LineageArgs),
    Status(commands::status::StatusArgs),
    Doctor(commands::doctor::DoctorArgs),
    #[command(subcommand)]
    Data(commands::data::DataCommand),
    #[command(subcommand)]
    Image(commands::image::ImageCommand),
    #[cfg(feature = "local")]
    #[command(subcommand)]
    Local(commands::local::LocalCommand),
    #[cfg(feature = "local")]
    Demo(commands::demo::DemoArgs),
    #[command(subcommand)]
    Notebook(commands::notebook::NotebookCommand),
    #[command(subcommand)]
    Monitor(commands::monitor::MonitorCommand),
    #[command(subcommand)]
    Retrain(commands::retrain::RetrainCommand),
    Validate(commands::validate::ValidateArgs),
    Train(commands::train::TrainArgs),
    #[command(subcommand)]
    Runs(commands::runs::RunsCommand),
    Approve(commands::approve::ApproveArgs),
    Reject(commands::approve::RejectArgs),
    #[command(subcommand)]
    Models(commands::models::ModelsCommand),
    Completions(commands::completions::CompletionsArgs),
    Version(commands::version::VersionArgs),
    /// Print the command reference as Markdown
    #[command(hide = true)]
    MarkdownHelp,
    /// Analyze data as the container of a Model Monitor job
    #[command(hide = true)]
    Analyze,
    /// Enter a job's namespaces and execute its program
    #[cfg(feature = "local")]
    #[command(hide = true)]
    JobProcess {
        /// Arguments passed by the local cloud
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Returns the command tree with help, aliases and completions.
pub fn command() -> clap::Command {
    complete::apply(spelling::apply(help::apply(Cli::command())))
}

impl Cli {
    /// Parses a command line; its first word is the program's name.
    ///
    /// # Errors
    /// The command line is invalid, or requests help or the version.
    pub fn read<W: Into<OsString>>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        let words = spelling::written_out(words.into_iter().map(Into::into));
        let mut command = command();
        command
            .try_get_matches_from_mut(words)
            .and_then(|mut matches| Self::from_arg_matches_mut(&mut matches))
            .map_err(|error| hidden::left_out(error, &command))
    }

    /// Runs commands that need a single-threaded process; returns `None` for every other command.
    pub fn run_single_threaded(&self) -> Option<ExitCode> {
        match &self.command {
            #[cfg(feature = "local")]
            Command::JobProcess { arguments } => {
                Some(mlops_local_cloud::run_job_process(arguments))
            }
            _ => None,
        }
    }
}

/// Runs the command and prints its report.
pub async fn run(cli: Cli, interrupts: Interrupts) -> Result<Exit> {
    let config = Config::load(&cli.global)?;
    match config.color {
        Color::Auto => {}
        Color::Always => set_colors(true),
        Color::Never => set_colors(false),
    }
    let ctx = Context::new(config, interrupts);
    let exit = match &cli.command {
        Command::Init(args) => ctx
            .output
            .report(&Box::pin(commands::init::run(&ctx, args)).await?),
        Command::Config(command) => ctx.output.report(&commands::config::run(&ctx, command)?),
        Command::Plan(args) => ctx
            .output
            .report(&Box::pin(commands::plan::run(&ctx, args)).await?),
        Command::Destroy(args) => ctx
            .output
            .report(&Box::pin(commands::destroy::run(&ctx, args)).await?),
        Command::Promote(args) => ctx
            .output
            .report(&Box::pin(commands::promote::run(&ctx, args)).await?),
        Command::Invoke(args) => ctx
            .output
            .report(&Box::pin(commands::invoke::run(&ctx, args)).await?),
        Command::Endpoint(command) => ctx
            .output
            .report(&Box::pin(commands::endpoint::run(&ctx, command)).await?),
        Command::Rollback(args) => ctx
            .output
            .report(&Box::pin(commands::rollback::run(&ctx, args)).await?),
        Command::Releases(command) => ctx
            .output
            .report(&Box::pin(commands::releases::run(&ctx, command)).await?),
        Command::Lineage(args) => ctx
            .output
            .report(&commands::lineage::run(&ctx, args).await?),
        Command::Status(args) => ctx
            .output
            .report(&Box::pin(commands::status::run(&ctx, args)).await?),
        Command::Doctor(args) => ctx
            .output
            .report(&Box::pin(commands::doctor::run(&ctx, args)).await?),
        Command::Data(command) => ctx
            .output
            .report(&commands::data::run(&ctx, command).await?),
        Command::Image(command) => ctx
            .output
            .report(&commands::image::run(&ctx, command).await?),
        #[cfg(feature = "local")]
        Command::Local(command) => ctx
            .output
            .report(&commands::local::run(&ctx, command).await?),
        #[cfg(feature = "local")]
        Command::Demo(args) => ctx.output.report(&commands::demo::run(&ctx, args).await?),
        Command::Notebook(command) => ctx
            .output
            .report(&commands::notebook::run(&ctx, command).await?),
        Command::Monitor(command) => ctx
            .output
            .report(&commands::monitor::run(&ctx, command).await?),
        Command::Retrain(command) => ctx
            .output
            .report(&Box::pin(commands::retrain::run(&ctx, command)).await?),
        Command::Validate(args) => ctx
            .output
            .report(&commands::validate::run(&ctx, args).await?),
        Command::Train(args) => ctx
            .output
            .report(&Box::pin(commands::train::run(&ctx, args)).await?),
        Command::Runs(command) => ctx
            .output
            .report(&Box::pin(commands::runs::run(&ctx, command)).await?),
        Command::Approve(args) => ctx
            .output
            .report(&Box::pin(commands::approve::approve(&ctx, args)).await?),
        Command::Reject(args) => ctx
            .output
            .report(&Box::pin(commands::approve::reject(&ctx, args)).await?),
        Command::Models(command) => ctx
            .output
            .report(&Box::pin(commands::models::run(&ctx, command)).await?),
        Command::Completions(args) => commands::completions::run(&ctx, args, completion_script),
        Command::Version(args) => ctx.output.report(&commands::version::run(args)),
        Command::MarkdownHelp => commands::completions::markdown(&ctx, &command()),
        Command::Analyze => ctx.output.report(&commands::analyze::run(&ctx).await?),
        #[cfg(feature = "local")]
        Command::JobProcess { .. } => Ok(Exit::Usage),
    }?;
    Ok(exit)
}

/// Waits for Ctrl-C and returns the notes to print. The notes are read here because dropping the
/// command removes them.
pub async fn interrupted(interrupts: &Interrupts) -> Vec<String> {
    loop {
        match tokio::signal::ctrl_c().await {
            Ok(()) if interrupts.hand_over() => {}
            Ok(()) => return interrupts.notes(),
            // Without the handler, Ctrl-C terminates the process directly.
            Err(_) => std::future::pending().await,
        }
    }
}

fn set_colors(on: bool) {
    console::set_colors_enabled(on);
    console::set_colors_enabled_stderr(on);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_valid() {
        command().debug_assert();
    }

    #[cfg(feature = "local")]
    #[test]
    fn a_guarded_program_receives_its_flags() {
        let words = "mlops job-process guard 1 python3 -m pip --quiet --version -o json";
        let cli = Cli::read(words.split(' ')).unwrap();
        let Command::JobProcess { arguments } = cli.command else {
            panic!("another command");
        };
        assert_eq!(arguments.join(" "), words["mlops job-process ".len()..]);
    }
}
