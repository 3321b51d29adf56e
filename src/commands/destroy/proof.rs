//! Reads back, through each service, that nothing is left.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::aws::state::StackStatusExt as _;
use crate::aws::{AwsResultExt, Clients, Missing, cloudformation, ecr, hosting, removal};
use crate::config::Project;
use crate::infra::{self, DeployedStack, PARTS, Part};

/// What was read back.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many things were looked for.
    pub(super) checked: usize,
    /// What exists although it was to be deleted, and how it is removed.
    pub(super) left: Vec<(String, String)>,
}

impl Found {
    fn add(&mut self, what: String, exists: bool, remedy: impl Into<String>) {
        self.checked += 1;
        if exists {
            self.left.push((what, remedy.into()));
        }
    }
}

/// What removes a thing that the next run finds.
const AGAIN: &str = "run the command again";

/// Looks for everything that was to be deleted, by its name, and for what the deleted stacks left behind.
pub(super) async fn read_back(
    clients: &Clients,
    project: &Project,
    deleted: &[DeployedStack],
    with_data: bool,
) -> Result<Found> {
    let name = project.file.name.as_str();
    let mut found = Found::default();
    let parts = PARTS
        .into_iter()
        .filter(|part| with_data || !part.holds_data());
    let mut names: BTreeSet<String> = parts.map(|part| part.stack(&project.file.name)).collect();
    let branches = deleted.iter().filter(|stack| stack.part == Part::Delivery);
    names.extend(branches.map(|stack| stack.name.clone()));
    for stack in names {
        let read = cloudformation::stack(clients, &stack).await?;
        let exists = read.is_some_and(|stack| !stack.status.is_empty());
        found.add(format!("stack {stack}"), exists, AGAIN);
    }
    let endpoint = hosting::endpoint(clients, name).await?;
    let remedy = format!("aws sagemaker delete-endpoint --endpoint-name {name}");
    found.add(format!("endpoint {name}"), endpoint.is_some(), remedy);
    let running = removal::running(clients, name).await?;
    found.checked += 1;
    for (_, run) in running {
        found.left.push((format!("run {run}"), AGAIN.to_owned()));
    }
    let notebook = format!("{name}-notebook");
    let listed = clients.sagemaker.list_notebook_instances();
    let mut pages = listed.name_contains(&notebook).into_paginator().send();
    let mut exists = false;
    while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot look for the notebook {notebook}"))?;
        let mut all = page.notebook_instances().iter();
        exists |= all.any(|found| found.notebook_instance_name() == Some(&notebook));
    }
    let remedy = "stop and delete it in the SageMaker console";
    found.add(format!("notebook {notebook}"), exists, remedy);
    let groups = removal::log_groups(clients, name).await?;
    found.checked += 1;
    for group in groups {
        let what = format!("log group {group}");
        found.left.push((what, AGAIN.to_owned()));
    }
    if with_data {
        look_for_data(clients, project, deleted, &mut found).await?;
    }
    Ok(found)
}

/// Looks for what holds data.
async fn look_for_data(
    clients: &Clients,
    project: &Project,
    deleted: &[DeployedStack],
    found: &mut Found,
) -> Result<()> {
    let name = project.file.name.as_str();
    for bucket in infra::buckets(project) {
        let read = clients
            .s3
            .list_object_versions()
            .bucket(&bucket)
            .max_keys(1);
        let read = read.send().await.aws_if_found(
            format!("cannot look for the bucket {bucket}"),
            Missing::Bucket,
        )?;
        let remedy =
            "it belongs to no stack: look at it, then empty and delete it in the S3 console";
        found.add(format!("bucket {bucket}"), read.is_some(), remedy);
    }
    let images = ecr::exists(clients, name).await?;
    let remedy = format!("aws ecr delete-repository --force --repository-name {name}");
    found.add(format!("image repository {name}"), images, remedy);
    let group = clients.sagemaker.describe_model_package_group();
    let group = group.model_package_group_name(name).send().await;
    let group = group.aws_if_found(
        format!("cannot look for the model package group {name}"),
        Missing::ModelPackageGroup,
    )?;
    let remedy = "delete its versions, then the group, in the SageMaker console";
    found.add(
        format!("model package group {name}"),
        group.is_some(),
        remedy,
    );
    for repository in [name.to_owned(), format!("{name}-eda")] {
        let read = clients.codecommit.get_repository();
        let read = read.repository_name(&repository).send().await;
        let read = read.aws_unless(
            format!("cannot look for the git repository {repository}"),
            &[crate::aws::Expected::code(
                "RepositoryDoesNotExistException",
            )],
        )?;
        let remedy = format!("aws codecommit delete-repository --repository-name {repository}");
        found.add(
            format!("git repository {repository}"),
            read.is_some(),
            remedy,
        );
    }
    // A key has no name, and its alias is deleted with the stack, so the deleted stack's resources are read.
    for stack in deleted.iter().filter(|stack| stack.part.holds_data()) {
        for what in infra::left_behind(clients, stack).await? {
            let remedy = format!(
                "{} was deleted without it: delete it in the console",
                stack.name
            );
            found.add(what, true, remedy);
        }
        found.checked += 1;
    }
    Ok(())
}
