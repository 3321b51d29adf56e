//! The registry, and the analyzer's image in it.

use anyhow::Result;
use mlops_oci::Image;

use super::Outputs;
use super::report::Deployed;
use crate::aws::{self, Clients};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part};

/// Deploys the registry, and pushes the analyzer's image to it.
pub(super) async fn deploy(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    stacks: &mut Vec<Deployed>,
) -> Result<Outputs> {
    let analyzer = analyzer(ctx).await?;
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
    let spec = infra::registry_stack(project, digest);
    let outputs = super::deploy(ctx, clients, &spec, stacks).await?;
    if !is_pushed {
        push(&outputs).await?;
    }
    Ok(outputs)
}

/// Returns the image of this program if an instance can run it.
async fn analyzer(ctx: &Context) -> Result<Option<Image>> {
    let runs =
        cfg!(target_os = "linux") && aws::analyzer::check_machine(ctx.config.is_local()).is_ok();
    if runs {
        return aws::analyzer::build(&ctx.config.cache).await.map(Some);
    }
    ctx.progress.say(format!(
        "the analyzer's image can only be built on Linux (x86-64): run `{}` there",
        ctx.command("image push --analyzer")
    ));
    Ok(None)
}
