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
    // Without the section, every parameter is empty, and there is no second schedule.
    let variable = |name: &str| {
        let found = variables.iter().flatten().find(|(known, _)| *known == name);
        found.map_or_else(String::new, |(_, value)| value.clone())
    };
    StackSpec::new(
        project,
        Part::Monitoring,
        MONITORING,
        vec![
            ("ProblemType", variable("problem_type")),
            ("InferenceAttribute", variable("inference_attribute")),
            ("ProbabilityAttribute", variable("probability_attribute")),
            (
                "ProbabilityThreshold",
                variable("probability_threshold_attribute"),
            ),
            ("GroundTruthAttribute", variable("ground_truth_attribute")),
            ("DelayHours", number(delay.into())),
            project_name(project),
            ("Image", image.to_owned()),
            ("EveryHours", number(hours.into())),
            ("EveryMinutes", number(u64::from(hours) * 60)),
            ("Period", number(u64::from(hours) * 3600)),
            ("MinimumRecords", number(monitor.minimum_records)),
            ("AlarmPeriods", number(monitor.alarm_periods.into())),
            ("AlarmDatapoints", number(monitor.alarm_datapoints.into())),
        ],
    )
}
