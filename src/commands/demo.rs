//! `mlops demo`: the whole story on the local cloud, told by this same binary.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use tokio::process::Command;

use crate::aws::{AwsResultExt, Clients};
use crate::context::Context;
use crate::error::{Failure, Hint};
use crate::git::Repository;
use crate::output::{Format, Report};

/// Show the whole story on a local cloud, with real data
///
/// Writes the example project (predicting the delay of flights) into DIR and runs the commands of
/// a working day in it, printing each one: init, image push, data push, validate, train, promote,
/// monitor, lineage. It needs Python 3 and git; no AWS account, no Docker. DIR stays for you to
/// explore.
///
/// Example: mlops demo flights
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// A new or empty directory (default: mlops-demo, or mlops-demo-2, …)
    directory: Option<PathBuf>,
}

/// One command of the story.
struct Step {
    /// What the reader is told before it.
    story: &'static str,
    program: Program,
    arguments: &'static [&'static str],
    /// The exit code that it must end with.
    exit: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Mlops,
    Git,
    /// Not a command: requests of a later month reach the endpoint.
    Traffic,
}

const fn mlops(story: &'static str, arguments: &'static [&'static str], exit: i32) -> Step {
    Step {
        story,
        program: Program::Mlops,
        arguments,
        exit,
    }
}

const fn git(story: &'static str, arguments: &'static [&'static str]) -> Step {
    Step {
        story,
        program: Program::Git,
        arguments,
        exit: 0,
    }
}

/// The file whose rows reach the endpoint, and how many rows a request has.
const TRAFFIC: (&str, usize) = ("data/production/july.csv", 20);

const STORY: &[Step] = &[
    mlops(
        "1. A team gets its project, and the account gets the architecture.",
        &["--local", "init", "--name", "flights", "--yes"],
        0,
    ),
    git(
        "   The code goes to CodeCommit.",
        &["push", "--quiet", "codecommit", "develop"],
    ),
    mlops(
        "2. The program becomes a container image in ECR.",
        &["--local", "image", "push"],
        0,
    ),
    mlops(
        "3. The training data becomes a version in S3.",
        &["--local", "data", "push", "data/train", "flights"],
        0,
    ),
    mlops(
        "   What the data looks like becomes the baseline that the team agrees on.",
        &[
            "validate",
            "--suggest",
            "data/train",
            "--output-dir",
            "baseline",
        ],
        0,
    ),
    git("", &["add", "baseline"]),
    git(
        "",
        &["commit", "--quiet", "-m", "Baseline of the training data"],
    ),
    mlops("   A good file passes.", &["validate", "data/good.csv"], 0),
    mlops(
        "   A spoiled file is refused.",
        &["validate", "data/spoiled.csv"],
        3,
    ),
    mlops(
        "4. The pipeline runs: preprocess, train, evaluate, gate, register.",
        &["--local", "train", "--branch", "develop"],
        0,
    ),
    mlops(
        "5. Version 1 is approved and serves predictions.",
        &["--local", "promote", "1", "--yes"],
        0,
    ),
    Step {
        story: "6. Months later: other flights reach the endpoint.",
        program: Program::Traffic,
        arguments: &[],
        exit: 0,
    },
    mlops(
        "   The monitor compares what was captured with the baseline, and finds drift.",
        &["--local", "monitor", "run"],
        3,
    ),
    mlops(
        "   The same as a page to send around.",
        &["--local", "monitor", "report", "--html", "drift.html"],
        0,
    ),
    mlops("7. Where everything stands.", &["--local", "status"], 0),
    mlops(
        "   What the served model was made of.",
        &["--local", "lineage"],
        0,
    ),
];

/// What the demo did.
#[derive(Debug, Serialize)]
pub struct Told {
    directory: PathBuf,
    steps: Vec<Done>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Done {
    command: String,
    exit: i32,
    seconds: f64,
}

/// Tells the story.
pub async fn run(ctx: &Context, args: &DemoArgs) -> Result<Told> {
    let directory = prepare(ctx, args.directory.as_deref())?;
    let start = Instant::now();
    let mut steps = Vec::new();
    for step in STORY {
        let begun = Instant::now();
        let command = shown(step);
        if !step.story.is_empty() {
            ctx.progress.say(format!(
                "\n{}",
                console::style(step.story).bold().for_stderr()
            ));
        }
        ctx.progress.say(format!(
            "{}",
            console::style(format!("$ {command}")).cyan().for_stderr()
        ));
        let exit = match step.program {
            Program::Traffic => traffic(ctx, &directory).await?,
            Program::Mlops | Program::Git => execute(ctx, step, &directory).await?,
        };
        if exit != step.exit {
            return Err(anyhow!(
                "`{command}` ended with exit code {exit} instead of {}",
                step.exit
            ))
            .hint(format!("look around in {}", directory.display()));
        }
        if step.exit != 0 {
            ctx.progress
                .say(format!("(exit code {exit}, as it should)"));
        }
        steps.push(Done {
            command,
            exit,
            seconds: begun.elapsed().as_secs_f64(),
        });
    }
    Ok(Told {
        directory,
        steps,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Makes the directory, or takes an empty one.
fn prepare(ctx: &Context, wanted: Option<&Path>) -> Result<PathBuf> {
    let directory = match wanted {
        Some(directory) => ctx.config.directory.join(directory),
        None => (1..)
            .map(|n| match n {
                1 => "mlops-demo".to_owned(),
                n => format!("mlops-demo-{n}"),
            })
            .map(|name| ctx.config.directory.join(name))
            .find(|directory| !directory.exists())
            .context("no name is free")?,
    };
    if std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!(
            "{} is not empty",
            directory.display()
        )))
        .hint("name a new directory: mlops demo DIR");
    }
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

fn shown(step: &Step) -> String {
    let words = step.arguments.iter().map(|word| {
        if word.contains(' ') {
            format!("\"{word}\"")
        } else {
            (*word).to_owned()
        }
    });
    match step.program {
        Program::Mlops => format!("mlops {}", words.collect::<Vec<_>>().join(" ")),
        Program::Git => format!("git {}", words.collect::<Vec<_>>().join(" ")),
        Program::Traffic => format!("(the application sends the rows of {})", TRAFFIC.0),
    }
}

/// Runs one command as a reader would; what it prints is shown as it comes.
async fn execute(ctx: &Context, step: &Step, directory: &Path) -> Result<i32> {
    let mut command = match step.program {
        Program::Git => Command::new("git"),
        _ => Command::new(std::env::current_exe()?),
    };
    command
        .args(step.arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    if step.program == Program::Git && !Repository::discover(directory)?.has_identity()? {
        for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"] {
            command.env(name, "mlops demo");
        }
        command.env("EMAIL", "mlops@localhost");
    }
    if ctx.output.format() == Format::Json || ctx.config.quiet {
        // stdout belongs to the demo's own report.
        command.stdout(Stdio::null());
    }
    if ctx.config.quiet {
        command.stderr(Stdio::null());
    }
    let status = command
        .status()
        .await
        .with_context(|| format!("cannot run `{}`", shown(step)))
        .hint("the demo needs git and Python 3 on PATH")?;
    status
        .code()
        .ok_or_else(|| anyhow!("`{}` was ended by a signal", shown(step)))
}

/// Sends the rows of a later month to the endpoint, as the application would.
async fn traffic(ctx: &Context, directory: &Path) -> Result<i32> {
    let connection = crate::local::connect(&directory.join(".mlops/local"), &ctx.progress).await?;
    let clients = Clients::of_endpoint(
        &connection.endpoint,
        &connection.access_key,
        &connection.secret_key,
        None,
    );
    let path = directory.join(TRAFFIC.0);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let rows: Vec<&str> = text.lines().collect();
    let task = ctx.progress.items("sending requests", rows.len() as u64);
    for batch in rows.chunks(TRAFFIC.1) {
        clients
            .runtime
            .invoke_endpoint()
            .endpoint_name("flights")
            .content_type("text/csv")
            .accept("text/csv")
            .body(aws_sdk_sagemakerruntime::primitives::Blob::new(
                format!("{}\n", batch.join("\n")).into_bytes(),
            ))
            .send()
            .await
            .aws("cannot invoke the endpoint")?;
        task.advance(batch.len() as u64);
    }
    task.done(format!("{} flights got a prediction", rows.len()));
    Ok(0)
}

impl Report for Told {}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nThe whole story in {:.0} s: {} commands did what they should.",
            self.seconds,
            self.steps.len()
        )?;
        writeln!(f, "It is all still there:\n")?;
        writeln!(f, "  cd {}", self.directory.display())?;
        writeln!(f, "  mlops --local models list")?;
        writeln!(f, "  mlops --local runs list")?;
        write!(f, "  open drift.html in a browser")
    }
}
