//! The stacks of a project: their names, templates and parameters.

use std::collections::BTreeMap;

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::ProjectName;
use mlops_core::s3::S3Uri;
use mlops_oci::Digest;
use sha2::{Digest as _, Sha256};

use super::Platform;
use super::outline;
use super::outputs::NO_ANALYZER;
use super::part::Part;
use super::program::{self, Program};
use crate::config::Project;

/// The key and the buckets.
const DATA: &str = include_str!("templates/data.yaml");
/// The VPC.
const NETWORK: &str = include_str!("templates/network.yaml");
/// Image repository and model packages.
const REGISTRY: &str = include_str!("templates/registry.yaml");
/// Git repositories.
const CODE: &str = include_str!("templates/code.yaml");
/// The roles.
const GOVERNANCE: &str = include_str!("templates/governance.yaml");
/// The notebook.
const WORKBENCH: &str = include_str!("templates/workbench.yaml");
/// What the pipelines of all branches share.
const DELIVERY: &str = include_str!("templates/delivery.yaml");
/// The function for `validate --on lambda`.
const VALIDATION: &str = include_str!("templates/validation.yaml");
/// One version of the model in production.
const ENDPOINT: &str = include_str!("templates/endpoint.yaml");

/// The tag that records whether deleting the stack also deletes its data. CloudFormation ignores an update
/// that changes only a deletion policy; with the tag, `mlops plan` and `mlops init` see what an interrupted
/// `mlops destroy --delete-data` left behind, and `mlops init` restores the protection.
pub(super) const DELETION_TAG: &str = "mlops:deletion";
const PROTECTED: &[(&str, &str)] = &[(DELETION_TAG, "protected")];

/// Maximum length of a bucket's name in characters.
const LONGEST_BUCKET: usize = 63;

/// The desired state of a stack.
#[derive(Debug, Clone)]
pub struct StackSpec {
    /// The stack's name.
    pub name: String,
    /// The template's text.
    pub template: &'static str,
    /// The bucket of the templates that are too long for a request; it exists before any stack that has one.
    pub bucket: String,
    /// The template's parameters.
    pub parameters: Vec<(&'static str, String)>,
    /// The capabilities that the template requires.
    pub capabilities: &'static [&'static str],
    /// The stack's tags, which CloudFormation adds to its resources.
    pub tags: &'static [(&'static str, &'static str)],
    /// ARN of the role with which CloudFormation deploys it, instead of the caller's permissions.
    pub role: Option<String>,
    /// True if a deployment must not follow one that it did not know about: of two concurrent ones
    /// with different parameters, the second is refused.
    pub exclusive: bool,
}

impl StackSpec {
    /// The parts whose stacks must exist before this one.
    pub fn imports(&self) -> impl Iterator<Item = Part> {
        outline::imports(self.template).map(|(part, _)| part)
    }

    /// Returns the hash of what is to be deployed, in 16 hexadecimal digits: equal for the same
    /// template, parameters, capabilities and tags.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new_with_prefix(self.template);
        for (name, value) in &self.parameters {
            hash.update(format!("\n{name}={value}"));
        }
        for capability in self.capabilities {
            hash.update(format!("\n{capability}"));
        }
        for (key, value) in self.tags {
            hash.update(format!("\n{key}={value}"));
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// Fails (exit 2) if the name is too long for the project's buckets in this account and region.
pub fn check_name(project: &ProjectName, account: &str, region: &str) -> Result<()> {
    let bucket = format!("{project}-artifacts-{account}-{region}");
    let Some(over) = bucket.len().checked_sub(LONGEST_BUCKET + 1) else {
        return Ok(());
    };
    Err(Failure::usage(format!(
        "the project name `{project}` is too long for {region}: its bucket would be {bucket}, and \
         a bucket's name has at most {LONGEST_BUCKET} characters"
    )))
    .hint(format!(
        "choose a name of at most {} characters",
        project.as_str().len().saturating_sub(over + 1)
    ))
}

/// Fails (exit 2) if the name of a new project could be the name of another project's repository or stack.
pub fn check_new_name(project: &ProjectName) -> Result<()> {
    const TAKEN: [(&str, &str); 6] = [
        ("-drift", "the prefix of alarms"),
        ("-dq", "the prefix of monitoring jobs"),
        ("-eda", "the notebooks' repository"),
        ("-delivery", "the delivery stack"),
        ("-image", "the prefix of pipelines"),
        ("-ml", "the prefix of pipelines"),
    ];
    for (suffix, what) in TAKEN {
        if let Some(other) = project.as_str().strip_suffix(suffix) {
            return Err(Failure::usage(format!(
                "a project cannot be called `{project}`: that is {what} of a project `{other}`"
            )))
            .hint(format!("choose a name that does not end in `{suffix}`"));
        }
    }
    Ok(())
}

impl StackSpec {
    /// A stack that needs no capabilities, with the caller's permissions.
    pub(super) fn new(
        project: &Project,
        part: Part,
        template: &'static str,
        parameters: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            name: part.stack(&project.file.name),
            template,
            bucket: artifact_bucket(project),
            parameters,
            capabilities: &[],
            tags: if part.holds_data() { PROTECTED } else { &[] },
            role: None,
            exclusive: false,
        }
    }
}

pub(super) fn project_name(project: &Project) -> (&'static str, String) {
    ("ProjectName", project.file.name.to_string())
}

/// What the stacks of `mlops init` name besides the project's settings.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The digest of the analyzer's image, if there is one.
    pub analyzer: Option<Digest>,
    /// The program of the builds; required by [`Part::Delivery`].
    pub program: Option<Program>,
}

/// Returns a stack that `mlops init` deploys.
///
/// # Panics
/// Another command deploys the part, or it needs a program.
pub fn initial_stack(project: &Project, part: Part, inputs: &Inputs) -> StackSpec {
    let branches = &project.file.branches;
    let mut parameters = vec![project_name(project)];
    let template = match part {
        Part::Data => DATA,
        Part::Network => {
            let access = project.file.architecture.network.as_str();
            parameters.push(("Access", access.to_owned()));
            NETWORK
        }
        Part::Registry => {
            let digest = inputs.analyzer.as_ref();
            let digest = digest.map_or_else(|| NO_ANALYZER.to_owned(), Digest::to_string);
            parameters.extend([
                ("DevelopBranch", tag_of(branches.develop.as_str())),
                ("ProductionBranch", tag_of(branches.production.as_str())),
                ("AnalyzerDigest", digest),
            ]);
            REGISTRY
        }
        Part::Code => {
            let architecture = &project.file.architecture;
            parameters.extend([
                ("Source", architecture.source.as_str().to_owned()),
                ("Provider", architecture.provider.as_str().to_owned()),
            ]);
            CODE
        }
        Part::Governance => {
            parameters.push(("ProductionBranch", branches.production.to_string()));
            GOVERNANCE
        }
        Part::Workbench => {
            let source = project.file.architecture.source.as_str();
            parameters.push(("Source", source.to_owned()));
            WORKBENCH
        }
        Part::Delivery => {
            let found = inputs.program.as_ref();
            let found = found.expect("the caller knows the program");
            parameters.extend(program::parameters(project, found));
            DELIVERY
        }
        Part::Monitoring | Part::Retraining | Part::Validation | Part::Endpoint => {
            panic!("`mlops init` does not deploy {part:?}")
        }
    };
    let mut spec = StackSpec::new(project, part, template, parameters);
    if part == Part::Governance {
        spec.capabilities = &["CAPABILITY_NAMED_IAM"];
    }
    spec
}

/// Returns the name of the bucket of artifacts.
fn artifact_bucket(project: &Project) -> String {
    let [_, artifacts, ..] = buckets(project);
    artifacts
}

/// Returns the names of the project's buckets.
pub fn buckets(project: &Project) -> [String; 5] {
    let file = &project.file;
    ["data", "artifacts", "capture", "logs", "delivery"]
        .map(|part| format!("{}-{part}-{}-{}", file.name, file.account, file.region))
}

/// Returns a branch as an image tag: characters that tags do not allow become `-`.
fn tag_of(branch: &str) -> String {
    branch
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// Returns the SHA-256 of the endpoint's template, in hexadecimal.
pub fn endpoint_template_sha256() -> String {
    hex::encode(Sha256::digest(ENDPOINT))
}

/// Returns the address of the endpoint's captured traffic.
pub fn capture_uri(platform: &Platform) -> S3Uri {
    S3Uri::new(&platform.capture_bucket, "capture")
}

/// The stack of the endpoint, with the parameters of a release. A release of an earlier version of this
/// program may lack a parameter, which then has the template's default.
pub fn endpoint_stack(
    project: &Project,
    platform: &Platform,
    parameters: &BTreeMap<String, String>,
) -> StackSpec {
    let parameters = outline::parameters(ENDPOINT)
        .filter_map(|name| Some((name, parameters.get(name)?.clone())))
        .collect();
    StackSpec {
        role: Some(platform.deployer_role.clone()),
        exclusive: true,
        ..StackSpec::new(project, Part::Endpoint, ENDPOINT, parameters)
    }
}

/// The stack of the validation function, from the zip at `code_key` of the artifact bucket. Its parameter
/// `Revision` is the hash of everything else: comparing it with the stack's output shows whether the stack is
/// up to date.
pub fn validation_stack(
    project: &Project,
    platform: &Platform,
    code_key: &str,
    architecture: &str,
) -> StackSpec {
    let mut parameters = vec![
        project_name(project),
        ("RoleArn", platform.validation_role.clone()),
        ("ArtifactBucket", platform.artifact_bucket.clone()),
        ("CodeKey", code_key.to_owned()),
        ("Architecture", architecture.to_owned()),
    ];
    let mut hash = Sha256::new_with_prefix(VALIDATION);
    for (name, value) in &parameters {
        hash.update(format!("\n{name}={value}"));
    }
    parameters.push(("Revision", hex::encode(hash.finalize())));
    StackSpec {
        role: Some(platform.deployer_role.clone()),
        ..StackSpec::new(project, Part::Validation, VALIDATION, parameters)
    }
}

#[cfg(test)]
mod tests;
