//! Resolves the inputs of a run: the definition of a commit, an image by digest, a version of the
//! data.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::BranchName;
use mlops_oci::Digest;
use mlops_pipeline::{Definition, bind};
use sha2::{Digest as _, Sha256};

use super::inputs;
use crate::aws::branch_image::Registries;
use crate::aws::sagemaker::models::DIRTY;
use crate::aws::sagemaker::runs::Origin;
use crate::aws::{Clients, ecr};
use crate::config::Project;
use crate::context::Context;
use crate::git::Repository;
use crate::infra;
use crate::pin::{Pin, Rule};
use crate::project_data;
use crate::project_image::Revision;

/// Maximum size in bytes of a definition; SageMaker's limit (`CreatePipeline`).
const LARGEST_DEFINITION: u64 = 1 << 20;

/// Parameters that `mlops train` sets if a definition declares them.
const STANDARD: &[&str] = &[
    "ImageUri",
    "InputDataUri",
    "InputDataVersion",
    "CommitId",
    "ModelPackageGroupName",
    "RoleArn",
    "ArtifactBucket",
];

/// Returns the definition of a branch's head commit, or of the working tree.
#[derive(Debug)]
pub(super) struct PipelineSource {
    branch: BranchName,
    commit: String,
    /// The git state of the working tree, if that is what runs.
    tree: Option<Revision>,
    rule: Rule,
    text: String,
    definition: Definition,
}

/// The requirements of the definition and the command line.
#[derive(Debug)]
pub(super) struct RequestedParameters {
    given: BTreeMap<String, String>,
    /// Standard parameters to resolve.
    missing: BTreeSet<&'static str>,
    data_version: Option<String>,
    image: Option<Digest>,
}

/// Everything that a start needs.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) definition: String,
    pub(super) role: String,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) origin: Origin,
}

/// Reads and checks the definition, without a remote call.
pub(super) fn source(
    project: &Project,
    branch: Option<&BranchName>,
    working_tree: bool,
) -> Result<PipelineSource> {
    let repository = Repository::discover(&project.root)?;
    let tree = working_tree
        .then(|| Revision::read(project, branch, true))
        .transpose()?;
    let branch = match (&tree, branch) {
        (Some(tree), _) => tree.branch.clone(),
        (None, Some(branch)) => branch.clone(),
        (None, None) => repository.branch_or(&project.file.branches.develop)?,
    };
    let path = &project.file.pipeline.definition;
    if path.extension().is_some_and(|extension| extension == "py") {
        return Err(Failure::usage(format!(
            "{} is a program: `mlops train` reads only pipeline definitions in JSON",
            path.display()
        )))
        .hint("run `python pipeline.py > pipeline.json`, and set [pipeline] definition in mlops.toml to that file");
    }
    let (commit, bytes, pin) = if let Some(tree) = &tree {
        let bytes = project.read_file(path, LARGEST_DEFINITION)?;
        (tree.commit.clone(), bytes, Pin::in_tree(&project.root)?)
    } else {
        let commit = repository.require_branch(&branch)?;
        let bytes = repository
            .show(&commit, path)?
            .ok_or_else(|| anyhow!("the branch `{branch}` has no {}", path.display()))
            .hint("commit it, or name another file in mlops.toml, [pipeline] definition")?;
        let pin = Pin::at(&repository, &commit, &format!("`{branch}`"))?;
        (commit, bytes, pin)
    };
    let place = path.display();
    let text = String::from_utf8(bytes).with_context(|| format!("{place} is not UTF-8 text"))?;
    let definition = Definition::checked(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
        Failure::usage(format!(
            "{place} of `{branch}` is invalid:{}",
            lines.concat()
        ))
    })?;
    Ok(PipelineSource {
        rule: Rule::of(&project.file.branches, &branch, pin.as_ref()),
        branch,
        commit,
        tree,
        text,
        definition,
    })
}

/// Checks the parameters against the definition, as far as possible without a remote call.
pub(super) fn check_parameters(
    source: &PipelineSource,
    parameters: &[(String, String)],
    data_version: Option<&str>,
    image: Option<Digest>,
) -> Result<RequestedParameters> {
    let mut given = BTreeMap::new();
    for (name, value) in parameters {
        if given.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("-p {name} is given twice")));
        }
    }
    let declared = |name: &str| source.definition.parameter(name).is_some();
    let missing: BTreeSet<&'static str> = STANDARD
        .iter()
        .copied()
        .filter(|name| declared(name) && !given.contains_key(*name))
        .collect();
    if data_version.is_some() && !missing.contains("InputDataUri") {
        return Err(Failure::usage(
            "--data-version has no effect: the pipeline does not declare the parameter InputDataUri",
        ));
    }
    let has_image = missing.contains("ImageUri");
    inputs::check_image(image, has_image, &source.branch, &source.rule)?;
    let mut all = given.clone();
    for name in &missing {
        // A placeholder: only the other parameters can be invalid here.
        all.insert((*name).to_owned(), "-".to_owned());
    }
    bind(&source.definition, &all)
        .map_err(|problems| Failure::usage(problems.join("\n  ")))
        .hint("set parameters with -p NAME=VALUE")?;
    Ok(RequestedParameters {
        given,
        missing,
        data_version: data_version.map(str::to_owned),
        image,
    })
}

/// Resolves the standard parameters; nothing is started yet.
pub(super) async fn start(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    source: PipelineSource,
    wanted: RequestedParameters,
) -> Result<Start> {
    let platform = infra::platform(clients, project).await?;
    let mut origin = Origin {
        branch: Some(source.branch.to_string()),
        commit: Some(source.commit.clone()),
        definition_sha256: Some(hex::encode(Sha256::digest(source.text.as_bytes()))),
        dirty: source.tree.is_some(),
        build: ctx.config.build.clone(),
        ..Origin::default()
    };
    let mut parameters = wanted.given;
    let mut set = |name: &str, value: String| {
        if wanted.missing.contains(name) {
            parameters.insert(name.to_owned(), value);
        }
    };
    set(
        "CommitId",
        match &source.tree {
            Some(_) => format!("{}{DIRTY}", source.commit),
            None => source.commit.clone(),
        },
    );
    set("RoleArn", platform.execution_role.clone());
    set("ArtifactBucket", platform.artifact_bucket.clone());
    set(
        "ModelPackageGroupName",
        platform.model_package_group.clone(),
    );
    if wanted.missing.contains("ImageUri") {
        let place = Registries {
            project: project.file.name.as_str(),
            repository: &platform.image_repository,
            group: &platform.model_package_group,
        };
        let branch = (&source.branch, &source.rule);
        let tree = source.tree.as_ref();
        let image = inputs::image(ctx, clients, project, place, branch, tree, wanted.image).await?;
        // Not the stack's output: a local cloud may have had a different port when it was created.
        let uri = ecr::repository_uri(clients, &platform.image_repository).await?;
        set("ImageUri", uri.at(image.digest).to_string());
        origin.image = Some(image.digest);
        origin.image_why = Some(image.why.to_string());
    }
    if wanted.missing.contains("InputDataUri") || wanted.missing.contains("InputDataVersion") {
        let (bucket, dataset) = (&platform.data_bucket, project.dataset());
        let requested = wanted.data_version.as_deref();
        let data = project_data::snapshot(ctx, clients, bucket, &dataset, requested).await?;
        set("InputDataUri", data.uri.to_string());
        set("InputDataVersion", data.version.clone());
        origin.data_version = Some(data.version);
    }
    Ok(Start {
        definition: source.text,
        role: platform.execution_role,
        parameters,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 8, 5.9.
    #[test]
    fn the_contract_names_every_parameter() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contract.md");
        let page = std::fs::read_to_string(page).unwrap();
        for name in STANDARD {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
