//! `mlops promote`: puts a model version into production.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::aws::hosting::{self, Endpoint, ModelVersion};
use crate::aws::{Clients, lineage};
use crate::config::Project;
use crate::context::Context;
use crate::error::{Exit, Failure, Hint, hinted};
use crate::infra;
use crate::names::Version;
use crate::output::Report;
use crate::wait::Poll;

/// Put a model version into production
///
/// Deploys the version by CloudFormation, checks that the endpoint really serves it, and sends it
/// one sample row. A version that waits for approval is approved first, after a question. Without
/// VERSION it takes the newest approved version above the live one.
///
/// Example: mlops promote 3
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// The version, as `mlops models list` shows it
    version: Option<Version>,
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &PromoteArgs) -> Result<PromoteReport> {
    let project = ctx.project()?;
    let sample = Sample::read(&project)?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let group = &platform.model_package_group;
    let name = project.file.name.as_str();

    let versions = hosting::versions(clients, group).await?;
    let before = hosting::endpoint(clients, name).await?;
    let live = live_version(&versions, before.as_ref());
    let chosen = choose(group, &versions, live, args.version)?;
    let approved_now = chosen.approval != "Approved";
    if approved_now {
        ctx.prompt.require(&format!(
            "Version {} of {group} waits for approval. Approve it and put it into production?",
            chosen.version
        ))?;
        hosting::approve(clients, &chosen.arn, "approved by `mlops promote`").await?;
    }

    let outcome = deploy(ctx, clients, &project, &platform, &chosen.arn).await?;
    let requested = outcome
        .outputs
        .get("EndpointConfigName")
        .cloned()
        .with_context(|| {
            format!(
                "the stack {} has no output EndpointConfigName",
                outcome.stack
            )
        })?;
    let endpoint = settled(ctx, clients, name).await?;
    verify(&endpoint, &requested, &chosen.arn)?;

    let answered = match sample {
        Some(sample) => Some(sample.send(clients, name).await?),
        None => None,
    };
    let description = format!("endpoint {name}");
    hosting::set_stage(clients, &chosen.arn, "Production", "Live", &description).await?;
    let replaced = live.filter(|live| live.version != chosen.version);
    if let Some(old) = replaced {
        hosting::set_stage(clients, &old.arn, "Production", "Replaced", &description).await?;
    }
    let details = hosting::details(clients, &chosen.arn).await?;
    lineage::register(clients, name, &details).await?;

    Ok(PromoteReport {
        model: group.clone(),
        version: chosen.version,
        model_package_arn: chosen.arn.clone(),
        approved_now,
        changed: outcome.action != infra::Action::Unchanged,
        endpoint: endpoint.name,
        endpoint_status: endpoint.status,
        endpoint_configuration: requested,
        replaced: replaced.map(|old| old.version),
        sample: answered,
    })
}

/// The version that the endpoint serves.
fn live_version<'a>(
    versions: &'a [ModelVersion],
    endpoint: Option<&Endpoint>,
) -> Option<&'a ModelVersion> {
    let package = endpoint?.model_package.as_deref()?;
    versions.iter().find(|version| version.arn == package)
}

/// The version to promote; `versions` are newest first.
fn choose<'a>(
    group: &str,
    versions: &'a [ModelVersion],
    live: Option<&ModelVersion>,
    wanted: Option<Version>,
) -> Result<&'a ModelVersion> {
    let numbers = |approval: &str| -> Vec<String> {
        versions
            .iter()
            .filter(|version| approval.is_empty() || version.approval == approval)
            .map(|version| version.version.to_string())
            .collect()
    };
    if versions.is_empty() {
        return Err(anyhow::anyhow!("{group} has no versions yet"))
            .hint("run `mlops train` to make one");
    }
    let Some(wanted) = wanted else {
        let newer =
            |version: &&ModelVersion| live.is_none_or(|live| version.version > live.version);
        if let Some(found) = versions
            .iter()
            .filter(newer)
            .find(|version| version.approval == "Approved")
        {
            return Ok(found);
        }
        let pending = numbers("PendingManualApproval");
        if let Some(newest) = pending.first() {
            return Err(hinted(
                Failure::new(
                    Exit::Refused,
                    format!(
                        "no approved version of {group} is waiting; pending approval: {}",
                        pending.join(", ")
                    ),
                ),
                format!("`mlops promote {newest}` approves version {newest} and deploys it"),
            ));
        }
        let state = live.map_or_else(
            || "nothing is live".to_owned(),
            |live| format!("version {} is live", live.version),
        );
        return Err(anyhow::anyhow!("there is nothing to promote: {state}"))
            .hint("run `mlops train`, or name a version: `mlops promote VERSION`");
    };
    let Some(found) = versions.iter().find(|version| version.version == wanted) else {
        return Err(anyhow::anyhow!("{group} has no version {wanted}"))
            .hint(format!("there are: {}", numbers("").join(", ")));
    };
    if found.approval == "Rejected" {
        return Err(hinted(
            Failure::new(
                Exit::Refused,
                format!("version {wanted} of {group} was rejected; it is not deployed"),
            ),
            format!(
                "to reconsider, set it to pending: aws sagemaker update-model-package \
                 --model-approval-status PendingManualApproval --model-package-arn {}",
                found.arn
            ),
        ));
    }
    Ok(found)
}

/// Deploys the endpoint's stack.
async fn deploy(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    platform: &infra::Platform,
    package: &str,
) -> Result<infra::StackOutcome> {
    let stack = infra::endpoint_stack(project, platform, package);
    let _note = ctx.on_interrupt(format!(
        "the deployment of {} goes on; `mlops status` shows it",
        stack.name
    ));
    infra::deploy(clients, ctx.waiter, &ctx.progress, &stack)
        .await
        .hint("the endpoint serves what it served before; `mlops status` shows it")
}

/// The endpoint when no deployment is under way.
async fn settled(ctx: &Context, clients: &Clients, name: &str) -> Result<Endpoint> {
    ctx.waiter
        .until(
            &format!("the endpoint {name}"),
            |status| ctx.progress.say(format!("endpoint {name}: {status}")),
            || async {
                let endpoint = hosting::endpoint(clients, name)
                    .await?
                    .with_context(|| format!("there is no endpoint {name}"))?;
                Ok(match endpoint.status.as_str() {
                    "Creating" | "Updating" | "SystemUpdating" | "RollingBack" => {
                        Poll::Pending(endpoint.status)
                    }
                    _ => Poll::Ready(endpoint),
                })
            },
        )
        .await
}

/// `InService` is not enough: after a silent rollback the endpoint serves the old configuration.
fn verify(endpoint: &Endpoint, requested: &str, package: &str) -> Result<()> {
    let live = endpoint.configuration.as_deref().unwrap_or("none");
    let reason = endpoint.failure.as_deref().unwrap_or("no reason was given");
    if endpoint.status != "InService" {
        return Err(anyhow::anyhow!(
            "the endpoint {} is {}: {reason}",
            endpoint.name,
            endpoint.status
        ))
        .hint(format!(
            "its log group is /aws/sagemaker/Endpoints/{}",
            endpoint.name
        ));
    }
    if live != requested
        || endpoint
            .model_package
            .as_deref()
            .is_some_and(|live| live != package)
    {
        return Err(anyhow::anyhow!(
            "the endpoint {} was rolled back: it is in service with the configuration {live}, not \
             with {requested} ({reason})",
            endpoint.name
        ))
        .hint(format!(
            "its log group is /aws/sagemaker/Endpoints/{}",
            endpoint.name
        ));
    }
    Ok(())
}

/// What `deploy.sample` names.
#[derive(Debug)]
struct Sample {
    file: PathBuf,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Sample {
    fn read(project: &Project) -> Result<Option<Self>> {
        let Some(file) = &project.file.deploy.sample else {
            return Ok(None);
        };
        let body = std::fs::read(project.path(file))
            .with_context(|| format!("cannot read deploy.sample, {}", file.display()))
            .hint("deploy.sample in mlops.toml names a request body, relative to mlops.toml")?;
        Ok(Some(Self {
            content_type: content_type(file),
            file: file.clone(),
            body,
        }))
    }

    async fn send(self, clients: &Clients, endpoint: &str) -> Result<SampleAnswer> {
        let answer = hosting::invoke(clients, endpoint, self.content_type, self.body)
            .await
            .hint("the endpoint is deployed but does not answer the sample of mlops.toml")?;
        Ok(SampleAnswer {
            file: self.file,
            content_type: self.content_type,
            answer: answer.trim_end().to_owned(),
        })
    }
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// What is in production now.
#[derive(Debug, Serialize)]
pub struct PromoteReport {
    /// The model package group.
    pub model: String,
    /// The version that is live.
    pub version: Version,
    /// Its ARN.
    pub model_package_arn: String,
    /// True when this command approved it.
    pub approved_now: bool,
    /// False when it was live with these settings already.
    pub changed: bool,
    /// The endpoint's name.
    pub endpoint: String,
    /// The endpoint's status.
    pub endpoint_status: String,
    /// The live endpoint configuration, compared with the one that was asked for.
    pub endpoint_configuration: String,
    /// The version that was live before, if it was another.
    pub replaced: Option<Version>,
    /// The sample and its prediction; null when mlops.toml names none.
    pub sample: Option<SampleAnswer>,
}

/// The endpoint's answer to the sample.
#[derive(Debug, Serialize)]
pub struct SampleAnswer {
    /// The file, relative to mlops.toml.
    pub file: PathBuf,
    /// How it was sent.
    pub content_type: &'static str,
    /// What came back.
    pub answer: String,
}

impl Report for PromoteReport {}

impl fmt::Display for PromoteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let was = if self.changed { "is" } else { "was already" };
        writeln!(f, "Version {} of {} {was} live.", self.version, self.model)?;
        if self.approved_now {
            writeln!(f, "  approved       just now, by you")?;
        }
        if let Some(replaced) = self.replaced {
            writeln!(f, "  replaced       version {replaced}")?;
        }
        writeln!(
            f,
            "  endpoint       {} ({})",
            self.endpoint, self.endpoint_status
        )?;
        writeln!(f, "  configuration  {}", self.endpoint_configuration)?;
        match &self.sample {
            Some(sample) => writeln!(
                f,
                "  prediction     {} for {}",
                crate::output::clean(&sample.answer),
                sample.file.display()
            ),
            None => writeln!(f, "  prediction     none: mlops.toml has no deploy.sample"),
        }?;
        write!(
            f,
            "Next: `mlops monitor run` compares its traffic with the baseline"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(list: &[(i32, &str)]) -> Vec<ModelVersion> {
        list.iter()
            .map(|(version, approval)| ModelVersion {
                version: Version(*version),
                arn: format!("arn/{version}"),
                approval: (*approval).to_owned(),
            })
            .collect()
    }

    #[test]
    fn without_a_version_the_newest_approved_above_the_live_one_is_taken() {
        let all = versions(&[
            (4, "PendingManualApproval"),
            (3, "Approved"),
            (2, "Approved"),
            (1, "Approved"),
        ]);
        let chosen = |live: Option<usize>| choose("g", &all, live.map(|i| &all[i]), None);
        assert_eq!(chosen(None).unwrap().version, Version(3));
        assert_eq!(chosen(Some(2)).unwrap().version, Version(3));
        // Version 3 is live: going back to 2 is a rollback, not a promotion.
        let error = chosen(Some(1)).unwrap_err();
        assert_eq!(crate::error::exit(&error), Exit::Refused);
        assert!(error.to_string().contains("pending approval: 4"), "{error}");
    }

    #[test]
    fn rejected_and_unknown_versions_are_refused() {
        let all = versions(&[(2, "Rejected"), (1, "Approved")]);
        let error = choose("g", &all, None, Some(Version(2))).unwrap_err();
        assert_eq!(crate::error::exit(&error), Exit::Refused);
        let error = choose("g", &all, None, Some(Version(9))).unwrap_err();
        assert_eq!(crate::error::exit(&error), Exit::Failed);
        assert_eq!(crate::error::hints(&error), ["there are: 2, 1"]);
        let error = choose("g", &all, Some(&all[1]), None).unwrap_err();
        assert_eq!(crate::error::exit(&error), Exit::Failed);
        assert!(choose("g", &[], None, None).is_err());
    }

    #[test]
    fn a_silent_rollback_is_a_failure() {
        let endpoint = |configuration: &str, status: &str| Endpoint {
            name: "flights".to_owned(),
            status: status.to_owned(),
            configuration: Some(configuration.to_owned()),
            failure: None,
            model_package: Some("arn/1".to_owned()),
        };
        assert!(verify(&endpoint("new", "InService"), "new", "arn/1").is_ok());
        let error = verify(&endpoint("old", "InService"), "new", "arn/1").unwrap_err();
        assert!(error.to_string().contains("rolled back"), "{error}");
        assert!(verify(&endpoint("new", "InService"), "new", "arn/2").is_err());
        assert!(verify(&endpoint("new", "Failed"), "new", "arn/1").is_err());
    }
}
