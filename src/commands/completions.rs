//! `mlops completions`, and the command reference.

use std::io;

use mlops_core::error::Exit;

use crate::context::Context;

/// Print the completion script for a shell
///
/// Completes commands, options, runs, versions, branches and steps: the shell calls `mlops` at each
/// TAB.
///
/// Example: mlops completions bash > ~/.local/share/bash-completion/completions/mlops
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Writes the completion script to stdout; `script` returns the script of a shell.
pub fn run(
    ctx: &Context,
    args: &CompletionsArgs,
    script: impl FnOnce(&str) -> io::Result<Vec<u8>>,
) -> io::Result<Exit> {
    ctx.output.raw(&script(&args.shell.to_string())?)?;
    Ok(Exit::Done)
}

/// Writes docs/cli.md, the reference of `command`, to stdout.
pub fn markdown(ctx: &Context, command: &clap::Command) -> io::Result<Exit> {
    let text = clap_markdown::help_markdown_command(command);
    ctx.output.raw(text.as_bytes())?;
    Ok(Exit::Done)
}
