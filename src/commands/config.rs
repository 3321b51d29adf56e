//! `mlops config`: the effective configuration.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::config::{FILE, ProjectFile};
use crate::context::Context;
use crate::output::Report;

/// Show the configuration
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Show the effective configuration: mlops.toml < environment < flags
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
}

/// Merges the sources and reports the result.
pub fn run(ctx: &Context, command: &ConfigCommand) -> Result<MergedConfig> {
    match command {
        ConfigCommand::Show => {
            let project = ctx.project()?;
            Ok(MergedConfig {
                root: project.root,
                local: ctx.config.local,
                profile: ctx.config.profile.clone(),
                region: ctx
                    .config
                    .region
                    .clone()
                    .unwrap_or_else(|| project.file.region.clone()),
                endpoint_url: ctx.config.endpoint_url.clone(),
                cache: ctx.config.cache.clone(),
                project: project.file,
            })
        }
    }
}

impl Report for MergedConfig {}

impl fmt::Display for MergedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = toml::to_string_pretty(&self.project).map_err(|_| fmt::Error)?;
        writeln!(f, "# {}", self.root.join(FILE).display())?;
        writeln!(f, "{text}")?;
        writeln!(f, "# environment and flags")?;
        let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        writeln!(f, "# local         {}", self.local)?;
        writeln!(f, "# profile       {}", optional(&self.profile))?;
        writeln!(f, "# region        {}", self.region)?;
        writeln!(f, "# endpoint_url  {}", optional(&self.endpoint_url))?;
        writeln!(f, "# cache         {}", self.cache.display())
    }
}
