//! The stack of retraining: the gate, and the rules and schedules that invoke it. Its parameters are the switches.

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
    /// Whether alarms of monitors request runs.
    pub on_drift: bool,
    /// Whether new versions of the data set request runs.
    pub on_data: bool,
    /// The expression of EventBridge Scheduler, and its time zone.
    pub schedule: Option<(String, String)>,
}

/// The deployed stack.
#[derive(Debug, Clone)]
pub struct DeployedGate {
    /// The strategies that are on.
    pub switches: Switches,
    /// The key of the gate's executable, and its architecture.
    pub code: (String, String),
    /// Hours between two starts.
    pub cool_down_hours: u32,
    /// Maximum number of starts in 24 hours.
    pub maximum_per_day: u32,
}

impl DeployedGate {
    /// Reads the deployed stack; `None` if there is none.
    pub async fn read(clients: &Clients, project: &Project) -> Result<Option<Self>> {
        let name = Part::Retraining.stack(&project.file.name);
        let stack = cfn::stack(clients, &name).await?;
        let Some(stack) = stack.filter(|stack| !stack.outputs.is_empty()) else {
            return Ok(None);
        };
        let parameter = |name: &str| stack.parameters.get(name).cloned().unwrap_or_default();
        let number = |name: &str| parameter(name).parse().unwrap_or_default();
        let schedule = Some(parameter("Schedule")).filter(|expression| expression != NONE);
        Ok(Some(Self {
            switches: Switches {
                on_drift: parameter("OnDrift") == "true",
                on_data: parameter("OnData") == "true",
                schedule: schedule.map(|expression| (expression, parameter("TimeZone"))),
            },
            code: (parameter("CodeKey"), parameter("Architecture")),
            cool_down_hours: number("CoolDownHours"),
            maximum_per_day: number("MaximumPerDay"),
        }))
    }
}

/// The stack with these switches, and the limits of mlops.toml.
pub fn retraining_stack(project: &Project, program: &Program, switches: &Switches) -> StackSpec {
    let code = (program.key(), program.architecture.clone());
    retraining_stack_with(project, code, switches)
}

/// The same with an executable that is deployed: its key and architecture.
pub fn retraining_stack_with(
    project: &Project,
    (key, architecture): (String, String),
    switches: &Switches,
) -> StackSpec {
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
            ("CodeKey", key),
            ("Architecture", architecture),
            ("OnDrift", switches.on_drift.to_string()),
            ("OnData", switches.on_data.to_string()),
            ("Schedule", expression),
            ("TimeZone", zone),
            ("CoolDownHours", limits.cool_down_hours.to_string()),
            ("MaximumPerDay", limits.maximum_per_day.to_string()),
        ],
    )
}
