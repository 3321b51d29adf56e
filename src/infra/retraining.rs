//! The stack of retraining: the gate, and the rules and schedules that ask it. Its parameters are the switches.

use anyhow::Result;

use super::part::Part;
use super::program::Program;
use super::stacks::{StackSpec, project_name};
use crate::aws::Clients;
use crate::aws::cloudformation as cfn;
use crate::config::Project;

/// The gate, its rules and schedules.
pub(super) const RETRAINING: &str = include_str!("templates/retraining.yaml");

/// The value of `Schedule` without a schedule.
const NONE: &str = "none";

/// The strategies that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    /// Whether alarms of monitors ask for runs.
    pub on_drift: bool,
    /// Whether new versions of the data set ask for runs.
    pub on_data: bool,
    /// The expression of EventBridge Scheduler, and its time zone.
    pub schedule: Option<(String, String)>,
}

impl Switches {
    /// Reads the switches of the deployed stack; `None` if there is none.
    pub async fn deployed(clients: &Clients, project: &Project) -> Result<Option<Self>> {
        let name = Part::Retraining.stack(&project.file.name);
        let stack = cfn::stack(clients, &name).await?;
        let Some(stack) = stack.filter(|stack| !stack.outputs.is_empty()) else {
            return Ok(None);
        };
        let parameter = |name: &str| stack.parameters.get(name).map(String::as_str);
        let schedule = parameter("Schedule").filter(|expression| *expression != NONE);
        let zone = parameter("TimeZone").unwrap_or("UTC");
        Ok(Some(Self {
            on_drift: parameter("OnDrift") == Some("true"),
            on_data: parameter("OnData") == Some("true"),
            schedule: schedule.map(|expression| (expression.to_owned(), zone.to_owned())),
        }))
    }
}

/// The stack with these switches, and the limits of mlops.toml.
pub fn retraining_stack(project: &Project, program: &Program, switches: &Switches) -> StackSpec {
    let limits = &project.file.retrain;
    let schedule = switches.schedule.clone();
    let (expression, zone) = schedule.unwrap_or_else(|| (NONE.to_owned(), "UTC".to_owned()));
    StackSpec::new(
        project,
        Part::Retraining,
        RETRAINING,
        vec![
            project_name(project),
            ("Tag", project.file.branches.develop.tag()),
            ("Dataset", project.dataset().to_string()),
            ("CodeKey", program.key()),
            ("Architecture", program.architecture.clone()),
            ("OnDrift", switches.on_drift.to_string()),
            ("OnData", switches.on_data.to_string()),
            ("Schedule", expression),
            ("TimeZone", zone),
            ("CoolDownHours", limits.cool_down_hours.to_string()),
            ("MaximumPerDay", limits.maximum_per_day.to_string()),
        ],
    )
}
