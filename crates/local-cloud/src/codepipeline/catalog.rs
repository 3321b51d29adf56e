//! The action types that the local cloud runs, and the names of those that it does not.

use serde_json::{Value, json};

use super::declaration::ActionTypeId;

/// What runs an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    CodeCommit,
    Ecr,
    S3,
    CodeBuild,
    Lambda,
    Manual,
    CloudFormation,
}

/// A property of an action's configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) is_required: bool,
}

/// A type of actions.
#[derive(Debug, Clone, Copy)]
pub(super) struct ActionType {
    pub(super) category: &'static str,
    pub(super) provider: &'static str,
    pub(super) runs: Provider,
    /// Minimum and maximum number of input artifacts.
    pub(super) inputs: (usize, usize),
    /// Minimum and maximum number of output artifacts.
    pub(super) outputs: (usize, usize),
    pub(super) properties: &'static [Property],
    /// The time after which an action fails, in minutes (user guide, "Quotas").
    pub(super) timeout: u32,
}

const fn required(name: &'static str) -> Property {
    Property {
        name,
        is_required: true,
    }
}

const fn optional(name: &'static str) -> Property {
    Property {
        name,
        is_required: false,
    }
}

const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

const BUILD: &[Property] = &[
    required("ProjectName"),
    optional("PrimarySource"),
    optional("EnvironmentVariables"),
    optional("BatchEnabled"),
    optional("CombineArtifacts"),
    optional("BuildspecOverride"),
    optional("EnvironmentTypeOverride"),
    optional("ImageOverride"),
];

/// The types that run here, with their timeouts in minutes (user guide, "Quotas in AWS CodePipeline").
pub(super) const ACTION_TYPES: &[ActionType] = &[
    ActionType {
        category: "Source",
        provider: "CodeCommit",
        runs: Provider::CodeCommit,
        inputs: (0, 0),
        outputs: (1, 1),
        properties: &[
            required("RepositoryName"),
            required("BranchName"),
            optional("PollForSourceChanges"),
            optional("OutputArtifactFormat"),
        ],
        timeout: HOUR,
    },
    ActionType {
        category: "Source",
        provider: "ECR",
        runs: Provider::Ecr,
        inputs: (0, 0),
        outputs: (1, 1),
        properties: &[required("RepositoryName"), optional("ImageTag")],
        timeout: HOUR,
    },
    ActionType {
        category: "Source",
        provider: "S3",
        runs: Provider::S3,
        inputs: (0, 0),
        outputs: (1, 1),
        properties: &[
            required("S3Bucket"),
            required("S3ObjectKey"),
            optional("PollForSourceChanges"),
            optional("AllowOverrideForS3ObjectKey"),
        ],
        timeout: HOUR,
    },
    ActionType {
        category: "Build",
        provider: "CodeBuild",
        runs: Provider::CodeBuild,
        inputs: (1, 5),
        outputs: (0, 5),
        properties: BUILD,
        timeout: 8 * HOUR,
    },
    ActionType {
        category: "Test",
        provider: "CodeBuild",
        runs: Provider::CodeBuild,
        inputs: (1, 5),
        outputs: (0, 5),
        properties: BUILD,
        timeout: 8 * HOUR,
    },
    ActionType {
        category: "Invoke",
        provider: "Lambda",
        runs: Provider::Lambda,
        inputs: (0, 5),
        outputs: (0, 5),
        properties: &[required("FunctionName"), optional("UserParameters")],
        timeout: 20,
    },
    ActionType {
        category: "Approval",
        provider: "Manual",
        runs: Provider::Manual,
        inputs: (0, 0),
        outputs: (0, 0),
        properties: &[
            optional("CustomData"),
            optional("ExternalEntityLink"),
            optional("NotificationArn"),
        ],
        timeout: 7 * DAY,
    },
    ActionType {
        category: "Deploy",
        provider: "CloudFormation",
        runs: Provider::CloudFormation,
        inputs: (0, 10),
        outputs: (0, 1),
        properties: &[
            required("ActionMode"),
            required("StackName"),
            optional("Capabilities"),
            optional("ChangeSetName"),
            optional("OutputFileName"),
            optional("ParameterOverrides"),
            optional("RoleArn"),
            optional("TemplateConfiguration"),
            optional("TemplatePath"),
        ],
        timeout: 3 * DAY,
    },
];

/// Providers of AWS that do not run here (user guide, "Valid action providers"): category, owner, provider.
const ABSENT: &[(&str, &str, &str)] = &[
    ("Source", "AWS", "CodeStarSourceConnection"),
    ("Source", "ThirdParty", "GitHub"),
    ("Build", "AWS", "ECRBuildAndPublish"),
    ("Build", "Custom", "Jenkins"),
    ("Test", "AWS", "DeviceFarm"),
    ("Test", "Custom", "Jenkins"),
    ("Test", "ThirdParty", "BlazeMeter"),
    ("Test", "ThirdParty", "GhostInspector"),
    ("Test", "ThirdParty", "StormRunner"),
    ("Deploy", "AWS", "AppConfig"),
    ("Deploy", "AWS", "CloudFormationStackInstances"),
    ("Deploy", "AWS", "CloudFormationStackSet"),
    ("Deploy", "AWS", "CodeDeploy"),
    ("Deploy", "AWS", "CodeDeployToECS"),
    ("Deploy", "AWS", "EC2"),
    ("Deploy", "AWS", "ECS"),
    ("Deploy", "AWS", "EKS"),
    ("Deploy", "AWS", "ElasticBeanstalk"),
    ("Deploy", "AWS", "Lambda"),
    ("Deploy", "AWS", "OpsWorks"),
    ("Deploy", "AWS", "S3"),
    ("Deploy", "AWS", "ServiceCatalog"),
    ("Deploy", "ThirdParty", "AlexaSkillsKit"),
    ("Compute", "AWS", "Commands"),
    ("Invoke", "AWS", "CodePipeline"),
    ("Invoke", "AWS", "InspectorScan"),
    ("Invoke", "AWS", "StepFunctions"),
    ("Invoke", "ThirdParty", "Snyk"),
];

/// The only owner and version of the types that run here.
const OWNER: &str = "AWS";
const VERSION: &str = "1";

/// The type of an action, if it runs here.
pub(super) fn find(id: &ActionTypeId) -> Option<&'static ActionType> {
    let mut types = ACTION_TYPES.iter();
    types.find(|kind| {
        kind.category == id.category
            && kind.provider == id.provider
            && id.owner == OWNER
            && id.version == VERSION
    })
}

/// True for a type of AWS that does not run here.
pub(super) fn is_absent(id: &ActionTypeId) -> bool {
    let mut absent = ABSENT.iter();
    absent.any(|known| *known == (&*id.category, &*id.owner, &*id.provider))
}

impl ActionType {
    /// An element of the response of `ListActionTypes`.
    pub(super) fn described(&self) -> Value {
        let bounds =
            |(least, most): (usize, usize)| json!({"minimumCount": least, "maximumCount": most});
        let properties: Vec<Value> = self
            .properties
            .iter()
            .map(|property| {
                json!({
                    "name": property.name,
                    "required": property.is_required,
                    "key": property.is_required,
                    "secret": false,
                    "queryable": false,
                })
            })
            .collect();
        json!({
            "id": {
                "category": self.category,
                "owner": OWNER,
                "provider": self.provider,
                "version": VERSION,
            },
            "settings": {},
            "actionConfigurationProperties": properties,
            "inputArtifactDetails": bounds(self.inputs),
            "outputArtifactDetails": bounds(self.outputs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_both_runs_and_is_absent() {
        for kind in ACTION_TYPES {
            let id = ActionTypeId {
                category: kind.category.to_owned(),
                owner: OWNER.to_owned(),
                provider: kind.provider.to_owned(),
                version: VERSION.to_owned(),
            };
            assert_eq!(find(&id).map(|found| found.runs), Some(kind.runs));
            assert!(!is_absent(&id), "{id:?}");
            let other = ActionTypeId {
                owner: "Custom".to_owned(),
                ..id
            };
            assert!(find(&other).is_none());
        }
    }
}
