//! `mlops local env`: shell assignments that point other AWS clients to the local cloud.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::StateArgs;
use crate::config::shell::Shell;
use crate::context::Context;

/// Print shell variables that point AWS clients to the local cloud
///
/// Prints assignments for a shell to evaluate: endpoint, region and dummy credentials for the aws
/// CLI, boto3, Terraform and other clients, and `NO_PROXY` if a proxy is set. Like every command
/// with --local, starts a local cloud if none is running. It exits after 15 idle minutes; a later
/// start uses the same port if it is free.
///
/// Example: eval "$(mlops local env)"
///
/// Example: mlops local env --shell fish | source
#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    /// The shell to print assignments for
    #[arg(long, value_enum, default_value_t)]
    shell: Shell,
    #[command(flatten)]
    state: StateArgs,
}

/// Variables that would redirect clients or override the dummy credentials.
const UNSET: &[&str] = &[
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
];

/// The environment for clients of a local cloud. In JSON, an object of variables; null means that
/// the variable must be unset.
#[derive(Debug, Serialize)]
pub struct Env {
    #[serde(flatten)]
    variables: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    shell: Shell,
}

pub(super) async fn run(ctx: &Context, args: &EnvArgs) -> Result<Env> {
    let directory = args.state.directory(ctx);
    let connection = ctx.connect_local(&directory).await?;
    // The project's region first, because its resources are there.
    let region = match ctx.config.find_project()? {
        Some(project) => project.file.region,
        None => ctx
            .config
            .region
            .clone()
            .unwrap_or_else(|| "us-east-1".to_owned()),
    };
    ctx.progress.say(format!(
        "AWS clients in this shell now use the local cloud at {}",
        connection.endpoint
    ));
    let set = [
        ("AWS_ENDPOINT_URL", connection.endpoint),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ACCESS_KEY_ID", connection.access_key),
        ("AWS_SECRET_ACCESS_KEY", connection.secret_key),
    ];
    let set = set.map(|(name, value)| (name.to_owned(), value.into()));
    let direct = crate::config::no_proxy().into_iter();
    let direct = direct.flat_map(|hosts| {
        ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), hosts.clone().into()))
    });
    let unset = UNSET
        .iter()
        .map(|name| (*name).to_owned())
        .chain(crate::config::endpoint_overrides())
        .map(|name| (name, serde_json::Value::Null));
    Ok(Env {
        variables: set.into_iter().chain(direct).chain(unset).collect(),
        shell: args.shell,
    })
}

impl fmt::Display for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            let line = match value.as_str() {
                Some(value) => self.shell.export(name, value),
                None => self.shell.unset(name),
            };
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
