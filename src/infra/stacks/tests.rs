use super::*;
use crate::aws::cloudformation::{LONGEST, LONGEST_INLINE};
use crate::infra::{Network, PARTS, Workbench, delivery, monitoring, retraining};

const TEMPLATES: [&str; 11] = [
    DATA,
    NETWORK,
    REGISTRY,
    CODE,
    GOVERNANCE,
    WORKBENCH,
    DELIVERY,
    monitoring::MONITORING,
    retraining::RETRAINING,
    VALIDATION,
    ENDPOINT,
];

/// All templates, each with the part that it belongs to.
fn templates() -> impl Iterator<Item = (Part, &'static str)> {
    let parts = PARTS.into_iter().zip(TEMPLATES);
    parts.chain([(Part::Delivery, delivery::BRANCH)])
}

fn inputs() -> Inputs {
    Inputs {
        analyzer: None,
        program: Some(program()),
    }
}

fn program() -> Program {
    Program {
        checksum: "0".repeat(64),
        architecture: "x86_64".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

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
            "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n[delivery]\n\
             email = \"team@example.org\"\nwebhook = \"https://example.org\"\n",
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
    let initial = Part::initial(&project.file);
    let develop = &project.file.branches.develop;
    for spec in initial
        .map(|part| initial_stack(&project, part, &inputs()))
        .chain([
            endpoint_stack(&project, &platform, &release),
            validation_stack(&project, &platform, "key", "x86_64"),
            monitoring::monitoring_stack(&project, "registry/flights@sha256:00"),
            retraining::retraining_stack(&project, &program(), &retraining::Switches::default()),
            delivery::branch_stack(&project, develop, &program()),
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
    for (number, (part, template)) in templates().enumerate() {
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
    for (_, template) in templates() {
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
    for (_, template) in templates() {
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
    assert_eq!(roles, 17);
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
    for (part, template) in templates() {
        for (name, lines) in &outline(template)["Resources"] {
            if part == Part::Delivery {
                // Copies of what the other buckets and the repository hold.
                assert!(!lines.iter().any(|line| line.contains("Retain")), "{name}");
                continue;
            }
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
    for taken in [
        "flights-eda",
        "flights-delivery",
        "flights-image",
        "flights-ml",
    ] {
        let error = check_new_name(&taken.parse().unwrap()).unwrap_err();
        assert_eq!(
            mlops_core::error::exit(&error),
            mlops_core::error::Exit::Usage
        );
    }
}

#[test]
fn only_stacks_with_data_have_the_tag_of_their_protection() {
    let project = project();
    for part in Part::initial(&project.file) {
        let spec = initial_stack(&project, part, &inputs());
        assert_eq!(spec.tags.len(), usize::from(part.holds_data()), "{part:?}");
    }
}

#[test]
fn templates_are_within_the_limits_of_cloudformation() {
    for (part, template) in templates() {
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
