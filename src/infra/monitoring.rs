//! The stack of the scheduled monitors.

use super::part::Part;
use super::stacks::{StackSpec, project_name};
use crate::config::{ModelQualitySection, Project};

/// The schedules, and the alarms of their metrics.
pub(super) const MONITORING: &str = include_str!("templates/monitoring.yaml");

/// The stack of the monitors, with the settings of mlops.toml and the analyzer's image.
pub fn monitoring_stack(project: &Project, image: &str) -> StackSpec {
    let monitor = &project.file.monitor;
    let hours = monitor.every_hours;
    let number = |value: u64| value.to_string();
    let quality = monitor.model_quality.as_ref();
    let delay = quality.map_or(0, |quality| quality.delay_hours);
    let variables = quality.map(ModelQualitySection::variables);
    let variables = variables.into_iter().flatten();
    let mut parameters: Vec<_> = variables
        .filter_map(|(name, value)| Some((parameter(name)?, value)))
        // The default of each is empty; without a problem type, there is no second schedule.
        .filter(|(_, value)| !value.is_empty())
        .collect();
    parameters.extend([
        project_name(project),
        ("Image", image.to_owned()),
        ("DelayHours", number(delay.into())),
        ("EveryHours", number(hours.into())),
        ("EveryMinutes", number(u64::from(hours) * 60)),
        ("Period", number(u64::from(hours) * 3600)),
        ("MinimumRecords", number(monitor.minimum_records)),
        ("AlarmPeriods", number(monitor.alarm_periods.into())),
        ("AlarmDatapoints", number(monitor.alarm_datapoints.into())),
    ]);
    StackSpec::new(project, Part::Monitoring, MONITORING, parameters)
}

/// The parameter of a setting of AWS's analyzer.
fn parameter(name: &str) -> Option<&'static str> {
    Some(match name {
        "problem_type" => "ProblemType",
        "inference_attribute" => "InferenceAttribute",
        "probability_attribute" => "ProbabilityAttribute",
        "probability_threshold_attribute" => "ProbabilityThreshold",
        "ground_truth_attribute" => "GroundTruthAttribute",
        _ => return None,
    })
}
