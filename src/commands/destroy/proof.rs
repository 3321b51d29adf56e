//! Reads back, through each service, that nothing is left.

use anyhow::Result;

use crate::aws::state::StackStatusExt as _;
use crate::aws::{AwsResultExt, Clients, Missing, cloudformation, ecr, hosting, removal};
use crate::config::Project;
use crate::infra::{self, PARTS};

/// What was read back.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many things were looked for.
    pub(super) checked: usize,
    /// What exists although it was to be deleted.
    pub(super) left: Vec<String>,
}

impl Found {
    fn add(&mut self, what: String, exists: bool) {
        self.checked += 1;
        if exists {
            self.left.push(what);
        }
    }
}

/// Looks for everything that was to be deleted, by its name.
pub(super) async fn read_back(
    clients: &Clients,
    project: &Project,
    with_data: bool,
) -> Result<Found> {
    let name = project.file.name.as_str();
    let mut found = Found::default();
    for part in PARTS {
        if part.holds_data() && !with_data {
            continue;
        }
        let stack = part.stack(&project.file.name);
        let read = cloudformation::stack(clients, &stack).await?;
        let exists = read.is_some_and(|stack| !stack.status.is_empty());
        found.add(format!("stack {stack}"), exists);
    }
    let endpoint = hosting::endpoint(clients, name).await?;
    found.add(format!("endpoint {name}"), endpoint.is_some());
    let notebook = format!("{name}-notebook");
    let listed = clients.sagemaker.list_notebook_instances();
    let listed = listed.name_contains(&notebook).send().await;
    let listed = listed.aws(format!("cannot look for the notebook {notebook}"))?;
    let exists = listed
        .notebook_instances()
        .iter()
        .any(|found| found.notebook_instance_name() == Some(&notebook));
    found.add(format!("notebook {notebook}"), exists);
    let groups = removal::log_groups(clients, name).await?;
    found.checked += 1;
    found
        .left
        .extend(groups.into_iter().map(|group| format!("log group {group}")));
    if with_data {
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
            found.add(format!("bucket {bucket}"), read.is_some());
        }
        let images = ecr::exists(clients, name).await?;
        found.add(format!("image repository {name}"), images);
        let group = clients.sagemaker.describe_model_package_group();
        let group = group.model_package_group_name(name).send().await;
        let group = group.aws_if_found(
            format!("cannot look for the model package group {name}"),
            Missing::ModelPackageGroup,
        )?;
        found.add(format!("model package group {name}"), group.is_some());
        for repository in [name.to_owned(), format!("{name}-eda")] {
            let read = clients.codecommit.get_repository();
            let read = read.repository_name(&repository).send().await;
            let read = read.aws_unless(
                format!("cannot look for the git repository {repository}"),
                &[crate::aws::Expected::code(
                    "RepositoryDoesNotExistException",
                )],
            )?;
            found.add(format!("git repository {repository}"), read.is_some());
        }
    }
    Ok(found)
}
