//! The executable that the builds of a project run, and the parameters of what all branches share.

use anyhow::Result;

use super::part::Part;
use crate::aws::Clients;
use crate::aws::cloudformation as cfn;
use crate::aws::function_code;
use crate::config::{Builder, Project};

/// The executable that builds run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable's SHA-256, in hexadecimal.
    pub checksum: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// The version of mlops.
    pub version: String,
}

impl Program {
    /// The key of its zip in the artifact bucket.
    pub fn key(&self) -> String {
        function_code::key(&self.checksum)
    }

    /// Reads which program the deployed builds run, if there are any.
    pub async fn deployed(clients: &Clients, project: &Project) -> Result<Option<Self>> {
        let name = Part::Delivery.stack(&project.file.name);
        let Some(stack) = cfn::stack(clients, &name).await? else {
            return Ok(None);
        };
        let parameter = |name: &str| stack.parameters.get(name).cloned();
        Ok((|| {
            Some(Self {
                checksum: parameter("ProgramChecksum")?,
                architecture: parameter("Architecture")?,
                version: parameter("ProgramVersion")?,
            })
        })())
    }
}

/// The parameters of the shared part.
pub(super) fn parameters(project: &Project, program: &Program) -> Vec<(&'static str, String)> {
    let delivery = project.file.delivery.clone().unwrap_or_default();
    let builder = project.file.image.builder;
    let needs_docker = builder == Builder::Docker;
    let mut parameters = vec![
        ("Architecture", program.architecture.clone()),
        ("ProgramChecksum", program.checksum.clone()),
        ("ProgramVersion", program.version.clone()),
        ("Docker", needs_docker.to_string()),
        (
            "ProductionBranch",
            project.file.branches.production.to_string(),
        ),
        ("Review", delivery.review.to_string()),
    ];
    // Without an address, the template's default says so.
    let addresses = [("Email", delivery.email), ("Webhook", delivery.webhook)];
    parameters.extend(
        addresses
            .into_iter()
            .filter_map(|(name, address)| Some((name, address?))),
    );
    parameters
}
