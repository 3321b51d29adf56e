//! `mlops completions`, and the command reference.

use std::io;

use mlops_core::error::Exit;

use crate::cli;
use crate::context::Context;

/// Print the completions of a shell
///
/// They offer commands, options, runs, versions, branches and steps: the shell asks `mlops` at each TAB.
///
/// Example: mlops completions bash > ~/.local/share/bash-completion/completions/mlops
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Writes the completions to stdout.
pub fn run(ctx: &Context, args: &CompletionsArgs) -> io::Result<Exit> {
    ctx.output
        .raw(&cli::completion_script(&args.shell.to_string())?)?;
    Ok(Exit::Done)
}

/// Writes docs/cli.md to stdout.
pub fn markdown(ctx: &Context) -> io::Result<Exit> {
    let text = clap_markdown::help_markdown_command(&cli::command());
    ctx.output.raw(text.as_bytes())?;
    Ok(Exit::Done)
}
