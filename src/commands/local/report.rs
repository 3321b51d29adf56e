//! What the commands of the local cloud report.

use std::fmt;
use std::path::PathBuf;

use mlops_local_cloud::Status;
use serde::Serialize;

use super::{Env, GitCredential, Injected};
use crate::output::Report;

/// What one of the commands found or did.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum LocalReport {
    /// The environment of its clients.
    Env(Env),
    /// A server runs, or not.
    Status(Status),
    /// A server was ended.
    Ended {
        /// False when none ran.
        stopped: bool,
        /// The process ids of the servers: more than one if another took over in the meantime.
        processes: Vec<u32>,
    },
    /// A state directory was removed.
    Removed {
        /// The directory.
        directory: PathBuf,
        /// False when there was none.
        removed: bool,
    },
    /// What git requested.
    GitCredential(GitCredential),
    /// Something was loaded.
    Injected(Injected),
}

impl Report for LocalReport {}

impl fmt::Display for LocalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(env) => env.fmt(f),
            Self::Status(status) => {
                match (&status.endpoint, status.pid) {
                    (Some(endpoint), Some(pid)) => {
                        write!(f, "running at {endpoint} (process {pid}), ")?;
                    }
                    _ => f.write_str("not running, ")?,
                }
                write!(f, "state in {}", status.directory.display())?;
                for trouble in &status.degraded {
                    write!(
                        f,
                        "\ndegraded since {}: {}: {}",
                        trouble.since, trouble.what, trouble.why
                    )?;
                }
                Ok(())
            }
            Self::GitCredential(credential) => credential.fmt(f),
            Self::Injected(injected) => injected.fmt(f),
            Self::Ended { processes, .. } if processes.len() > 1 => write!(
                f,
                "The local cloud has ended, and another one that took over ({} processes); its data is \
                 kept.",
                processes.len()
            ),
            Self::Ended { stopped: true, .. } => {
                f.write_str("The local cloud has ended; its data is kept.")
            }
            Self::Ended { .. } => f.write_str("No local cloud was running."),
            Self::Removed {
                directory,
                removed: true,
            } => {
                write!(f, "Removed {}", directory.display())
            }
            Self::Removed { directory, .. } => {
                write!(f, "There was nothing in {}", directory.display())
            }
        }
    }
}
