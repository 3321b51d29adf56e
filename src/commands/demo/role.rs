//! Runs a command of the demo with the role of its actor.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use tokio::process::Command;

/// Gives `command` the variables that `mlops local env --role ROLE` prints for the project in
/// `directory`.
pub(super) async fn assume(command: &mut Command, directory: &Path, role: &str) -> Result<()> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--local", "--quiet", "--output", "json"])
        .args(["local", "env", "--role", role])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("cannot assume the role {role}"))?;
    if !output.status.success() {
        return Err(anyhow!("cannot assume the role {role}"));
    }
    let variables: BTreeMap<String, Option<String>> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the variables of the role {role} are not JSON"))?;
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The session's endpoint overrides `local = true` in mlops.toml, but not this variable.
    command.env_remove("MLOPS_LOCAL");
    Ok(())
}
