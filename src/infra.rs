//! The architecture as CloudFormation: templates, stacks, change sets, typed outputs.
//!
//! Every deployment goes through a change set, so what `mlops plan` prints is what `mlops init`
//! does.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use aws_sdk_cloudformation::types::{ResourceStatus, StackStatus};
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::cloudformation::{self as cfn, Change, NewChangeSet};
use crate::config::Project;
use crate::error::{Failure, Hint};
use crate::names::ProjectName;
use crate::progress::Progress;
use crate::wait::{Poll, Waiter};

/// The VPC: see templates/network.yaml.
const NETWORK: &str = include_str!("infra/templates/network.yaml");
/// Buckets, image repository, model packages, roles.
const PLATFORM: &str = include_str!("infra/templates/platform.yaml");
/// Git repositories and the notebook.
const WORKBENCH: &str = include_str!("infra/templates/workbench.yaml");
/// One version of the model in production.
const ENDPOINT: &str = include_str!("infra/templates/endpoint.yaml");

/// A bucket's name has at most 63 characters.
const LONGEST_BUCKET: usize = 63;

/// A stack as it should be.
#[derive(Debug, Clone)]
pub struct StackSpec {
    /// The stack's name.
    pub name: String,
    /// The template's text.
    pub template: &'static str,
    /// The template's parameters.
    pub parameters: Vec<(&'static str, String)>,
    /// What the template needs the caller to allow.
    pub capabilities: &'static [&'static str],
}

/// What a deployment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The stack is new.
    Created,
    /// The stack was changed.
    Updated,
    /// There was nothing to change.
    Unchanged,
}

impl Action {
    /// The action as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A stack after a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct StackOutcome {
    /// The stack's name.
    pub stack: String,
    /// What was done.
    pub action: Action,
    /// The changes, resource by resource.
    pub changes: Vec<Change>,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
}

/// What a deployment would do. Execute it, or discard it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The stack's name.
    pub stack: String,
    /// True when the stack is new.
    pub create: bool,
    /// The changes, resource by resource.
    pub changes: Vec<Change>,
    change_set: String,
}

/// What the platform stack made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Data sets.
    pub data_bucket: String,
    /// What runs, models, endpoints and monitoring leave behind.
    pub artifact_bucket: String,
    /// The ECR repository's name.
    pub image_repository: String,
    /// Where images are pushed to, without a tag.
    pub image_repository_uri: String,
    /// The model registry.
    pub model_package_group: String,
    /// ARN of what pipelines and jobs run as.
    pub execution_role: String,
    /// ARN of what endpoints run as.
    pub endpoint_role: String,
    /// ARN of what notebooks run as.
    pub notebook_role: String,
    /// ARN of the key of data, artifacts, images and notebook volumes.
    pub key: String,
}

/// What the network stack made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// The VPC.
    pub vpc: String,
    /// The private subnets.
    pub private_subnets: Vec<String>,
    /// The security group of notebooks and jobs.
    pub security_group: String,
}

/// What the workbench stack made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workbench {
    /// The repository of image, pipeline and settings.
    pub image_repository_url: String,
    /// The repository of exploratory notebooks.
    pub eda_repository_url: String,
    /// The notebook instance.
    pub notebook: String,
}

/// The name of a project's stack: `network`, `platform`, `workbench` or `endpoint`.
pub fn stack_name(project: &ProjectName, part: &str) -> String {
    format!("{project}-{part}")
}

/// Refuses (exit 2) a name that is too long for its buckets in this account and region.
pub fn check_name(project: &ProjectName, account: &str, region: &str) -> Result<()> {
    let bucket = format!("{project}-artifacts-{account}-{region}");
    let Some(over) = bucket.len().checked_sub(LONGEST_BUCKET + 1) else {
        return Ok(());
    };
    Err(Failure::usage(format!(
        "the project name `{project}` is too long for {region}: its bucket would be {bucket}, and \
         a bucket's name has at most {LONGEST_BUCKET} characters"
    )))
    .hint(format!(
        "choose a name of at most {} characters",
        project.as_str().len().saturating_sub(over + 1)
    ))
}

/// The network.
pub fn network(project: &Project) -> StackSpec {
    StackSpec {
        name: stack_name(&project.file.name, "network"),
        template: NETWORK,
        parameters: vec![("ProjectName", project.file.name.to_string())],
        capabilities: &[],
    }
}

/// The platform.
pub fn platform_stack(project: &Project) -> StackSpec {
    StackSpec {
        name: stack_name(&project.file.name, "platform"),
        template: PLATFORM,
        parameters: vec![
            ("ProjectName", project.file.name.to_string()),
            (
                "DevelopBranch",
                tag_of(project.file.branches.develop.as_str()),
            ),
            (
                "ProductionBranch",
                tag_of(project.file.branches.production.as_str()),
            ),
        ],
        capabilities: &["CAPABILITY_NAMED_IAM"],
    }
}

/// A branch as an image tag: what a tag cannot hold becomes `-`.
fn tag_of(branch: &str) -> String {
    branch
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// The workbench, in the network and with the roles of the platform.
pub fn workbench_stack(project: &Project, network: &Network, platform: &Platform) -> StackSpec {
    StackSpec {
        name: stack_name(&project.file.name, "workbench"),
        template: WORKBENCH,
        parameters: vec![
            ("ProjectName", project.file.name.to_string()),
            (
                "SubnetId",
                network.private_subnets.first().cloned().unwrap_or_default(),
            ),
            ("SecurityGroupId", network.security_group.clone()),
            ("NotebookRoleArn", platform.notebook_role.clone()),
            ("KeyArn", platform.key.clone()),
        ],
        capabilities: &[],
    }
}

/// The endpoint that serves one model package version.
pub fn endpoint_stack(
    project: &Project,
    platform: &Platform,
    model_package_arn: &str,
) -> StackSpec {
    let deploy = &project.file.deploy;
    StackSpec {
        name: stack_name(&project.file.name, "endpoint"),
        template: ENDPOINT,
        parameters: vec![
            ("EndpointName", project.file.name.to_string()),
            ("ModelPackageArn", model_package_arn.to_owned()),
            ("RoleArn", platform.endpoint_role.clone()),
            ("InstanceType", deploy.instance_type.clone()),
            ("InstanceCount", deploy.instance_count.to_string()),
            ("CapturePercent", deploy.capture_percent.to_string()),
            (
                "CaptureUri",
                format!("s3://{}/capture", platform.artifact_bucket),
            ),
        ],
        capabilities: &[],
    }
}

/// The outputs of a stack, if it exists.
pub async fn outputs(
    clients: &Clients,
    stack_name: &str,
) -> Result<Option<BTreeMap<String, String>>> {
    Ok(cfn::stack(clients, stack_name)
        .await?
        .map(|stack| stack.outputs))
}

/// What the platform stack of a project made; an error that says `mlops init` when it is not there.
pub async fn platform(clients: &Clients, project: &Project) -> Result<Platform> {
    let name = stack_name(&project.file.name, "platform");
    let outputs = outputs(clients, &name)
        .await?
        .ok_or_else(|| anyhow!("{} has no stack {name} in this account", project.file.name))
        .hint("run `mlops init`")?;
    Platform::read(&name, &outputs)
}

impl Platform {
    /// Reads the outputs of the platform stack.
    pub fn read(stack: &str, outputs: &BTreeMap<String, String>) -> Result<Self> {
        let output = |name| output(stack, outputs, name);
        Ok(Self {
            data_bucket: output("DataBucket")?,
            artifact_bucket: output("ArtifactBucket")?,
            image_repository: output("ImageRepositoryName")?,
            image_repository_uri: output("ImageRepositoryUri")?,
            model_package_group: output("ModelPackageGroupName")?,
            execution_role: output("ExecutionRoleArn")?,
            endpoint_role: output("EndpointRoleArn")?,
            notebook_role: output("NotebookRoleArn")?,
            key: output("KeyArn")?,
        })
    }
}

impl Network {
    /// Reads the outputs of the network stack.
    pub fn read(stack: &str, outputs: &BTreeMap<String, String>) -> Result<Self> {
        let output = |name| output(stack, outputs, name);
        Ok(Self {
            vpc: output("VpcId")?,
            private_subnets: output("PrivateSubnetIds")?
                .split(',')
                .map(str::to_owned)
                .collect(),
            security_group: output("SecurityGroupId")?,
        })
    }
}

impl Workbench {
    /// Reads the outputs of the workbench stack.
    pub fn read(stack: &str, outputs: &BTreeMap<String, String>) -> Result<Self> {
        let output = |name| output(stack, outputs, name);
        Ok(Self {
            image_repository_url: output("ImageRepositoryCloneUrl")?,
            eda_repository_url: output("EdaRepositoryCloneUrl")?,
            notebook: output("NotebookName")?,
        })
    }
}

fn output(stack: &str, outputs: &BTreeMap<String, String>, name: &str) -> Result<String> {
    outputs
        .get(name)
        .cloned()
        .ok_or_else(|| anyhow!("the stack {stack} has no output {name}"))
        .hint("the stack is older than this mlops, or not finished: run `mlops init`")
}

/// Works out what a deployment would do; `None` when the stack is as it should be.
pub async fn prepare(
    clients: &Clients,
    waiter: Waiter,
    spec: &StackSpec,
) -> Result<Option<Prepared>> {
    let create = match cfn::stack(clients, &spec.name).await? {
        None => true,
        Some(stack) => match stack.status {
            StackStatus::DeleteComplete => true,
            // Left by a first deployment that failed or was never executed: it holds nothing.
            StackStatus::RollbackComplete | StackStatus::ReviewInProgress => {
                cfn::delete_stack(clients, waiter, &stack.id).await?;
                true
            }
            StackStatus::CreateComplete
            | StackStatus::UpdateComplete
            | StackStatus::UpdateRollbackComplete
            | StackStatus::ImportComplete => false,
            status if status.as_str().ends_with("_IN_PROGRESS") => {
                return Err(anyhow!(
                    "the stack {} is being changed ({})",
                    spec.name,
                    status.as_str()
                ))
                .hint("try again when that is done");
            }
            status => {
                return Err(anyhow!(
                    "the stack {} cannot be deployed: it is {} ({})",
                    spec.name,
                    status.as_str(),
                    stack.reason.as_deref().unwrap_or("no reason given")
                ))
                .hint("mend or delete the stack in the CloudFormation console, then try again");
            }
        },
    };
    let name = format!("mlops-{}", uuid::Uuid::new_v4().simple());
    let prepared = cfn::create_change_set(
        clients,
        waiter,
        &NewChangeSet {
            stack: &spec.name,
            name: &name,
            create,
            template: spec.template,
            parameters: &spec.parameters,
            capabilities: spec.capabilities,
        },
    )
    .await?;
    Ok(prepared.map(|(change_set, changes)| Prepared {
        stack: spec.name.clone(),
        create,
        changes,
        change_set,
    }))
}

/// Drops what was prepared.
pub async fn discard(clients: &Clients, waiter: Waiter, prepared: &Prepared) -> Result<()> {
    cfn::delete_change_set(clients, &prepared.change_set).await?;
    // A change set of a new stack leaves the empty stack behind.
    if prepared.create
        && let Some(stack) = cfn::stack(clients, &prepared.stack).await?
        && stack.status == StackStatus::ReviewInProgress
    {
        cfn::delete_stack(clients, waiter, &stack.id).await?;
    }
    Ok(())
}

/// Does what was prepared, with the stack's events as progress. When it fails, the error is the
/// first failing event's reason.
pub async fn execute(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    prepared: Prepared,
) -> Result<StackOutcome> {
    let name = &prepared.stack;
    let before = cfn::events(clients, name, None).await?;
    let mut last = before.last().map(|event| event.id.clone());
    cfn::execute_change_set(clients, name, &prepared.change_set).await?;
    let mut task = progress.task(format!("{name}: deploying"));
    let mut failure: Option<String> = None;
    let what = format!("the stack {name}");
    let seen = std::sync::Mutex::new((&mut last, &mut failure, &mut task));
    let stack = waiter
        .until(
            &what,
            |_| {},
            || async {
                // The status first: its final event is then among the events that are read.
                let stack = cfn::stack(clients, name)
                    .await?
                    .ok_or_else(|| anyhow!("the stack {name} is gone"))?;
                let after = seen.lock().ok().and_then(|seen| seen.0.clone());
                let events = cfn::events(clients, &stack.id, after.as_deref()).await?;
                if let Ok(mut seen) = seen.lock() {
                    for event in events {
                        seen.2.set(format!(
                            "{name}: {} {} {}",
                            event.r#type,
                            event.resource,
                            event.status.as_str()
                        ));
                        if seen.1.is_none() && is_failure(&event) {
                            *seen.1 = Some(format!(
                                "{} ({}): {}",
                                event.resource,
                                event.r#type,
                                event.reason.as_deref().unwrap_or("no reason given")
                            ));
                        }
                        *seen.0 = Some(event.id);
                    }
                }
                let status = stack.status.as_str();
                if status.ends_with("_IN_PROGRESS") {
                    return Ok(Poll::Pending(status.to_owned()));
                }
                Ok(Poll::Ready(stack))
            },
        )
        .await?;
    if !matches!(
        stack.status,
        StackStatus::CreateComplete | StackStatus::UpdateComplete
    ) {
        let reason = failure
            .or(stack.reason)
            .unwrap_or_else(|| "CloudFormation gave no reason".to_owned());
        return Err(anyhow!(
            "the stack {name} ended as {}: {reason}",
            stack.status.as_str()
        ))
        .hint("CloudFormation has taken the changes back; mend the cause and run it again");
    }
    let action = if prepared.create {
        Action::Created
    } else {
        Action::Updated
    };
    task.done(format!("{name}: {}", action.as_str()));
    Ok(StackOutcome {
        stack: prepared.stack,
        action,
        changes: prepared.changes,
        outputs: stack.outputs,
    })
}

/// True for the event that began the trouble; what was cancelled because of it is not.
fn is_failure(event: &cfn::Event) -> bool {
    matches!(
        event.status,
        ResourceStatus::CreateFailed | ResourceStatus::UpdateFailed | ResourceStatus::DeleteFailed
    ) && !event
        .reason
        .as_deref()
        .is_some_and(|reason| reason.contains("cancelled"))
}

/// Makes a stack what it should be: twice gives the same state.
pub async fn deploy(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<StackOutcome> {
    match prepare(clients, waiter, spec).await? {
        Some(prepared) => execute(clients, waiter, progress, prepared).await,
        None => {
            progress.say(format!("{}: unchanged", spec.name));
            Ok(StackOutcome {
                stack: spec.name.clone(),
                action: Action::Unchanged,
                changes: Vec::new(),
                outputs: outputs(clients, &spec.name).await?.unwrap_or_default(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section → entry → lines`, of a template that is indented by two.
    fn outline(template: &str) -> BTreeMap<&str, BTreeMap<&str, Vec<&str>>> {
        let mut sections: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        let (mut section, mut entry) = ("", "");
        for line in template.lines() {
            let indent = line.len() - line.trim_start().len();
            match (indent, line.trim().strip_suffix(':')) {
                (0, Some(name)) => section = name,
                (2, Some(name)) => {
                    entry = name;
                    sections.entry(section).or_default().insert(name, vec![]);
                }
                (3.., _) => sections
                    .get_mut(section)
                    .and_then(|section| section.get_mut(entry))
                    .into_iter()
                    .for_each(|lines| lines.push(line.trim())),
                _ => {}
            }
        }
        sections
    }

    fn project() -> Project {
        Project {
            root: ".".into(),
            file: toml::from_str(
                "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
            )
            .unwrap(),
        }
    }

    /// Outputs as the template declares them, each with its own name as value.
    fn declared(template: &str) -> BTreeMap<String, String> {
        outline(template)["Outputs"]
            .keys()
            .map(|name| ((*name).to_owned(), (*name).to_owned()))
            .collect()
    }

    #[test]
    fn templates_declare_what_the_code_passes_and_reads() {
        let project = project();
        let network_outputs = Network::read("network", &declared(NETWORK)).unwrap();
        let platform_outputs = Platform::read("platform", &declared(PLATFORM)).unwrap();
        Workbench::read("workbench", &declared(WORKBENCH)).unwrap();
        for name in [
            "EndpointName",
            "EndpointConfigName",
            "ModelName",
            "ModelPackageArn",
        ] {
            assert!(declared(ENDPOINT).contains_key(name), "{name}");
        }
        for spec in [
            network(&project),
            platform_stack(&project),
            workbench_stack(&project, &network_outputs, &platform_outputs),
            endpoint_stack(&project, &platform_outputs, "arn"),
        ] {
            let outline = outline(spec.template);
            let parameters = &outline["Parameters"];
            for (name, value) in &spec.parameters {
                assert!(parameters.contains_key(name), "{}: {name}", spec.name);
                assert!(!value.is_empty(), "{}: {name}", spec.name);
            }
            for (name, lines) in parameters {
                let passed = spec.parameters.iter().any(|(passed, _)| passed == name);
                let default = lines.iter().any(|line| line.starts_with("Default:"));
                assert!(passed || default, "{}: {name} is not passed", spec.name);
            }
        }
    }

    #[test]
    fn what_holds_data_outlives_its_stack() {
        const HOLD_DATA: [&str; 5] = [
            "AWS::S3::Bucket",
            "AWS::KMS::Key",
            "AWS::ECR::Repository",
            "AWS::CodeCommit::Repository",
            "AWS::SageMaker::ModelPackageGroup",
        ];
        let mut found = 0;
        for template in [NETWORK, PLATFORM, WORKBENCH, ENDPOINT] {
            for (name, lines) in &outline(template)["Resources"] {
                let holds = lines.iter().any(|line| {
                    line.strip_prefix("Type: ")
                        .is_some_and(|kind| HOLD_DATA.contains(&kind))
                });
                if holds {
                    found += 1;
                    assert!(
                        lines.contains(&"DeletionPolicy: RetainExceptOnCreate"),
                        "{name}"
                    );
                    assert!(lines.contains(&"UpdateReplacePolicy: Retain"), "{name}");
                }
            }
        }
        assert_eq!(found, 7);
    }

    #[test]
    fn every_release_makes_its_own_model_and_configuration() {
        assert!(!ENDPOINT.contains("  ModelName:\n        Fn::Sub"));
        let outline = outline(ENDPOINT);
        for resource in ["Model", "EndpointConfig"] {
            let own = format!("{resource}Name:");
            let lines = &outline["Resources"][resource];
            let variant = lines
                .iter()
                .position(|line| line.starts_with("- VariantName"));
            let fixed = lines.iter().position(|line| *line == own);
            // `ModelName` of a variant is a reference, not the model's own name.
            assert!(fixed.is_none() || variant < fixed, "{resource}");
        }
    }

    #[test]
    fn a_name_must_leave_room_for_account_and_region() {
        let name: ProjectName = "a-rather-long-project-name".parse().unwrap();
        check_name(&name, "000000000000", "us-east-1").unwrap();
        let error = check_name(&name, "000000000000", "ap-southeast-1").unwrap_err();
        assert_eq!(crate::error::exit(&error), crate::error::Exit::Usage);
        assert!(crate::error::hints(&error)[0].contains("25 characters"));
    }
}
