//! The events of builds, as in the user guide's "Build notifications input format reference".

use jiff::Timestamp;
use serde_json::{Value, json};

use super::records::{Build, Phase, PhaseContext, Variable};
use crate::events::Event;

const SOURCE: &str = "aws.codebuild";

/// `Sep 1, 2017 4:12:29 PM`, in UTC.
fn time(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a time of the cloud's clock"
    )]
    let millis = (seconds * 1000.0) as i64;
    let time = Timestamp::from_millisecond(millis).unwrap_or_default();
    time.strftime("%b %-d, %Y %-I:%M:%S %p").to_string()
}

fn contexts(contexts: &[PhaseContext]) -> Vec<String> {
    let text = |context: &PhaseContext| format!("{}: {}", context.status_code, context.message);
    contexts.iter().map(text).collect()
}

/// The contexts of a phase as one text: `[]`, or `[CODE: MESSAGE]`.
fn context_text(phase: &Phase) -> String {
    format!("[{}]", contexts(&phase.contexts).join(", "))
}

fn phase(phase: &Phase) -> Value {
    let mut shown =
        json!({"phase-context": contexts(&phase.contexts), "start-time": time(phase.start_time)});
    if let Some(end) = phase.end_time {
        shown["end-time"] = time(end).into();
        shown["duration-in-seconds"] = phase.duration_in_seconds.into();
    } else if phase.contexts.is_empty() {
        // The last phase, and one in progress, have no context.
        shown = json!({"start-time": time(phase.start_time)});
    }
    shown["phase-type"] = phase.phase_type.as_str().into();
    if let Some(status) = phase.phase_status {
        shown["phase-status"] = status.name().into();
    }
    shown
}

fn variable(variable: &Variable) -> Value {
    json!({"name": variable.name, "type": variable.kind, "value": variable.value})
}

fn information(build: &Build) -> Value {
    let environment = &build.environment;
    let mut information = json!({
        "timeout-in-minutes": build.timeout_in_minutes,
        "build-complete": build.build_complete,
        "initiator": build.initiator,
        "build-start-time": time(build.start_time),
        "build-number": build.build_number,
        "environment": {
            "image": environment.image,
            "privileged-mode": environment.privileged_mode,
            "image-pull-credentials-type": environment.image_pull_credentials_type,
            "compute-type": environment.compute_type,
            "type": environment.kind,
            "environment-variables": environment.environment_variables.iter().map(variable).collect::<Vec<_>>(),
        },
        "source": {"type": build.source.kind},
        "phases": build.phases.iter().map(phase).collect::<Vec<_>>(),
    });
    if let Some(location) = &build.source.location {
        information["source"]["location"] = location.as_str().into();
    }
    if let Some(version) = &build.source_version {
        information["source-version"] = version.as_str().into();
    }
    if let Some(artifacts) = &build.artifacts {
        let mut shown = json!({"location": artifacts.location});
        for (member, value) in [
            ("md5sum", &artifacts.md5sum),
            ("sha256sum", &artifacts.sha256sum),
        ] {
            if let Some(value) = value {
                shown[member] = value.as_str().into();
            }
        }
        information["artifact"] = shown;
    }
    if let (Some(group), Some(stream)) = (&build.logs.group_name, &build.logs.stream_name) {
        information["logs"] = json!({
            "group-name": group, "stream-name": stream, "deep-link": build.logs.deep_link,
        });
    }
    information
}

fn event(detail_type: &'static str, build: &Build, mut detail: Value) -> Event {
    detail["project-name"] = build.project_name.as_str().into();
    detail["build-id"] = build.arn.as_str().into();
    detail["additional-information"] = information(build);
    detail["version"] = "1".into();
    Event {
        source: SOURCE,
        detail_type,
        resources: vec![build.arn.clone()],
        detail,
    }
}

/// The event for a build that has begun or ended. Unverified against AWS
/// [codebuild-event-status]: the status in the event of a build that timed out or failed with a fault, for which the
/// user guide has no example.
pub(super) fn state_change(build: &Build) -> Event {
    let current = build.phases.last();
    let detail = json!({
        "build-status": build.build_status.name(),
        "current-phase": current.map(|phase| phase.phase_type.as_str()),
        "current-phase-context": current.map(context_text),
    });
    event("CodeBuild Build State Change", build, detail)
}

/// The event for a phase that has ended.
pub(super) fn phase_change(build: &Build, ended: &Phase) -> Event {
    let detail = json!({
        "completed-phase": ended.phase_type,
        "completed-phase-status": ended.phase_status.map(super::records::Status::name),
        "completed-phase-context": context_text(ended),
        "completed-phase-duration-seconds": ended.duration_in_seconds,
        "completed-phase-start": time(ended.start_time),
        "completed-phase-end": ended.end_time.map(time),
    });
    event("CodeBuild Build Phase Change", build, detail)
}
