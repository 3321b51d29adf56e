//! The stack of the scheduled monitor.

use super::part::Part;
use super::stacks::{StackSpec, project_name};
use crate::config::Project;

/// The schedule, and the alarms of its metrics.
pub(super) const MONITORING: &str = include_str!("templates/monitoring.yaml");

/// The stack of the monitor, with the settings of mlops.toml and the analyzer's image.
pub fn monitoring_stack(project: &Project, image: &str) -> StackSpec {
    let monitor = &project.file.monitor;
    let hours = monitor.every_hours;
    let number = |value: u64| value.to_string();
    StackSpec::new(
        project,
        Part::Monitoring,
        MONITORING,
        vec![
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
