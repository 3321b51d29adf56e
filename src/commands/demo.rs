//! `mlops demo`: runs the whole workflow on the local cloud, with this binary.

mod role;
mod story;
mod traffic;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use tokio::process::Command;

use self::story::{Program, STORY, StoryStep};
use crate::config::shell;
use crate::context::Context;
use crate::git::Repository;
use crate::output::{Format, Report};
use mlops_core::error::{Failure, Hint};

/// Run the whole workflow on a local cloud, with real data
///
/// Creates an example project in DIR that predicts flight delays, then runs the commands of a
/// working day in it, printing each one: init, data push, validate, git push, and what it starts (an
/// image, a training, the deployment of the approved version), monitor, lineage. After init, each
/// command runs with the role of its actor. Needs Python 3 and git, but no AWS account and no
/// Docker. DIR is kept for you to explore.
///
/// Example: mlops demo flights
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// A new or empty directory [default: mlops-demo, or mlops-demo-2, …]
    directory: Option<PathBuf>,
}

/// The result of the demo.
#[derive(Debug, Serialize)]
pub struct DemoReport {
    directory: PathBuf,
    steps: Vec<FinishedStep>,
    seconds: f64,
    /// The path of this program, if `mlops` is not on PATH.
    program: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct FinishedStep {
    command: String,
    exit: i32,
    seconds: f64,
}

/// Runs the story.
pub async fn run(ctx: &Context, args: &DemoArgs) -> Result<DemoReport> {
    let directory = prepare(ctx, args.directory.as_deref())?;
    let start = Instant::now();
    let mut steps = Vec::new();
    for step in STORY {
        let begun = Instant::now();
        let command = step.shown();
        if !step.story.is_empty() {
            ctx.progress.heading(step.story);
        }
        ctx.progress.command(&command);
        let exit = match step.program {
            Program::Traffic => traffic::send(ctx, &directory).await?,
            Program::Write(path, text) => write(&directory.join(path), text)?,
            Program::Edit { file, changes, .. } => edit(&directory.join(file), changes)?,
            Program::Mlops | Program::Git => execute(ctx, step, &directory).await?,
        };
        if exit != step.exit {
            return Err(anyhow!(
                "`{command}` ended with exit code {exit} instead of {}",
                step.exit
            ))
            .hint(format!("inspect the project in {}", directory.display()));
        }
        if step.exit != 0 {
            ctx.progress.say(format!("(exit code {exit}, as expected)"));
        }
        steps.push(FinishedStep {
            command,
            exit,
            seconds: begun.elapsed().as_secs_f64(),
        });
    }
    Ok(DemoReport {
        directory,
        steps,
        seconds: start.elapsed().as_secs_f64(),
        program: ctx.config.path_of_mlops(),
    })
}

/// Creates the directory, or accepts an empty one.
fn prepare(ctx: &Context, wanted: Option<&Path>) -> Result<PathBuf> {
    let directory = match wanted {
        Some(directory) => ctx.config.directory.join(directory),
        None => (1..1000)
            .map(|n| match n {
                1 => "mlops-demo".to_owned(),
                n => format!("mlops-demo-{n}"),
            })
            .map(|name| ctx.config.directory.join(name))
            .find(|directory| !directory.exists())
            .context("no free directory name")?,
    };
    if std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!(
            "{} is not empty",
            directory.display()
        )))
        .hint("pass a new directory: mlops demo DIR");
    }
    mlops_core::directory::create(&directory)?;
    Ok(directory)
}

/// Writes a file.
fn write(path: &Path, text: &str) -> Result<i32> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(0)
}

/// Replaces texts in a file.
fn edit(path: &Path, changes: &[(&str, &str)]) -> Result<i32> {
    let text = std::fs::read_to_string(path);
    let mut text = text.with_context(|| format!("cannot read {}", path.display()))?;
    for (from, to) in changes {
        if !text.contains(from) {
            return Err(anyhow!("{} has no `{from}`", path.display()));
        }
        text = text.replace(from, to);
    }
    write(path, &text)
}

/// Runs one command as the reader would, and prints its output as it arrives.
async fn execute(ctx: &Context, step: &StoryStep, directory: &Path) -> Result<i32> {
    let mut command = match step.program {
        Program::Git => Command::new("git"),
        _ => Command::new(std::env::current_exe()?),
    };
    command
        .args(step.arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    match step.role() {
        Some(name) => role::assume(&mut command, directory, &name).await?,
        // Overrides profiles and endpoints from the environment.
        None => {
            command.env("MLOPS_LOCAL", "1");
        }
    }
    if step.program == Program::Git
        && let Some(repository) = Repository::find(directory)?
        && !repository.has_identity()?
    {
        for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"] {
            command.env(name, "mlops demo");
        }
        command.env("EMAIL", "mlops@localhost");
    }
    if ctx.output.format() == Format::Json || ctx.config.quiet {
        // stdout is reserved for the demo's own report.
        command.stdout(Stdio::null());
    }
    if ctx.config.quiet {
        command.stderr(Stdio::null());
    }
    let status = command
        .status()
        .await
        .with_context(|| format!("cannot run `{}`", step.shown()))
        .hint("install git and Python 3, and make sure that both are on PATH")?;
    status
        .code()
        .ok_or_else(|| anyhow!("`{}` was terminated by a signal", step.shown()))
}

impl Report for DemoReport {}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nDone in {:.0} s: all {} commands behaved as expected.",
            self.seconds,
            self.steps.len()
        )?;
        if let Some(program) = &self.program {
            let path = program.display();
            writeln!(f, "`mlops` is not on PATH; its path is {path}")?;
        }
        writeln!(f, "Explore the project:\n")?;
        let word = |path: &Path| shell::word(&path.to_string_lossy());
        let mlops = self.program.as_deref().map_or("mlops".to_owned(), word);
        writeln!(f, "  cd {}", word(&self.directory))?;
        writeln!(f, "  {mlops} models list")?;
        writeln!(f, "  {mlops} runs list")?;
        write!(f, "  open drift.html in a browser")
    }
}
