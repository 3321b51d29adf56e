//! Builds of CodeBuild: their state, the phase that failed, and where their log is.

use anyhow::Result;
use aws_sdk_codebuild::types::StatusType;
use jiff::Timestamp;
use serde::Serialize;

use crate::aws::sagemaker::timestamp;
use crate::aws::state::BuildState;
use crate::aws::{AwsResultExt, Clients};

/// Maximum number of builds of a request (API reference of `BatchGetBuilds`).
const BATCH: usize = 100;

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Its id: `PROJECT:UUID`.
    pub id: String,
    /// Its ARN.
    pub arn: Option<String>,
    /// Its state.
    pub status: BuildState,
    /// The phase that it is in, or that failed.
    pub phase: Option<String>,
    /// Why the phase failed.
    pub reason: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The log group.
    pub log_group: Option<String>,
    /// The log stream.
    pub log_stream: Option<String>,
}

impl Build {
    /// Returns its log group and stream, once it writes to CloudWatch.
    pub fn log(&self) -> Option<(&str, &str)> {
        Some((self.log_group.as_deref()?, self.log_stream.as_deref()?))
    }
}

/// Stops a build. Unverified against AWS [stop-ended-build]: nothing happens if it has ended in the meantime.
pub async fn stop(clients: &Clients, id: &str) -> Result<()> {
    clients
        .codebuild
        .stop_build()
        .id(id)
        .send()
        .await
        .aws(format!("cannot stop the build {id}"))?;
    Ok(())
}

/// Describes builds by their ids; unknown ones are missing in the result.
pub async fn describe(clients: &Clients, ids: &[String]) -> Result<Vec<Build>> {
    let mut found = Vec::new();
    for some in ids.chunks(BATCH) {
        let builds = clients
            .codebuild
            .batch_get_builds()
            .set_ids(Some(some.to_vec()))
            .send()
            .await
            .aws("cannot describe the builds")?;
        found.extend(builds.builds().iter().map(build));
    }
    Ok(found)
}

fn build(build: &aws_sdk_codebuild::types::Build) -> Build {
    let failed = build.phases().iter().find(|phase| {
        let status = phase.phase_status();
        status.is_some_and(|status| *status != StatusType::Succeeded)
    });
    let failed_name = failed.and_then(|phase| Some(phase.phase_type()?.as_str()));
    let contexts = failed.iter().flat_map(|phase| phase.contexts());
    let reasons: Vec<String> = contexts
        .filter_map(|context| {
            let message = context.message().filter(|message| !message.is_empty());
            match (context.status_code(), message) {
                (Some(code), Some(message)) if !code.is_empty() => {
                    Some(format!("{code}: {message}"))
                }
                (_, Some(message)) => Some(message.to_owned()),
                (code, None) => code.filter(|code| !code.is_empty()).map(str::to_owned),
            }
        })
        .collect();
    let logs = build.logs();
    let group = written(logs.and_then(|logs| logs.group_name()));
    let stream = written(logs.and_then(|logs| logs.stream_name()));
    Build {
        id: build.id().unwrap_or_default().to_owned(),
        arn: build.arn().map(str::to_owned),
        status: BuildState::of(build.build_status()),
        phase: failed_name.or(build.current_phase()).map(str::to_owned),
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        started: build.start_time().and_then(timestamp),
        ended: build.end_time().and_then(timestamp),
        log_group: group.map(str::to_owned),
        log_stream: stream.map(str::to_owned),
    }
}

/// A field of a log's place: before the build has a stream, it is absent, empty or `null` as text.
fn written(text: Option<&str>) -> Option<&str> {
    text.filter(|it| !it.is_empty() && *it != "null")
}
