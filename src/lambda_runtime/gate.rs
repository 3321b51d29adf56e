//! The retrain gate as a Lambda function.

use anyhow::{Result, anyhow};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::config::{Config, GateVariable, GlobalArgs, gate_variable};
use crate::context::{Context, Interrupts};
use crate::retraining::{Gate, Limits, Message, Settings};

/// The command line of a function, which has no arguments.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    global: GlobalArgs,
}

/// Handles an event.
pub(super) async fn handle(event: &[u8], now: Timestamp) -> Result<Value> {
    let message = Message::read(event)?;
    let settings = settings(gate_variable)?;
    let line = CommandLine::try_parse_from(["bootstrap"])?;
    let ctx = Context::new(Config::load(&line.global)?, Interrupts::default());
    let gate = Gate {
        clients: ctx.aws().await?,
        settings: &settings,
        now,
    };
    gate.handle(&message).await
}

/// The settings of the function's configuration.
fn settings(variable: impl Fn(GateVariable) -> Option<String>) -> Result<Settings> {
    let text = |name: GateVariable| {
        variable(name).ok_or_else(|| anyhow!("the variable {} is not set", name.as_str()))
    };
    let number = |name: GateVariable| -> Result<u32> {
        let text = text(name)?;
        let number = text.parse();
        number.map_err(|_| anyhow!("the variable {} is not a number", name.as_str()))
    };
    let hours = number(GateVariable::CoolDownHours)?;
    Ok(Settings {
        project: text(GateVariable::Project)?,
        bucket: text(GateVariable::Bucket)?,
        pipeline: text(GateVariable::Pipeline)?,
        limits: Limits {
            cool_down: SignedDuration::from_hours(i64::from(hours)),
            maximum_per_day: number(GateVariable::MaximumPerDay)?,
        },
        on_drift: text(GateVariable::OnDrift)? == "true",
        on_data: text(GateVariable::OnData)? == "true",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_wrong_variable_is_named() {
        let given = |name: GateVariable| {
            Some(match name {
                GateVariable::CoolDownHours => "6".to_owned(),
                GateVariable::MaximumPerDay => "2".to_owned(),
                _ => "x".to_owned(),
            })
        };
        let found = settings(given).unwrap();
        assert_eq!(found.limits.cool_down, SignedDuration::from_hours(6));
        let missing = settings(|name| given(name).filter(|_| name != GateVariable::Bucket));
        assert_eq!(
            missing.unwrap_err().to_string(),
            "the variable MLOPS_BUCKET is not set"
        );
        let wrong = settings(|_| Some("many".to_owned())).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "the variable MLOPS_COOL_DOWN_HOURS is not a number"
        );
    }
}
