//! The deployment of the stacks.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::future::join_all;

use super::report::Deployed;
use crate::aws::{self, Clients};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Inputs, Part, Program, StackSpec};

/// Outputs of stacks.
type Outputs = BTreeMap<String, String>;

/// The stacks that were deployed, and their outputs.
#[derive(Debug, Default)]
pub(super) struct Deployments {
    done: BTreeMap<Part, Deployed>,
    /// The outputs of all of them.
    pub(super) outputs: Outputs,
}

impl Deployments {
    /// The stacks in the order of the parts.
    pub(super) fn into_stacks(self) -> Vec<Deployed> {
        self.done.into_values().collect()
    }

    /// Deploys some of the stacks; those that import nothing from each other, at the same time.
    pub(super) async fn deploy(
        &mut self,
        ctx: &Context,
        clients: &Clients,
        project: &Project,
        parts: impl Iterator<Item = Part>,
        program: Option<&Program>,
    ) -> Result<()> {
        let inputs = Inputs {
            analyzer: None,
            program: program.cloned(),
        };
        let mut waiting: Vec<Part> = parts.collect();
        while !waiting.is_empty() {
            let (ready, later): (Vec<Part>, Vec<Part>) = waiting.into_iter().partition(|part| {
                let spec = infra::initial_stack(project, *part, &inputs);
                spec.imports().all(|from| self.done.contains_key(&from))
            });
            let ready = ready.into_iter().map(async |part| {
                let deployed = if part == Part::Registry {
                    registry(ctx, clients, project).await
                } else {
                    let spec = infra::initial_stack(project, part, &inputs);
                    deploy(ctx, clients, &spec).await
                };
                (part, deployed)
            });
            // Wait for all of them, even if one fails: a stack still in progress would block the next attempt.
            for (part, deployed) in join_all(ready).await {
                let (deployed, new) = deployed?;
                self.done.insert(part, deployed);
                self.outputs.extend(new);
            }
            waiting = later;
        }
        Ok(())
    }
}

/// Deploys a stack.
pub(super) async fn deploy(
    ctx: &Context,
    clients: &Clients,
    spec: &StackSpec,
) -> Result<(Deployed, Outputs)> {
    let outcome = infra::deploy(clients, ctx.waiter, &ctx.progress, spec).await?;
    let deployed = Deployed {
        stack: outcome.stack,
        action: outcome.action,
        changes: outcome.changes.len(),
    };
    Ok((deployed, outcome.outputs))
}

/// Deploys the registry, and pushes the analyzer's image to it.
async fn registry(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
) -> Result<(Deployed, Outputs)> {
    let analyzer = aws::analyzer::own(&ctx.config.cache, ctx.config.is_local()).await?;
    if analyzer.is_none() {
        ctx.progress.say(format!(
            "the analyzer's image can only be built on Linux (x86-64): run `{}` there",
            ctx.command("image push --analyzer")
        ));
    }
    let before = infra::outputs(clients, &Part::Registry.stack(&project.file.name)).await?;
    let digest = match (&analyzer, &before) {
        (Some(image), _) => Some(image.digest()),
        (None, Some(before)) => infra::analyzer_digest(before)?,
        (None, None) => None,
    };
    let login = || ctx.registry(clients);
    let push = async |outputs: &Outputs| match (&analyzer, outputs.get("ImageRepositoryName")) {
        (Some(image), Some(name)) => {
            aws::analyzer::ensure(clients, &ctx.progress, name, image, login).await?;
            Ok(true)
        }
        _ => anyhow::Ok(false),
    };
    // The output names an existing image: if the repository exists, the image is pushed first.
    let is_pushed = match &before {
        Some(before) => push(before).await?,
        None => false,
    };
    let inputs = Inputs {
        analyzer: digest,
        program: None,
    };
    let spec = infra::initial_stack(project, Part::Registry, &inputs);
    let (deployed, outputs) = deploy(ctx, clients, &spec).await?;
    if !is_pushed {
        push(&outputs).await?;
    }
    Ok((deployed, outputs))
}
