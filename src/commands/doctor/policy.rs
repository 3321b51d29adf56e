//! `mlops doctor --iam`: the permissions of a command as a policy document.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::permissions::{self, Names};

/// The longest managed policy, in characters without white space.
const LONGEST: usize = 6144;

/// A policy document.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Policy(Value);

/// Returns the policy of a command, or of all commands if `command` is empty, for the project's
/// resources.
pub(super) fn of(ctx: &Context, command: &str) -> Result<Policy> {
    let names = match ctx.config.find_project()? {
        None => Names::default(),
        Some(project) => Names {
            account: project.file.account,
            region: project.file.region,
            project: project.file.name.to_string(),
        },
    };
    let command = Some(command.trim()).filter(|command| !command.is_empty());
    let command = command.map(|command| command.trim_start_matches("mlops "));
    let policy = permissions::policy(command, &names)?;
    let length = policy.to_string().len();
    if length > LONGEST {
        ctx.progress.say(format!(
            "the document has {length} characters; a managed policy has at most {LONGEST}: split \
             its statements over several"
        ));
    }
    Ok(Policy(policy))
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}
