//! `mlops local git-credential`: git's credential helper for a local cloud that requires
//! credentials.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use mlops_local_cloud as local;
use serde::Serialize;

use super::StateArgs;
use crate::config::LOCAL_HOST;
use crate::context::Context;

/// Arguments of `mlops local git-credential`.
#[derive(Debug, clap::Args)]
pub struct GitCredentialArgs {
    /// The operation: get, store or erase
    action: String,
    #[command(flatten)]
    state: StateArgs,
}

/// The response; empty if there are no credentials.
#[derive(Debug, Serialize)]
pub struct GitCredential {
    username: Option<String>,
    password: Option<String>,
}

pub(super) async fn run(ctx: &Context, args: &GitCredentialArgs) -> Result<GitCredential> {
    let mut requested = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let line = line.context("cannot read git's request")?;
        if let Some((key, value)) = line.split_once('=') {
            requested.insert(key.to_owned(), value.to_owned());
        }
    }
    let of = |key: &str| requested.get(key).map_or("", String::as_str);
    let directory = args.state.directory(ctx);
    let found = if args.action == "get" {
        local::git_credential(
            &LOCAL_HOST,
            &directory,
            of("protocol"),
            of("host"),
            of("path"),
        )
        .await?
    } else {
        None
    };
    let (username, password) = found.unzip();
    Ok(GitCredential { username, password })
}

impl fmt::Display for GitCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [("username", &self.username), ("password", &self.password)];
        let lines: Vec<String> = lines
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}
