//! The image of a run: the one given on the command line, that of the working tree, or that of the
//! branch.

use anyhow::Result;
use mlops_core::error::Failure;
use mlops_core::names::BranchName;
use mlops_oci::Digest;

use crate::aws::Clients;
use crate::aws::branch_image::{self, BranchImage, Registries};
use crate::config::Project;
use crate::context::Context;
use crate::pin::Rule;
use crate::project_image::{self, Revision};

/// Checks an image of the command line, as far as possible without a remote call.
pub(super) fn check_image(
    given: Option<Digest>,
    is_parameter: bool,
    branch: &BranchName,
    rule: &Rule,
) -> Result<()> {
    match given {
        Some(_) if !is_parameter => Err(Failure::usage(
            "--image has no effect: the pipeline does not declare the parameter ImageUri, or -p sets it",
        )),
        Some(digest) => branch_image::require_pin(branch, rule, digest),
        None => Ok(()),
    }
}

/// Resolves the image, and says which it is.
pub(super) async fn image(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    place: Registries<'_>,
    (branch, rule): (&BranchName, &Rule),
    tree: Option<&Revision>,
    given: Option<Digest>,
) -> Result<BranchImage> {
    let image = match (given, tree) {
        (Some(digest), _) => branch_image::given(clients, place, branch, rule, digest).await?,
        (None, Some(tree)) if has_program(project, rule) => {
            project_image::of_working_tree(ctx, clients, project, place.repository, tree).await?
        }
        (None, _) => branch_image::find(clients, place, branch, rule).await?,
    };
    ctx.progress
        .say(format!("image {} ({})", image.digest, image.why));
    Ok(image)
}

/// Returns whether to package the working tree's program: a pin deliberately selects another image,
/// and images can be built elsewhere.
fn has_program(project: &Project, rule: &Rule) -> bool {
    let directory = project.path(&project.file.image.directory);
    !matches!(rule, Rule::Pinned(_)) && directory.is_dir()
}
