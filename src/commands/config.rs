//! `mlops config`: the effective configuration, and where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::text::wide_table;
use serde::Serialize;
use serde_json::Value;

use crate::config::{Color, FILE, Origin, ProjectFile};
use crate::context::Context;
use crate::output::{Format, Report};

/// Show the configuration
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Show each value of the configuration, and what sets it
    ///
    /// A value comes from a flag, an environment variable, a line of mlops.toml, or is the default,
    /// in this order.
    ///
    /// Example: mlops config show --output json
    Show,
}

/// The merged configuration.
#[derive(Debug, Serialize)]
pub struct MergedConfig {
    root: PathBuf,
    project: ProjectFile,
    local: bool,
    profile: Option<String>,
    region: String,
    endpoint_url: Option<String>,
    cache: PathBuf,
    ca_bundle: Option<PathBuf>,
    python: Option<PathBuf>,
    spark_home: Option<PathBuf>,
    java_home: Option<PathBuf>,
    output: &'static str,
    color: &'static str,
    /// In seconds.
    poll_interval: f64,
    /// In seconds.
    timeout: f64,
    /// The origin of each value, by its path: `region`, `project.deploy.instance_type`.
    origins: BTreeMap<String, Origin>,
}

/// Merges the sources and reports the result.
pub fn run(ctx: &Context, command: &ConfigCommand) -> Result<MergedConfig> {
    let ConfigCommand::Show = command;
    let project = ctx.project()?;
    let config = &ctx.config;
    let ca_bundle = config.ca_bundle();
    let mut merged = MergedConfig {
        local: config.local,
        profile: config.profile.clone(),
        region: config
            .region
            .clone()
            .unwrap_or_else(|| project.file.region.clone()),
        endpoint_url: config.endpoint_url.clone(),
        cache: config.cache.clone(),
        ca_bundle: ca_bundle.as_ref().map(|bundle| bundle.path.clone()),
        python: config.python.clone(),
        spark_home: config.spark_home.clone(),
        java_home: config.java_home.clone(),
        output: match config.format {
            Format::Human => "human",
            Format::Json => "json",
        },
        color: match config.color {
            Color::Auto => "auto",
            Color::Always => "always",
            Color::Never => "never",
        },
        poll_interval: config.poll_interval.as_secs_f64(),
        timeout: config.timeout.as_secs_f64(),
        origins: BTreeMap::new(),
        root: project.root.clone(),
        project: project.file.clone(),
    };
    let lines = project.origins()?;
    let origins = merged.values().into_iter().map(|(path, _)| {
        let line = path
            .strip_prefix(PROJECT)
            .and_then(|path| lines.get(path))
            .or_else(|| (path == "region").then(|| lines.get(&path)).flatten());
        let origin = match (config.origins.get(path.as_str()), &ca_bundle) {
            (_, Some(bundle)) if path == "ca_bundle" => bundle_origin(&bundle.setting),
            (Some(known), _) if *known != Origin::Default => known.clone(),
            _ => line.cloned().unwrap_or(Origin::Default),
        };
        (path, origin)
    });
    merged.origins = origins.collect();
    Ok(merged)
}

/// The origin of the certificates to trust.
fn bundle_origin(setting: &str) -> Origin {
    const NAME: &str = "AWS_CA_BUNDLE";

    if setting == NAME {
        Origin::Environment { name: NAME }
    } else {
        Origin::AwsConfig {
            setting: setting.to_owned(),
        }
    }
}

/// The prefix of the paths of values in mlops.toml.
const PROJECT: &str = "project.";

impl MergedConfig {
    /// Returns each value with its path, in the order of the fields.
    fn values(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        if let Ok(Value::Object(all)) = serde_json::to_value(self) {
            for (name, value) in all {
                if name != "root" && name != "origins" {
                    collect(&name, value, &mut found);
                }
            }
        }
        found
    }
}

/// Collects the values below `path` that are not objects.
fn collect(path: &str, value: Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(&format!("{path}.{name}"), value, found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}

/// Formats a value for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Report for MergedConfig {}

impl fmt::Display for MergedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (project, rest): (Vec<_>, Vec<_>) = self
            .values()
            .into_iter()
            .partition(|(path, _)| path.starts_with(PROJECT));
        writeln!(f, "{}", self.root.join(FILE).display())?;
        writeln!(f)?;
        let rows = project.into_iter().chain(rest).map(|(path, value)| {
            let origin = self.origins.get(&path).map(ToString::to_string);
            let name = path.strip_prefix(PROJECT).unwrap_or(&path);
            let seconds = matches!(name, "poll_interval" | "timeout");
            let value = if seconds {
                format!("{} s", shown(&value).trim_end_matches(".0"))
            } else {
                shown(&value)
            };
            let name = match name {
                // What the command uses; a flag or a variable may have replaced the project's value.
                "region" | "local" if path == name => format!("{name} in use"),
                name => name.to_owned(),
            };
            vec![name, value, origin.unwrap_or_default()]
        });
        f.write_str(&wide_table(&["SETTING", "VALUE", "ORIGIN"], rows))
    }
}
