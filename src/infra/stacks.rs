//! The stacks of a project: their names, templates and parameters.

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::ProjectName;
use mlops_core::s3::S3Uri;
use mlops_oci::Digest;
use sha2::{Digest as _, Sha256};

use super::outputs::NO_ANALYZER;
use super::{Network, Platform};
use crate::config::Project;

/// The VPC: see templates/network.yaml.
const NETWORK: &str = include_str!("templates/network.yaml");
/// Buckets, image repository, model packages, roles.
const PLATFORM: &str = include_str!("templates/platform.yaml");
/// Git repositories and the notebook.
const WORKBENCH: &str = include_str!("templates/workbench.yaml");
/// One version of the model in production.
const ENDPOINT: &str = include_str!("templates/endpoint.yaml");

/// The function for `validate --on lambda`.
const VALIDATION: &str = include_str!("templates/validation.yaml");

/// Maximum length of a bucket's name in characters.
const LONGEST_BUCKET: usize = 63;

/// The desired state of a stack.
#[derive(Debug, Clone)]
pub struct StackSpec {
    /// The stack's name.
    pub name: String,
    /// The template's text.
    pub template: &'static str,
    /// The template's parameters.
    pub parameters: Vec<(&'static str, String)>,
    /// The capabilities that the template requires.
    pub capabilities: &'static [&'static str],
    /// True if a deployment must not follow one that it did not know about: of two concurrent ones
    /// with different parameters, the second is refused.
    pub exclusive: bool,
}

impl StackSpec {
    /// Returns the hash of what is to be deployed, in 16 hexadecimal digits: equal for the same
    /// template, parameters and capabilities.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new_with_prefix(self.template);
        for (name, value) in &self.parameters {
            hash.update(format!("\n{name}={value}"));
        }
        for capability in self.capabilities {
            hash.update(format!("\n{capability}"));
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// Returns the name of a project's stack: `network`, `platform`, `workbench`, `endpoint` or
/// `validation`.
pub fn stack_name(project: &ProjectName, part: &str) -> String {
    format!("{project}-{part}")
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

/// The network stack.
pub fn network(project: &Project) -> StackSpec {
    StackSpec {
        name: stack_name(&project.file.name, "network"),
        template: NETWORK,
        parameters: vec![("ProjectName", project.file.name.to_string())],
        capabilities: &[],
        exclusive: false,
    }
}

/// The platform stack, with the digest of the analyzer's image, if any.
pub fn platform_stack(project: &Project, analyzer: Option<Digest>) -> StackSpec {
    StackSpec {
        name: stack_name(&project.file.name, "platform"),
        template: PLATFORM,
        parameters: vec![
            ("ProjectName", project.file.name.to_string()),
            (
                "DevelopBranch",
                tag_of(project.file.branches.develop.as_str()),
            ),
            (
                "ProductionBranch",
                tag_of(project.file.branches.production.as_str()),
            ),
            (
                "AnalyzerDigest",
                analyzer.map_or_else(|| NO_ANALYZER.to_owned(), |digest| digest.to_string()),
            ),
        ],
        capabilities: &["CAPABILITY_NAMED_IAM"],
        exclusive: false,
    }
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

/// The workbench stack, in the network and with the roles of the platform.
pub fn workbench_stack(project: &Project, network: &Network, platform: &Platform) -> StackSpec {
    StackSpec {
        name: stack_name(&project.file.name, "workbench"),
        template: WORKBENCH,
        parameters: vec![
            ("ProjectName", project.file.name.to_string()),
            (
                "SubnetId",
                network.private_subnets.first().cloned().unwrap_or_default(),
            ),
            ("SecurityGroupId", network.security_group.clone()),
            ("NotebookRoleArn", platform.notebook_role.clone()),
            ("KeyArn", platform.key.clone()),
        ],
        capabilities: &[],
        exclusive: false,
    }
}

/// The stack of the endpoint that serves one model package version.
pub fn endpoint_stack(
    project: &Project,
    platform: &Platform,
    model_package_arn: &str,
) -> StackSpec {
    let deploy = &project.file.deploy;
    StackSpec {
        name: stack_name(&project.file.name, "endpoint"),
        template: ENDPOINT,
        parameters: vec![
            ("EndpointName", project.file.name.to_string()),
            ("ModelPackageArn", model_package_arn.to_owned()),
            ("RoleArn", platform.endpoint_role.clone()),
            ("InstanceType", deploy.instance_type.clone()),
            ("InstanceCount", deploy.instance_count.to_string()),
            ("CapturePercent", deploy.capture_percent.to_string()),
            (
                "CaptureUri",
                S3Uri::new(&platform.artifact_bucket, "capture").to_string(),
            ),
        ],
        capabilities: &[],
        exclusive: true,
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
        ("ProjectName", project.file.name.to_string()),
        ("DataBucket", platform.data_bucket.clone()),
        ("ArtifactBucket", platform.artifact_bucket.clone()),
        ("KeyArn", platform.key.clone()),
        ("CodeKey", code_key.to_owned()),
        ("Architecture", architecture.to_owned()),
    ];
    let mut hash = Sha256::new_with_prefix(VALIDATION);
    for (name, value) in &parameters {
        hash.update(format!("\n{name}={value}"));
    }
    parameters.push(("Revision", hex::encode(hash.finalize())));
    StackSpec {
        name: stack_name(&project.file.name, "validation"),
        template: VALIDATION,
        parameters,
        capabilities: &["CAPABILITY_NAMED_IAM"],
        exclusive: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::infra::Workbench;

    /// Parses `section → entry → lines` of a template that is indented by two.
    fn outline(template: &str) -> BTreeMap<&str, BTreeMap<&str, Vec<&str>>> {
        let mut sections: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        let (mut section, mut entry) = ("", "");
        for line in template.lines() {
            let indent = line.len() - line.trim_start().len();
            match (indent, line.trim().strip_suffix(':')) {
                (0, Some(name)) => section = name,
                (2, Some(name)) => {
                    entry = name;
                    sections.entry(section).or_default().insert(name, vec![]);
                }
                (3.., _) => sections
                    .get_mut(section)
                    .and_then(|section| section.get_mut(entry))
                    .into_iter()
                    .for_each(|lines| lines.push(line.trim())),
                _ => {}
            }
        }
        sections
    }

    fn project() -> Project {
        Project {
            root: ".".into(),
            file: toml::from_str(
                "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
            )
            .unwrap(),
        }
    }

    /// Returns the outputs that the template declares, each with its own name as value.
    fn declared(template: &str) -> BTreeMap<String, String> {
        outline(template)["Outputs"]
            .keys()
            .map(|name| ((*name).to_owned(), (*name).to_owned()))
            .collect()
    }

    #[test]
    fn templates_declare_all_parameters_and_outputs_that_the_code_uses() {
        let project = project();
        let network_outputs = Network::read("network", &declared(NETWORK)).unwrap();
        let mut platform_outputs = declared(PLATFORM);
        let analyzer = platform_outputs.insert("AnalyzerDigest".to_owned(), "none".to_owned());
        assert!(analyzer.is_some(), "the template declares it");
        let platform_outputs = Platform::read("platform", &platform_outputs).unwrap();
        Workbench::read("workbench", &declared(WORKBENCH)).unwrap();
        for name in [
            "EndpointName",
            "EndpointConfigName",
            "ModelName",
            "ModelPackageArn",
        ] {
            assert!(declared(ENDPOINT).contains_key(name), "{name}");
        }
        for spec in [
            network(&project),
            platform_stack(&project, None),
            workbench_stack(&project, &network_outputs, &platform_outputs),
            endpoint_stack(&project, &platform_outputs, "arn"),
            validation_stack(&project, &platform_outputs, "key", "x86_64"),
        ] {
            let outline = outline(spec.template);
            let parameters = &outline["Parameters"];
            for (name, value) in &spec.parameters {
                assert!(parameters.contains_key(name), "{}: {name}", spec.name);
                assert!(!value.is_empty(), "{}: {name}", spec.name);
            }
            for (name, lines) in parameters {
                let passed = spec.parameters.iter().any(|(passed, _)| passed == name);
                let default = lines.iter().any(|line| line.starts_with("Default:"));
                assert!(passed || default, "{}: {name} is not passed", spec.name);
            }
        }
    }

    #[test]
    fn resources_with_data_outlive_their_stack() {
        const HOLD_DATA: [&str; 5] = [
            "AWS::S3::Bucket",
            "AWS::KMS::Key",
            "AWS::ECR::Repository",
            "AWS::CodeCommit::Repository",
            "AWS::SageMaker::ModelPackageGroup",
        ];
        let mut found = 0;
        for template in [NETWORK, PLATFORM, WORKBENCH, ENDPOINT, VALIDATION] {
            for (name, lines) in &outline(template)["Resources"] {
                let holds = lines.iter().any(|line| {
                    line.strip_prefix("Type: ")
                        .is_some_and(|kind| HOLD_DATA.contains(&kind))
                });
                if holds {
                    found += 1;
                    assert!(
                        lines.contains(&"DeletionPolicy: RetainExceptOnCreate"),
                        "{name}"
                    );
                    assert!(lines.contains(&"UpdateReplacePolicy: Retain"), "{name}");
                }
            }
        }
        assert_eq!(found, 7);
    }

    #[test]
    fn every_release_makes_its_own_model_and_configuration() {
        assert!(!ENDPOINT.contains("  ModelName:\n        Fn::Sub"));
        let outline = outline(ENDPOINT);
        for resource in ["Model", "EndpointConfig"] {
            let own = format!("{resource}Name:");
            let lines = &outline["Resources"][resource];
            let variant = lines
                .iter()
                .position(|line| line.starts_with("- VariantName"));
            let fixed = lines.iter().position(|line| *line == own);
            // `ModelName` of a variant is a reference, not the model's own name.
            assert!(fixed.is_none() || variant < fixed, "{resource}");
        }
    }

    #[test]
    fn a_name_must_leave_room_for_account_and_region() {
        let name: ProjectName = "a-rather-long-project-name".parse().unwrap();
        check_name(&name, "000000000000", "us-east-1").unwrap();
        let error = check_name(&name, "000000000000", "ap-southeast-1").unwrap_err();
        assert_eq!(
            mlops_core::error::exit(&error),
            mlops_core::error::Exit::Usage
        );
        assert!(mlops_core::error::hints(&error)[0].contains("25 characters"));
    }
}
