//! `mlops local env`: shell assignments that point other AWS clients to the local cloud.

use std::fmt;

use anyhow::{Context as _, Result};
use mlops_core::error::Hint;
use mlops_local_cloud::{Connection, SessionKeys};
use serde::Serialize;

use super::StateArgs;
use crate::config::shell::Shell;
use crate::context::Context;

/// Print shell variables that point AWS clients to the local cloud
///
/// Prints assignments for a shell to evaluate: endpoint, region and credentials for the aws CLI,
/// boto3, Terraform and other clients, and `NO_PROXY` if a proxy is set. The credentials may do
/// everything. With --role they are those of a session of that role, whose policies are enforced;
/// the role's trust policy is not checked. Like every command
/// with --local, starts a local cloud if none is running. It exits after 15 idle minutes; a later
/// start uses the same port if it is free.
///
/// Example: eval "$(mlops local env)"
///
/// Example: mlops local env --shell fish | source
///
/// Example: eval "$(mlops local env --role flights-training)"
#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    /// The shell to print assignments for
    #[arg(long, value_enum, default_value_t)]
    shell: Shell,
    /// Print the credentials of a session of this role (name or ARN)
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
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
    let session = match &args.role {
        Some(role) => Some(session(&connection, role).await?),
        None => None,
    };
    let mut set = vec![
        ("AWS_ENDPOINT_URL", connection.endpoint),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
    ];
    match session {
        Some(keys) => set.extend([
            ("AWS_ACCESS_KEY_ID", keys.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key),
            ("AWS_SESSION_TOKEN", keys.session_token),
            ("AWS_CREDENTIAL_EXPIRATION", keys.expiration),
        ]),
        None => set.extend([
            ("AWS_ACCESS_KEY_ID", connection.access_key),
            ("AWS_SECRET_ACCESS_KEY", connection.secret_key),
        ]),
    }
    let given: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
    let unset = UNSET.iter().filter(|name| !given.contains(name));
    let unset = unset
        .map(|name| (*name).to_owned())
        .chain(crate::config::endpoint_overrides())
        .map(|name| (name, serde_json::Value::Null))
        .collect::<Vec<_>>();
    let set = set
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()));
    let direct = crate::config::no_proxy().into_iter();
    let direct = direct.flat_map(|hosts| {
        ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), hosts.clone().into()))
    });
    Ok(Env {
        variables: set.chain(direct).chain(unset).collect(),
        shell: args.shell,
    })
}

/// A session of a role of the local cloud.
async fn session(connection: &Connection, role: &str) -> Result<SessionKeys> {
    let keys = mlops_local_cloud::role_session(connection, role).await;
    keys.with_context(|| format!("cannot use the role {role}"))
        .hint("`aws iam list-roles` with the variables of `mlops local env` lists the roles")
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
