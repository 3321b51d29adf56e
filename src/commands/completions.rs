//! `mlops completions`, and the command reference.

use std::io;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::Exit;

/// Print the completions of a shell
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
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mlops", &mut text);
    ctx.output.raw(&text)?;
    Ok(Exit::Done)
}

/// Writes docs/cli.md to stdout.
pub fn markdown(ctx: &Context) -> io::Result<Exit> {
    let text = clap_markdown::help_markdown::<Cli>();
    ctx.output.raw(text.as_bytes())?;
    Ok(Exit::Done)
}
