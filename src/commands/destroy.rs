//! `mlops destroy`: deletes what `mlops init` and the other commands created.

use anyhow::Result;
use mlops_core::error::Exit;

use crate::aws::delivery::executions;
use crate::aws::{Clients, hosting, removal};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, DeployedStack, Part};
use crate::releases::prune;

mod proof;
mod report;
mod stack;

pub use report::Destroyed;
use report::{Content, Fate, StackFate};

/// Delete the architecture from the account
///
/// Lists what will be deleted and asks. Stops executions, builds and runs. Deletes the stacks in
/// reverse order: the pipelines of the branches, the endpoint with its models, the validation
/// function, the notebook, the roles and the network, and the project's log groups. Keeps what
/// cannot be created again (data, artifacts, captured traffic, images, model versions, git
/// repositories and their key), unless --delete-data is given. Reads everything back at the end.
/// After an interruption, run the command again.
///
/// Example: mlops destroy --dry-run
#[derive(Debug, clap::Args)]
pub struct DestroyArgs {
    /// Also delete data, artifacts, captured traffic, images, model versions, runs, git
    /// repositories and their key
    #[arg(long)]
    delete_data: bool,
    /// List what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// The command that deletes everything.
const WITH_DATA: &str = "destroy --delete-data";

/// Runs the command.
pub async fn run(ctx: &Context, args: &DestroyArgs) -> Result<Destroyed> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let stacks = infra::deployed_stacks(clients, &project).await?;
    let name = project.file.name.as_str();
    let groups = removal::log_groups(clients, name).await?;
    let running = removal::running(clients, name).await?.into_iter();
    let mut report = Destroyed::new(&project, args.delete_data, args.dry_run);
    for stack in &stacks {
        report.stacks.push(StackFate {
            stack: stack.name.clone(),
            fate: if args.delete_data || !stack.part.holds_data() {
                Fate::Deleted
            } else {
                Fate::Kept
            },
            resources: stack.resources.len(),
            contents: contents(stack, name).collect(),
        });
    }
    report.log_groups = groups;
    report.runs = running.map(|(_, run)| run).collect();
    if !args.dry_run && !report.is_empty() {
        for line in report.list() {
            ctx.progress.say(line);
        }
        ctx.prompt.require(&format!(
            "Delete this from account {} ({})?",
            project.file.account, project.file.region
        ))?;
        delete(ctx, clients, &project, &stacks, args.delete_data).await?;
    }
    if !args.dry_run {
        let found = proof::read_back(clients, &project, &stacks, args.delete_data).await?;
        report.checked = found.checked;
        (report.left, report.remedies) = found.left.into_iter().unzip();
    }
    report.next = ctx.command(WITH_DATA);
    report.exit = if report.left.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    Ok(report)
}

/// The resources of a stack with content of their own.
fn contents<'a>(
    stack: &'a DeployedStack,
    project: &'a str,
) -> impl Iterator<Item = Content> + use<'a> {
    const KINDS: [(&str, &str); 6] = [
        ("AWS::S3::Bucket", "bucket"),
        ("AWS::KMS::Key", "key"),
        ("AWS::ECR::Repository", "image repository"),
        ("AWS::CodeCommit::Repository", "git repository"),
        ("AWS::SageMaker::ModelPackageGroup", "model versions"),
        (
            "AWS::SageMaker::NotebookInstance",
            "notebook and its volume",
        ),
    ];
    KINDS.into_iter().flat_map(move |(kind, word)| {
        let all = stack.resources.iter();
        all.filter(move |resource| resource.r#type == kind)
            .map(move |resource| Content {
                kind: word,
                name: match resource.name.as_str() {
                    // Their ids are not their names.
                    "ImageRepository" => project.to_owned(),
                    "EdaRepository" => format!("{project}-eda"),
                    _ => {
                        let id = resource.id.as_str();
                        id.rsplit('/').next().unwrap_or(id).to_owned()
                    }
                },
            })
    })
}

async fn delete(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    stacks: &[DeployedStack],
    with_data: bool,
) -> Result<()> {
    let _note = ctx.on_interrupt(format!(
        "what was deleted stays deleted; run `{}` again to finish",
        ctx.command(if with_data { WITH_DATA } else { "destroy" })
    ));
    let name = project.file.name.as_str();
    // Nothing is deleted if the data of one stack cannot be deleted with it.
    if with_data {
        for stack in stacks.iter().filter(|stack| stack.part.holds_data()) {
            infra::unprotect(clients, ctx.waiter, &ctx.progress, stack).await?;
        }
    }
    let pipelines = |stack: &&DeployedStack| stack.part == Part::Delivery;
    // First, so that no build starts another run.
    if stacks.iter().any(|stack| pipelines(&stack)) {
        for execution in executions::stop_all(clients, ctx.waiter, name).await? {
            ctx.progress.say(format!("{execution}: stopped"));
        }
    }
    for stack in stacks.iter().filter(pipelines) {
        stack::delete(ctx, clients, stack).await?;
    }
    for run in removal::stop_runs(clients, ctx.waiter, name).await? {
        ctx.progress.say(format!("run {run}: stopped"));
    }
    if with_data && removal::delete_pipeline(clients, name).await? {
        ctx.progress
            .say(format!("pipeline {name} and its runs: deleted"));
    }
    let rest = stacks.iter().filter(|stack| !pipelines(stack));
    for stack in rest.filter(|stack| with_data || !stack.part.holds_data()) {
        stack::delete(ctx, clients, stack).await?;
    }
    match hosting::endpoint(clients, name).await? {
        Some(endpoint) => ctx.progress.say(format!(
            "the endpoint {} still exists ({}), so the models and configurations of its releases are kept: it \
             does not belong to a stack of the project",
            endpoint.name, endpoint.status
        )),
        None => {
            for left in prune::everything(clients, name).await? {
                ctx.progress.say(format!("{left} of a release: deleted"));
            }
        }
    }
    // Last, because everything above could still write to them.
    for group in removal::log_groups(clients, name).await? {
        removal::delete_log_group(clients, &group).await?;
        ctx.progress.say(format!("log group {group}: deleted"));
    }
    Ok(())
}
