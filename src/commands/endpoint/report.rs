//! The reports of `mlops endpoint`.

use std::fmt;

use mlops_core::text::{clean, duration, state, table, time};
use serde::Serialize;

use super::delete::Deleted;
use super::logs::Logs;
use super::show::{AlarmNow, Shown};
use crate::aws::endpoint_details::Variant;
use crate::infra::Deployment;
use crate::output::Report;

/// The result of an `endpoint` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum EndpointReport {
    /// `endpoint show`
    Shown(Box<Shown>),
    /// `endpoint logs`, as JSON.
    Logs(Logs),
    /// `endpoint logs`, whose lines are already printed.
    Printed,
    /// `endpoint delete`
    Deleted(Deleted),
}

impl Report for EndpointReport {
    fn is_printed(&self) -> bool {
        matches!(self, Self::Printed)
    }
}

impl fmt::Display for EndpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(shown) => shown.fmt(f),
            Self::Logs(_) | Self::Printed => Ok(()),
            Self::Deleted(deleted) => deleted.fmt(f),
        }
    }
}

/// The word for a fact that AWS does not report.
const UNKNOWN: &str = "unknown";

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.details;
        let mut row = |label: &str, value: &str| writeln!(f, "{label:<14}{}", clean(value));
        row("endpoint", &details.endpoint)?;
        writeln!(f, "status        {}", state(details.status.as_str()))?;
        let mut row = |label: &str, value: &str| writeln!(f, "{label:<14}{}", clean(value));
        if let Some(failure) = &details.failure {
            row("failure", failure)?;
        }
        if let Some(cause) = self.explanation.as_ref().and_then(|it| it.cause.as_ref()) {
            row("likely cause", &cause.what)?;
            row("", &cause.fix)?;
        }
        let version = self.version.map(|version| version.to_string());
        row("version", version.as_deref().unwrap_or(UNKNOWN))?;
        row(
            "configuration",
            details.configuration.as_deref().unwrap_or(UNKNOWN),
        )?;
        if let Some(pending) = &details.pending_configuration {
            row("deploying", pending)?;
        }
        if let Some(strategy) = &details.strategy {
            row("strategy", strategy)?;
        }
        if let Some(changed) = details.changed {
            row("changed", &time(changed))?;
        }
        row("capture", &self.capture())?;
        row("URL", &self.url)?;
        writeln!(f)?;
        let header = ["VARIANT", "WEIGHT", "INSTANCES", "TYPE", "IMAGE"];
        f.write_str(&table(&header, details.variants.iter().map(variant)))?;
        if !self.alarms.is_empty() {
            writeln!(f)?;
            let header = ["ALARM", "STATE", "SINCE", "REASON"];
            f.write_str(&table(&header, self.alarms.iter().map(alarm)))?;
        }
        if !self.deployments.is_empty() {
            writeln!(f)?;
            let header = ["DEPLOYMENT", "TOOK", "STATUS", "REASON"];
            f.write_str(&table(&header, self.deployments.iter().map(deployment)))?;
        }
        write!(f, "\nNext: {}", self.next)
    }
}

impl Shown {
    fn capture(&self) -> String {
        match &self.details.capture {
            Some(capture) if capture.enabled => {
                let percent = capture.percent.map(|percent| percent.to_string());
                format!(
                    "{} % to {}",
                    percent.as_deref().unwrap_or(UNKNOWN),
                    capture.destination.as_deref().unwrap_or(UNKNOWN)
                )
            }
            _ => "off".to_owned(),
        }
    }
}

fn variant(variant: &Variant) -> Vec<String> {
    let digest = variant
        .image
        .as_deref()
        .map(|image| match image.split_once('@') {
            Some((_, digest)) => digest.chars().take("sha256:".len() + 12).collect(),
            None => image.to_owned(),
        });
    vec![
        variant.variant.clone(),
        change(variant.weight, variant.desired_weight),
        change(variant.instances, variant.desired_instances),
        variant
            .instance_type
            .clone()
            .unwrap_or_else(|| UNKNOWN.to_owned()),
        digest.unwrap_or_else(|| UNKNOWN.to_owned()),
    ]
}

/// A number, and the one that it will become: `1 -> 2`.
fn change<T: PartialEq + fmt::Display>(now: Option<T>, then: Option<T>) -> String {
    match (now, then) {
        (Some(now), Some(then)) if now != then => format!("{now} -> {then}"),
        (Some(now), _) => now.to_string(),
        (None, Some(then)) => format!("0 -> {then}"),
        (None, None) => UNKNOWN.to_owned(),
    }
}

fn alarm(alarm: &AlarmNow) -> Vec<String> {
    let state = alarm.state.clone();
    vec![
        alarm.name.clone(),
        state.unwrap_or_else(|| "missing".to_owned()),
        alarm.since.map(time).unwrap_or_default(),
        alarm.reason.clone().unwrap_or_default(),
    ]
}

fn deployment(deployment: &Deployment) -> Vec<String> {
    let took = match (deployment.started, deployment.ended) {
        (Some(started), Some(ended)) => duration(ended.duration_since(started).as_secs()),
        (Some(_), None) => "in progress".to_owned(),
        _ => UNKNOWN.to_owned(),
    };
    let at = deployment.started.or(deployment.ended);
    vec![
        at.map_or_else(|| UNKNOWN.to_owned(), time),
        took,
        deployment.status.clone(),
        deployment.reason.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_progress_is_shown() {
        assert_eq!(change(Some(1), Some(1)), "1");
        assert_eq!(change(Some(0.5_f32), Some(1.0)), "0.5 -> 1");
        assert_eq!(change(None, Some(2)), "0 -> 2");
        assert_eq!(change::<i32>(None, None), "unknown");
    }
}
