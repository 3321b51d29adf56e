//! Dynamic completions: the shell calls the program at each TAB, so that it can offer runs,
//! versions, branches and steps. Network lookups get one second, and completing never starts
//! anything.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::{Arg, Command, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use mlops_pipeline::Definition;

use crate::aws::project_runs::newest;
use crate::aws::sagemaker::models;
use crate::config::{Config, GlobalArgs};
use crate::context::{Context, Interrupts};
use crate::git::Repository;

/// Environment variable that a shell sets to request completions.
const VARIABLE: &str = "MLOPS_COMPLETE";

/// Largest definition, in bytes, whose steps are offered: SageMaker's limit.
const LARGEST_DEFINITION: u64 = 1 << 20;

/// Maximum time to compute candidates; the shell blocks during that time.
const LIMIT: Duration = Duration::from_secs(1);

/// Number of newest runs and versions to offer.
const NEWEST: usize = 20;

/// Responds to a shell that requests completions; returns false for any other command line.
///
/// # Errors
/// The shell is not supported, or stdout cannot be written.
pub fn complete() -> Result<bool, clap::Error> {
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(super::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), directory.as_deref())
}

/// Returns the script that configures a shell.
///
/// # Errors
/// There is no script for this shell.
pub fn script(shell: &str) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let shells = Shells::builtins();
    let shell = shells
        .completer(shell)
        .ok_or_else(|| std::io::Error::other(format!("no completions for {shell}")))?;
    shell.write_registration(VARIABLE, "mlops", "mlops", "mlops", &mut text)?;
    Ok(text)
}

/// Attaches a completer to each argument that has dynamic values.
pub(super) fn apply(command: Command) -> Command {
    let mut command = command.mut_args(|argument| {
        let argument = match argument.get_id().as_str() {
            "run" => offer(argument, run_ids),
            "version" | "other" => offer(argument, versions),
            "branch" => offer(argument, branches),
            "step" => offer(argument, steps),
            _ => argument,
        };
        let takes_files = ["data", "source", "from"].contains(&argument.get_id().as_str());
        if takes_files && argument.get_value_hint() == ValueHint::Unknown {
            return argument.value_hint(ValueHint::AnyPath);
        }
        argument
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|found| found.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(&name, apply);
    }
    command
}

fn offer(argument: Arg, candidates: fn() -> Vec<CompletionCandidate>) -> Arg {
    if argument.get_action().takes_values() {
        argument.add(ArgValueCandidates::new(candidates))
    } else {
        argument
    }
}

/// Returns the candidates, each with a line of help.
fn described(found: impl IntoIterator<Item = (String, String)>) -> Vec<CompletionCandidate> {
    found
        .into_iter()
        .map(|(value, help)| CompletionCandidate::new(value).help(Some(help.into())))
        .collect()
}

fn branches() -> Vec<CompletionCandidate> {
    let found = Repository::discover(Path::new(".")).and_then(|repository| repository.branches());
    found
        .unwrap_or_default()
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}

/// Returns the steps of the pipeline definition in the working tree.
fn steps() -> Vec<CompletionCandidate> {
    let read = || {
        let project = context()?.project()?;
        let path = project.path(&project.file.pipeline.definition);
        let found = std::fs::metadata(&path)?;
        if !found.is_file() || found.len() > LARGEST_DEFINITION {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(path)?;
        let definition = Definition::parse(&text)?;
        anyhow::Ok(
            definition
                .steps
                .iter()
                .map(|step| step.name.clone())
                .collect(),
        )
    };
    let found: Vec<String> = read().unwrap_or_default();
    found.into_iter().map(CompletionCandidate::new).collect()
}

fn run_ids() -> Vec<CompletionCandidate> {
    request(async |ctx| {
        let project = ctx.project()?;
        let clients = ctx.aws().await?;
        let history = newest(clients, project.file.name.as_str(), NEWEST).await?;
        Ok(history.states())
    })
}

fn versions() -> Vec<CompletionCandidate> {
    request(async |ctx| {
        let project = ctx.project()?;
        let found = models::list(ctx.aws().await?, project.file.name.as_str(), NEWEST).await?;
        Ok(found
            .into_iter()
            .map(|version| (version.version.to_string(), version.status.to_string()))
            .collect())
    })
}

/// Queries the cloud; an error or a timeout yields no candidates.
fn request(
    question: impl AsyncFnOnce(&Context) -> Result<Vec<(String, String)>>,
) -> Vec<CompletionCandidate> {
    let answer = || -> Result<Vec<(String, String)>> {
        let ctx = context()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(async {
            let candidates = async {
                if !is_available(&ctx).await {
                    return Ok(Vec::new());
                }
                question(&ctx).await
            };
            tokio::time::timeout(LIMIT, candidates).await
        });
        runtime.shutdown_background();
        answer?
    };
    described(answer().unwrap_or_default())
}

/// A completion does not start a local cloud.
#[cfg(feature = "local")]
async fn is_available(ctx: &Context) -> bool {
    !ctx.config.local
        || mlops_local_cloud::status(&crate::config::LOCAL_HOST, &ctx.config.local_state())
            .await
            .is_ok_and(|status| status.running)
}

#[cfg(not(feature = "local"))]
#[expect(
    clippy::unused_async,
    reason = "the same signature as with the feature"
)]
async fn is_available(ctx: &Context) -> bool {
    !ctx.config.local
}

/// Returns a quiet context with the flags of the command line being completed.
fn context() -> Result<Context> {
    let global = flags(std::env::args_os().skip_while(|word| word != "--").skip(1));
    let mut config = Config::load(&global)?;
    config.quiet = true;
    Ok(Context::new(config, Interrupts::default()))
}

/// Extracts the flags that select the cloud; clap would reject the incomplete line.
fn flags(words: impl Iterator<Item = OsString>) -> GlobalArgs {
    let mut found = GlobalArgs::default();
    let mut words = words.filter_map(|word| word.into_string().ok());
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let slot = match name {
            "--local" => {
                found.local = Some(value.as_deref() != Some("false"));
                continue;
            }
            "--profile" => &mut found.profile,
            "--region" => &mut found.region,
            "--endpoint-url" => &mut found.endpoint_url,
            _ => continue,
        };
        *slot = value.or_else(|| words.next());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_incomplete_line_are_found() {
        let line = "mlops --profile team runs logs --region=eu-west-1 --local --nothing";
        let found = flags(line.split(' ').map(OsString::from));
        assert_eq!(found.profile.as_deref(), Some("team"));
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
        assert!(found.local == Some(true) && found.endpoint_url.is_none());
    }
}
