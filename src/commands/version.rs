//! `mlops version`.

use std::fmt;

use serde::Serialize;

use crate::output::Report;

/// Print the version
#[derive(Debug, clap::Args)]
pub struct VersionArgs {}

/// The version of this program.
#[derive(Debug, Serialize)]
pub struct Version {
    version: &'static str,
}

/// Reports the version.
pub fn run(_args: &VersionArgs) -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION"),
    }
}

impl Report for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mlops {}", self.version)
    }
}
