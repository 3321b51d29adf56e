//! Which executable the builds of a project run.

use anyhow::Result;
use mlops_core::error::{Failure, Hint};

use crate::aws::Clients;
use crate::aws::function_code::Code;
use crate::config::Project;
use crate::infra::Program;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the program of a project's builds, if mlops.toml has the section `[delivery]`: `code`, or the one that is
/// deployed if it has this version, or this executable on Linux. So the executables of several people do not replace
/// each other.
///
/// # Errors
/// There is none of them, or builds cannot run this executable.
pub async fn of_builds(
    clients: &Clients,
    project: &Project,
    code: Option<&Code>,
) -> Result<Option<Program>> {
    if project.file.delivery.is_none() {
        return Ok(None);
    }
    let of = |code: &Code| Program {
        checksum: code.checksum.clone(),
        architecture: code.architecture.as_str().to_owned(),
        version: VERSION.to_owned(),
    };
    if let Some(code) = code {
        return Ok(Some(of(code)));
    }
    let deployed = Program::deployed(clients, project).await?;
    if let Some(deployed) = deployed.filter(|deployed| deployed.version == VERSION) {
        return Ok(Some(deployed));
    }
    if cfg!(target_os = "linux") {
        return Ok(Some(of(&Code::read(None)?)));
    }
    Err(Failure::usage(
        "the builds of [delivery] need mlops for Linux",
    ))
    .hint("run `mlops init --linux-binary FILE` with the executable for Linux")
}
