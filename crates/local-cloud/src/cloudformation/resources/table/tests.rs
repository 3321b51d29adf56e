//! Checks of the tables against the services' operations and AWS's request shapes.

use mlops_pipeline::shapes::Table;
use serde_json::Value;

use super::super::all;
use super::super::schema::Schema;
use super::*;
use crate::cloud::service::Services;
use crate::services::SERVICES;

/// Every call of a type, with those that write tags.
fn calls(kind: &Type) -> Vec<Call> {
    let mut found: Vec<Call> = Vec::new();
    found.extend(kind.create);
    found.extend(kind.described.map(|(call, _)| call));
    for setting in kind.settings {
        found.push(setting.set);
        found.extend(setting.clear);
    }
    for list in kind.lists {
        found.extend([list.add, list.remove]);
    }
    if let Find::By(search) = kind.find {
        found.push(search.call);
    }
    found.extend(kind.api_id.map(|search| search.call));
    found.extend(
        [kind.stable, kind.deleting]
            .into_iter()
            .flatten()
            .map(|state| state.call),
    );
    found.extend(kind.live.iter().map(|read| read.call));
    found.extend(kind.delete);
    found
}

/// The operation's input has this member, which can be a path: see [`Argument::member`].
fn check_member(kind: &Type, operation: &str, member: &str) {
    let table = Table::of(kind.service).unwrap();
    let mut shape = table.input(operation).unwrap_or("-");
    for name in member.split('.') {
        let name = name.trim_end_matches("[]");
        let found = table.members(shape).iter().find(|known| known.name == name);
        let found = found.unwrap_or_else(|| panic!("{}: {operation} has no {member}", kind.name));
        shape = found.shape;
    }
}

#[test]
fn every_call_is_an_operation_with_these_members() {
    for kind in all() {
        let calls = calls(kind);
        let tags = kind.tags;
        let operations = calls.iter().map(|call| call.operation);
        let operations = operations.chain(tags.iter().flat_map(|tags| [tags.set, tags.remove]));
        for operation in operations {
            let service = Services::new(SERVICES).named(kind.service).unwrap();
            let found = service.operation(operation);
            assert!(found.is_some(), "{}: there is no {operation}", kind.name);
        }
        for call in &calls {
            for argument in call.arguments {
                match (argument.member, argument.source) {
                    ("", Source::Same(names)) => names
                        .split_ascii_whitespace()
                        .for_each(|name| check_member(kind, call.operation, name)),
                    // The form decides.
                    ("", _) => assert!(argument.form.is_some(), "{}", kind.name),
                    (member, _) => check_member(kind, call.operation, member),
                }
            }
        }
        if let Some(tags) = tags {
            check_member(kind, kind.create.unwrap().operation, tags.create);
            for (operation, member) in [(tags.set, tags.list), (tags.remove, tags.keys)] {
                check_member(kind, operation, member);
                match tags.resource.source {
                    // An object of several members.
                    Source::Json(text) => {
                        let members: Value = serde_json::from_str(text).unwrap();
                        let members = members.as_object().unwrap().keys();
                        members.for_each(|name| check_member(kind, operation, name));
                    }
                    _ => check_member(kind, operation, tags.resource.member),
                }
            }
        }
    }
}

#[test]
fn properties_and_attributes_are_those_of_the_schema() {
    for kind in all() {
        let schema = Schema::of(kind.name).unwrap_or_else(|| panic!("{}", kind.name));
        for property in kind.properties() {
            assert!(
                schema.member(property).is_some(),
                "{}: {property}",
                kind.name
            );
            assert!(!schema.is_read_only(property), "{}: {property}", kind.name);
        }
        let attributes = kind.attributes.iter().map(|(name, _)| *name);
        let described = kind
            .described
            .iter()
            .flat_map(|(_, attributes)| *attributes);
        for name in attributes.chain(described.map(|(name, _)| *name)) {
            assert!(schema.member(name).is_some(), "{}: {name}", kind.name);
        }
    }
}

/// Issue 10: drift of every type of the templates is detected.
#[test]
fn the_live_properties_of_every_type_are_read() {
    let without: Vec<_> = all()
        .filter(|kind| !kind.detects_drift())
        .map(|kind| kind.name)
        .collect();
    assert_eq!(
        without,
        [
            "AWS::CloudFormation::WaitConditionHandle",
            "AWS::CDK::Metadata"
        ]
    );
    let unread: Vec<String> = all()
        .filter(|kind| kind.detects_drift())
        .flat_map(|kind| {
            let properties: std::collections::BTreeSet<_> = kind.properties().collect();
            let unread = properties
                .into_iter()
                .filter(|name| !kind.reads_property(name));
            unread.map(move |name| format!("{} {name}", kind.name))
        })
        .collect();
    // What no response of the service shows, or only with a secret or a large document in it.
    assert_eq!(unread, UNREAD);
    for kind in all() {
        let schema = Schema::of(kind.name).unwrap();
        for name in kind.live.iter().flat_map(super::Read::properties) {
            assert!(schema.member(name).is_some(), "{}: {name}", kind.name);
        }
    }
}

const UNREAD: &[&str] = &[
    "AWS::ApplicationAutoScaling::ScalableTarget SuspendedState",
    "AWS::ApplicationAutoScaling::ScalingPolicy ScalingTargetId",
    "AWS::CodeBuild::ReportGroup DeleteReports",
    "AWS::CodeCommit::Repository Code",
    "AWS::CodePipeline::Pipeline ArtifactStores",
    "AWS::CodePipeline::Pipeline DisableInboundStageTransitions",
    "AWS::CodePipeline::Pipeline RestartExecutionOnUpdate",
    "AWS::EC2::VPCGatewayAttachment InternetGatewayId",
    "AWS::EC2::Route RouteTableId",
    "AWS::EC2::FlowLog ResourceType",
    "AWS::ECR::Repository EmptyOnDelete",
    "AWS::IAM::ManagedPolicy Roles",
    "AWS::KMS::Key PendingWindowInDays",
    "AWS::Lambda::Function Code",
    "AWS::S3::Bucket AccessControl",
    "AWS::SageMaker::Endpoint DeploymentConfig",
    "AWS::SageMaker::Endpoint ExcludeRetainedVariantProperties",
    "AWS::SageMaker::Endpoint RetainAllVariantProperties",
    "AWS::SageMaker::Endpoint RetainDeploymentConfig",
    "AWS::SSM::Parameter AllowedPattern",
    "AWS::SSM::Parameter Description",
    "AWS::SSM::Parameter Tags",
    "AWS::SSM::Parameter Tier",
];

#[test]
fn literals_are_json_and_missing_values_have_a_reason() {
    for kind in all() {
        for argument in calls(kind).iter().flat_map(|call| call.arguments) {
            let json = match argument.source {
                Source::Json(text) => Some(text),
                _ => argument.default,
            };
            if let Some(text) = json {
                serde_json::from_str::<Value>(text)
                    .unwrap_or_else(|error| panic!("{text}: {error}"));
            }
        }
        if let Find::Nothing(reason) = kind.find {
            assert!(!reason.is_empty(), "{}: how is it found?", kind.name);
            assert!(kind.create.is_none(), "{}: creates something", kind.name);
        }
    }
}

/// A change that no call makes is refused by name, and does not fail silently.
#[test]
fn changes_without_a_call_are_refused() {
    let cannot: Vec<String> = all()
        .flat_map(|kind| {
            let schema = Schema::of(kind.name).unwrap();
            let create_only: Vec<_> = schema.create_only().collect();
            kind.properties()
                .filter(move |name| !kind.can_change(name) && !create_only.contains(name))
                .map(move |name| format!("{} {name}", kind.name))
        })
        .collect();
    let mut cannot: Vec<&str> = cannot.iter().map(String::as_str).collect();
    cannot.dedup();
    assert_eq!(
        cannot,
        [
            "AWS::EC2::EIP Domain",
            "AWS::EC2::Route GatewayId",
            "AWS::EC2::Route NatGatewayId",
            "AWS::EC2::SecurityGroupIngress Description",
            "AWS::EC2::SecurityGroupEgress Description",
            "AWS::KMS::Key KeySpec",
            "AWS::KMS::Key KeyUsage",
            "AWS::Logs::LogGroup LogGroupClass",
            "AWS::Scheduler::Schedule GroupName",
        ]
    );
}
