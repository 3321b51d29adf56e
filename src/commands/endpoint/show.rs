//! `mlops endpoint show`

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::hinted;
use mlops_core::names::Version;
use serde::Serialize;

use crate::aws::endpoint_details::{self, Details};
use crate::aws::endpoint_failure::{self, Explanation};
use crate::aws::{Clients, cloudwatch, hosting};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Deployment, Part};

/// Number of deployments to show.
const DEPLOYMENTS: usize = 5;

/// The endpoint.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    pub(super) details: Details,
    /// The version of the model that is live.
    pub(super) version: Option<Version>,
    /// Where requests are sent, signed for the service `sagemaker`.
    pub(super) url: String,
    /// The alarms that roll a deployment back.
    pub(super) alarms: Vec<AlarmNow>,
    /// The last deployments of its stack, newest first.
    pub(super) deployments: Vec<Deployment>,
    /// Why the last deployment failed, if it did.
    pub(super) explanation: Option<Explanation>,
    /// The next command to run.
    pub(super) next: String,
}

/// An alarm.
#[derive(Debug, Serialize)]
pub(super) struct AlarmNow {
    pub(super) name: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`; null if the alarm does not exist.
    pub(super) state: Option<String>,
    /// Since when it is in this state.
    pub(super) since: Option<Timestamp>,
    /// Why it is in this state.
    pub(super) reason: Option<String>,
}

/// Returns the state of each alarm; one that was deleted has none.
async fn alarms(clients: &Clients, names: &[String]) -> Result<Vec<AlarmNow>> {
    let found = cloudwatch::alarms(clients, names).await?;
    let now = |name: &String| {
        let alarm = found.iter().find(|alarm| alarm.name == *name);
        AlarmNow {
            name: name.clone(),
            state: alarm.map(|alarm| alarm.state.clone()),
            since: alarm.and_then(|alarm| alarm.since),
            reason: alarm.map(|alarm| alarm.reason.clone()),
        }
    };
    Ok(names.iter().map(now).collect())
}

pub(super) async fn run(ctx: &Context, clients: &Clients, project: &Project) -> Result<Shown> {
    let name = project.file.name.as_str();
    let stack = Part::Endpoint.stack(&project.file.name);
    let (details, deployments) = tokio::try_join!(
        endpoint_details::details(clients, name),
        infra::last_deployments(clients, &stack, DEPLOYMENTS)
    )?;
    let Some(details) = details else {
        return Err(absent(ctx, clients, name, deployments.first()).await?);
    };
    let alarms = alarms(clients, &details.alarm_names).await?;
    let last = deployments.first().filter(|last| last.has_failed());
    // A stack that was rolled back has deployed the old configuration, and the endpoint has no failure.
    let reason = details
        .failure
        .as_deref()
        .or_else(|| last?.reason.as_deref());
    let explanation = match reason {
        Some(reason) => {
            let since = deployments.first().and_then(|last| last.started);
            Some(endpoint_failure::explain(clients, name, Some(reason), since).await?)
        }
        None => None,
    };
    let next = if details.status.is_changing() {
        "endpoint logs --follow"
    } else if explanation.is_some() {
        "endpoint logs"
    } else if project.file.deploy.sample.is_some() {
        "invoke"
    } else {
        "invoke --file FILE"
    };
    Ok(Shown {
        version: details.model_package.as_deref().and_then(version),
        url: hosting::url(clients, name),
        alarms,
        deployments,
        explanation,
        next: ctx.command(next),
        details,
    })
}

/// The version at the end of a model package's ARN.
fn version(package: &str) -> Option<Version> {
    package.rsplit('/').next()?.parse().ok()
}

/// The error if there is no endpoint: never deployed, deleted, or its first deployment failed.
async fn absent(
    ctx: &Context,
    clients: &Clients,
    name: &str,
    last: Option<&Deployment>,
) -> Result<anyhow::Error> {
    let Some(Deployment {
        status,
        started,
        reason: Some(reason),
        ..
    }) = last.filter(|last| last.has_failed())
    else {
        let promote = ctx.command("promote");
        return Ok(hinted(
            anyhow!("there is no endpoint {name}"),
            format!("deploy a version with `{promote}`"),
        ));
    };
    let found = endpoint_failure::explain(clients, name, Some(reason), *started).await?;
    for line in found.report() {
        ctx.progress.say(line);
    }
    let error = anyhow!("there is no endpoint {name}: its last deployment is {status}: {reason}");
    Ok(found.explain(error, &ctx.command("endpoint logs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_end_of_the_arn() {
        let arn = "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/12";
        assert_eq!(version(arn), Some(Version(12)));
        assert_eq!(
            version("arn:aws:sagemaker:us-east-1:1:model-package/unversioned"),
            None
        );
    }
}
