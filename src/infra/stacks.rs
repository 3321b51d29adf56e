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

/// Fails (exit 2) if the name of a new project could be the name of another project's repository.
pub fn check_new_name(project: &ProjectName) -> Result<()> {
    let Some(other) = project.as_str().strip_suffix("-eda") else {
        return Ok(());
    };
    Err(Failure::usage(format!(
        "a project cannot be called `{project}`: that is the notebooks' repository of a project `{other}`"
    )))
    .hint("choose a name that does not end in `-eda`")
}

impl StackSpec {
    /// A stack that needs no capabilities, with the caller's permissions.
    fn new(
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

fn project_name(project: &Project) -> (&'static str, String) {
    ("ProjectName", project.file.name.to_string())
}

/// Returns a stack that `mlops init` deploys, with the digest of the analyzer's image, if any.
///
/// # Panics
/// Another command deploys the part.
pub fn initial_stack(project: &Project, part: Part, analyzer: Option<Digest>) -> StackSpec {
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
            let digest =
                analyzer.map_or_else(|| NO_ANALYZER.to_owned(), |digest| digest.to_string());
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
        Part::Validation | Part::Endpoint => panic!("`mlops init` does not deploy {part:?}"),
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
pub fn buckets(project: &Project) -> [String; 4] {
    let file = &project.file;
    ["data", "artifacts", "capture", "logs"]
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

/// Returns the text of the endpoint's template.
pub fn endpoint_template() -> &'static str {
    ENDPOINT
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
mod tests {
    use super::*;
    use crate::aws::cloudformation::{LONGEST, LONGEST_INLINE};
    use crate::infra::{Network, PARTS, Workbench};

    const TEMPLATES: [&str; 8] = [
        DATA, NETWORK, REGISTRY, CODE, GOVERNANCE, WORKBENCH, VALIDATION, ENDPOINT,
    ];

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
        Network::read(&project.file.name, &declared(NETWORK)).unwrap();
        let mut outputs = declared(REGISTRY);
        let analyzer = outputs.insert("AnalyzerDigest".to_owned(), "none".to_owned());
        assert!(analyzer.is_some(), "the template declares it");
        for template in [DATA, GOVERNANCE] {
            for (name, value) in declared(template) {
                assert_eq!(
                    outputs.insert(name, value),
                    None,
                    "one stack has this output"
                );
            }
        }
        let platform = Platform::read(&project.file.name, &outputs).unwrap();
        let mut workbench = declared(WORKBENCH);
        workbench.extend(declared(CODE));
        Workbench::read(&project.file.name, &workbench).unwrap();
        for name in [
            "EndpointName",
            "EndpointConfigName",
            "ModelName",
            "ModelPackageArn",
            "ReleaseNumber",
            "ReleaseChecksum",
        ] {
            assert!(declared(ENDPOINT).contains_key(name), "{name}");
        }
        let release = outline::parameters(ENDPOINT)
            .map(|name| (name.to_owned(), "x".to_owned()))
            .collect();
        let initial = PARTS.into_iter().filter(|part| part.is_deployed_by_init());
        for spec in initial
            .map(|part| initial_stack(&project, part, None))
            .chain([
                endpoint_stack(&project, &platform, &release),
                validation_stack(&project, &platform, "key", "x86_64"),
            ])
        {
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
    fn a_part_imports_from_earlier_parts_only() {
        for (number, (part, template)) in PARTS.iter().zip(TEMPLATES).enumerate() {
            for (from, output) in outline::imports(template) {
                let from = PARTS.iter().position(|part| *part == from).unwrap();
                assert!(from < number, "{part:?}: {output}");
                assert!(declared(TEMPLATES[from]).contains_key(output), "{output}");
                let export = format!("Name: !Sub \"${{AWS::StackName}}-{output}\"");
                assert!(TEMPLATES[from].contains(&export), "{output}");
            }
            assert_eq!(
                outline::imports(template).count(),
                template.matches("!ImportValue").count(),
                "{part:?}"
            );
        }
    }

    #[test]
    fn every_template_has_the_expected_form() {
        for template in TEMPLATES {
            let found = outline::resources(template);
            let names: Vec<&str> = found.iter().map(|resource| resource.name).collect();
            let mut sorted = names.clone();
            sorted.sort_unstable();
            let outline = outline(template);
            assert_eq!(
                sorted,
                outline["Resources"].keys().copied().collect::<Vec<_>>()
            );
            for resource in found {
                assert!(resource.kind.starts_with("AWS::"), "{}", resource.name);
            }
        }
    }

    #[test]
    fn every_role_has_the_boundary_and_no_template_allows_everything() {
        let mut roles = 0;
        for template in TEMPLATES {
            for (name, lines) in &outline(template)["Resources"] {
                if lines.contains(&"Type: AWS::IAM::Role") {
                    roles += 1;
                    let boundary = "PermissionsBoundary: !Ref Boundary";
                    assert!(lines.contains(&boundary), "{name}");
                }
                for line in lines {
                    let everything = ["Action: \"*\"", "- \"*:*\"", "FullAccess"];
                    assert!(
                        !everything.iter().any(|bad| line.contains(bad)),
                        "{name}: {line}"
                    );
                }
                // A role is only passed to a service that is named.
                for (index, line) in lines.iter().enumerate() {
                    if line.contains("iam:PassRole") {
                        let rest = &lines[index..lines.len().min(index + 8)];
                        let named = rest.iter().any(|line| line.contains("iam:PassedToService"));
                        assert!(named, "{name}");
                    }
                }
            }
        }
        assert_eq!(roles, 12);
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
        for (part, template) in PARTS.into_iter().zip(TEMPLATES) {
            for (name, lines) in &outline(template)["Resources"] {
                let holds = lines.iter().any(|line| {
                    line.strip_prefix("Type: ")
                        .is_some_and(|kind| HOLD_DATA.contains(&kind))
                });
                if holds {
                    found += 1;
                    assert!(part.holds_data(), "{name}");
                    assert!(
                        lines.contains(&"DeletionPolicy: RetainExceptOnCreate"),
                        "{name}"
                    );
                    assert!(lines.contains(&"UpdateReplacePolicy: Retain"), "{name}");
                }
            }
        }
        assert_eq!(found, 9);
    }

    #[test]
    fn every_release_makes_its_own_model_and_configuration() {
        let outline = outline(ENDPOINT);
        for resource in ["Model", "EndpointConfig"] {
            let lines = &outline["Resources"][resource];
            let own = format!("{resource}Name: !Sub \"${{EndpointName}}-${{Suffix}}\"");
            assert!(lines.contains(&own.as_str()), "{resource}");
            // The old one is needed until the new release is proven.
            assert!(lines.contains(&"UpdateReplacePolicy: Retain"), "{resource}");
            assert!(lines.contains(&"DeletionPolicy: Delete"), "{resource}");
        }
    }

    #[test]
    fn a_name_is_not_the_repository_of_another_project() {
        check_new_name(&"edam".parse().unwrap()).unwrap();
        let error = check_new_name(&"flights-eda".parse().unwrap()).unwrap_err();
        assert_eq!(
            mlops_core::error::exit(&error),
            mlops_core::error::Exit::Usage
        );
    }

    #[test]
    fn only_stacks_with_data_have_the_tag_of_their_protection() {
        let project = project();
        for part in PARTS.into_iter().filter(|part| part.is_deployed_by_init()) {
            let spec = initial_stack(&project, part, None);
            assert_eq!(spec.tags.len(), usize::from(part.holds_data()), "{part:?}");
        }
    }

    #[test]
    fn templates_are_within_the_limits_of_cloudformation() {
        for (part, template) in PARTS.iter().zip(TEMPLATES) {
            // The bucket is one of the data's stack, and `mlops destroy` updates stacks that hold data.
            let longest = if part.holds_data() {
                LONGEST_INLINE
            } else {
                LONGEST
            };
            assert!(template.len() <= longest, "{part:?}: {}", template.len());
            let needs_bucket = template.len() > LONGEST_INLINE;
            let imports = outline::imports(template).any(|(part, _)| part == Part::Data);
            assert!(imports || !needs_bucket, "{part:?} must follow the bucket");
        }
    }

    #[test]
    fn a_service_assumes_a_role_for_this_account_only() {
        for (name, lines) in &outline(GOVERNANCE)["Resources"] {
            for (index, line) in lines.iter().enumerate() {
                let service = line.strip_prefix("Principal: {Service: ");
                if service.is_some_and(|name| {
                    !name.starts_with("lambda.") && !name.starts_with("cloudformation.")
                }) {
                    let rest = &lines[index..lines.len().min(index + 3)];
                    let source = rest.iter().any(|line| line.contains("aws:SourceAccount"));
                    assert!(source, "{name}: {line}");
                }
            }
        }
        let several = GOVERNANCE.contains(" Service:\n");
        assert!(!several, "one statement for each service");
    }

    #[test]
    fn nobody_creates_the_production_branch_but_the_approver() {
        let boundary = outline(GOVERNANCE)["Resources"]["Boundary"].join(" ");
        let (_, deny) = boundary
            .split_once("OnlyApproversPushToProduction")
            .unwrap();
        let (actions, _) = deny.split_once("Resource:").unwrap();
        for action in [
            "codecommit:CreateBranch,",
            "codecommit:GitPush",
            "codecommit:PutFile",
        ] {
            assert!(actions.contains(action), "{action}");
        }
        let (allowed, _) = boundary
            .split_once("OnlyApproversPushToProduction")
            .unwrap();
        for action in [
            "sagemaker:DeleteTags",
            "ec2:CreateNetworkInterface",
            "kms:CreateGrant",
        ] {
            assert!(allowed.contains(action), "{action}");
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
