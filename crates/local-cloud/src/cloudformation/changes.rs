//! Change sets: what an update would do to each resource.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::custom;
use super::evaluate::{desired, kind_of, outputs, scope};
use super::graph;
use super::intrinsics::{KNOWN_AFTER_APPLY, Scope};
use super::resources::create_only_changes;
use super::stacks::{Deployment, Resource, Stack};
use super::states::{
    Action, ChangeSetStatus, ChangeSetType, ExecutionStatus, OnFailure, Replacement,
};
use super::template::invalid;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;

/// The reason of a change set without changes; clients search for this text.
pub(super) const NO_CHANGES: &str = "The submitted information didn't contain changes. Submit different information to create a change set.";

/// A change set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ChangeSet {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) stack_id: String,
    pub(super) stack_name: String,
    pub(super) description: Option<String>,
    pub(super) kind: ChangeSetType,
    #[serde(rename = "source")]
    pub(super) deployment: Deployment,
    pub(super) on_failure: OnFailure,
    #[serde(default)]
    pub(super) include_nested_stacks: bool,
    pub(super) created: String,
    pub(super) status: ChangeSetStatus,
    pub(super) status_reason: Option<String>,
    pub(super) execution_status: ExecutionStatus,
    pub(super) changes: Vec<Change>,
}

/// The change of one resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) logical: String,
    pub(super) physical: Option<String>,
    pub(super) kind: String,
    /// For modifications only.
    pub(super) replacement: Option<Replacement>,
    /// `Properties`, `Tags`; for modifications only.
    pub(super) scope: Vec<String>,
    pub(super) details: Vec<Value>,
    /// The properties before and after the change, as far as they are known.
    #[serde(default)]
    pub(super) before: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) after: Option<Map<String, Value>>,
}

/// The records of change sets; their keys are `STACK NAME/STACK UUID/UUID`.
pub(super) fn change_sets(cloud: &Cloud) -> Collection<'_, ChangeSet> {
    cloud.store().collection("cloudformation", "change_set")
}

/// The key of a change set.
pub(super) fn key_of(change_set: &ChangeSet) -> String {
    let uuid = change_set.id.rsplit('/').next().unwrap_or_default();
    format!("{}/{uuid}", super::stacks::key_of(&change_set.stack_id))
}

/// Deletes a stack's change sets, except the one whose key is `but`.
pub(super) fn forget(cloud: &Cloud, stack: &str, but: Option<&str>) -> ApiResult<()> {
    for (key, _) in change_sets(cloud).list(&format!("{stack}/"))? {
        if Some(key.as_str()) != but {
            change_sets(cloud).remove(&key)?;
        }
    }
    Ok(())
}

/// The change set of this name or ARN. With an ARN, `stack` can only be the stack that it belongs to, by name or
/// ARN: the permissions of a request are those on the stack that it names. Unverified against AWS [cfn-change-set-stack]: what it does with
/// another stack.
pub(super) fn find(cloud: &Cloud, name: &str, stack: Option<&str>) -> ApiResult<ChangeSet> {
    let missing = || {
        ApiError::new(
            "ChangeSetNotFound",
            format!("ChangeSet [{name}] does not exist"),
        )
        .status(404)
    };
    let found = if name.starts_with("arn:") {
        change_sets(cloud)
            .list("")?
            .into_iter()
            .find(|(_, change_set)| {
                let is_own =
                    |stack: &str| stack == change_set.stack_name || stack == change_set.stack_id;
                change_set.id == name && stack.is_none_or(is_own)
            })
    } else {
        let stack = stack.ok_or_else(|| {
            invalid("StackName must be specified if ChangeSetName is not specified as an ARN.")
        })?;
        let stack = super::stacks::require(cloud, stack)?;
        change_sets(cloud)
            .list(&format!("{}/", stack.key()))?
            .into_iter()
            .find(|(_, change_set)| change_set.name == name)
    };
    found.map(|(_, change_set)| change_set).ok_or_else(missing)
}

/// What `deployment` would do to the stack's resources; `None` if nothing would change, outputs and tags
/// included.
pub(super) fn plan(
    cloud: &Cloud,
    stack: &Stack,
    deployment: &Deployment,
) -> ApiResult<Option<Vec<Change>>> {
    let mut after = stack.clone();
    after.deployment = deployment.clone();
    let mut scope = scope(cloud, &after)?;
    let present = scope.present()?;
    let order = graph::order(&scope.template, &present)?;
    let mut changes = Vec::new();
    let mut other_types = Vec::new();
    for logical in &order {
        let kind = scope.template.resource_type(logical).to_owned();
        let living = |old: &&Resource| old.physical.is_some() && !old.incomplete;
        let Some(old) = stack.resource(logical).filter(living) else {
            scope
                .resources
                .entry(logical.clone())
                .or_default()
                .after_apply = true;
            changes.push(Change {
                action: Action::Add,
                logical: logical.clone(),
                kind,
                after: desired(&scope, &after, logical)
                    .ok()
                    .map(|(_, properties)| properties),
                ..Change::default()
            });
            continue;
        };
        if old.kind != kind {
            other_types.push(logical.clone());
            continue;
        }
        let (_, properties) = desired(&scope, &after, logical)?;
        if let Some(change) = modify(&scope, stack, logical, &properties)? {
            // What a custom resource returns is known once its function has been invoked.
            if change.replacement != Some(Replacement::False) || custom::is_custom(&change.kind) {
                scope
                    .resources
                    .entry(logical.clone())
                    .or_default()
                    .after_apply = true;
            }
            changes.push(change);
        }
    }
    if !other_types.is_empty() {
        return Err(invalid(format!(
            "Update of resource type is not permitted. The new template modifies resource type of the following resources: [{}]",
            other_types.join(", ")
        )));
    }
    for old in stack.resources.iter().rev() {
        if !present.contains(&old.logical) {
            changes.push(Change {
                action: Action::Remove,
                logical: old.logical.clone(),
                physical: old.physical.clone(),
                kind: old.kind.clone(),
                before: Some(old.properties.clone()),
                ..Change::default()
            });
        }
    }
    let same_outputs = changes.is_empty() && outputs(&scope)? == stack.outputs;
    let same_tags = deployment.tags == stack.deployment.tags;
    Ok((!(same_outputs && same_tags)).then_some(changes))
}

fn modify(
    scope: &Scope,
    stack: &Stack,
    logical: &str,
    properties: &Map<String, Value>,
) -> ApiResult<Option<Change>> {
    let Some(old) = stack.resource(logical) else {
        return Ok(None);
    };
    let kind = kind_of(&old.kind)?;
    let changed = create_only_changes(kind, &old.baseline(properties), properties);
    if changed.is_empty() {
        return Ok(None);
    }
    let mut details = Vec::new();
    let mut scopes = BTreeSet::new();
    let mut replacement = Replacement::False;
    for (name, recreates) in &changed {
        let dynamic = properties
            .get(name)
            .is_some_and(|value| value.to_string().contains(KNOWN_AFTER_APPLY));
        if *recreates && !dynamic {
            replacement = Replacement::True;
        } else if *recreates && replacement == Replacement::False {
            replacement = Replacement::Conditional;
        }
        let attribute = if name == "Tags" { "Tags" } else { "Properties" };
        scopes.insert(attribute.to_owned());
        let raw = scope
            .template
            .resource(logical)
            .and_then(|resource| resource.get("Properties")?.get(name));
        for (source, entity) in causes(scope, raw, dynamic) {
            details.push(json!({
                "Target": {
                    "Attribute": attribute,
                    "Name": (attribute == "Properties").then_some(name),
                    "RequiresRecreation": if *recreates { "Always" } else { "Never" },
                },
                "Evaluation": if dynamic { "Dynamic" } else { "Static" },
                "ChangeSource": source,
                "CausingEntity": entity,
            }));
        }
    }
    Ok(Some(Change {
        action: Action::Modify,
        logical: logical.to_owned(),
        physical: old.physical.clone(),
        kind: old.kind.clone(),
        replacement: Some(replacement),
        scope: scopes.into_iter().collect(),
        details,
        before: Some(old.baseline(properties)),
        after: Some(properties.clone()),
    }))
}

/// Why a property changes: the resources whose values are unknown until the execution, the parameters, or
/// the template itself.
fn causes(
    scope: &Scope,
    raw: Option<&Value>,
    dynamic: bool,
) -> Vec<(&'static str, Option<String>)> {
    let mut found = Vec::new();
    if let Some(raw) = raw {
        if dynamic {
            let attributes = graph::attributes(raw);
            for (logical, attribute) in &attributes {
                if scope
                    .resources
                    .get(logical)
                    .is_some_and(|known| known.after_apply)
                {
                    found.push(("ResourceAttribute", Some(format!("{logical}.{attribute}"))));
                }
            }
            for name in graph::references(raw) {
                let by_attribute = attributes.iter().any(|(logical, _)| *logical == name);
                if !by_attribute
                    && scope
                        .resources
                        .get(&name)
                        .is_some_and(|known| known.after_apply)
                {
                    found.push(("ResourceReference", Some(name)));
                }
            }
        } else {
            for name in graph::references(raw) {
                if scope.parameters.contains_key(&name) {
                    found.push(("ParameterReference", Some(name)));
                }
            }
        }
    }
    if found.is_empty() {
        found.push(("DirectModification", None));
    }
    found
}

/// A change as `DescribeChangeSet` returns it. `values` adds the properties before and after it.
pub(super) fn described(change: &Change, values: bool) -> Value {
    let context = |properties: &Option<Map<String, Value>>| {
        let properties = properties.as_ref().filter(|_| values)?;
        Some(json!({"Properties": properties}).to_string())
    };
    json!({
        "Type": "Resource",
        "ResourceChange": {
            "Action": change.action,
            "LogicalResourceId": change.logical,
            "PhysicalResourceId": change.physical,
            "ResourceType": change.kind,
            "Replacement": change.replacement,
            "Scope": change.scope,
            "Details": change.details,
            "BeforeContext": context(&change.before),
            "AfterContext": context(&change.after),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::stacks;
    use super::*;
    use crate::test_cloud::TestCloud;

    const BEFORE: &str = "Parameters: {Image: {Type: String, Default: one}, Cap: {Type: Number, Default: 1}}\n\
        Resources:\n  \
        Model: {Type: 'AWS::SageMaker::Model', Properties: {PrimaryContainer: {Image: !Ref Image}}}\n  \
        Config:\n    Type: AWS::SageMaker::EndpointConfig\n    Properties:\n      \
        ProductionVariants: [{ModelName: !GetAtt Model.ModelName, InitialInstanceCount: !Ref Cap}]\n  \
        Endpoint: {Type: 'AWS::SageMaker::Endpoint', Properties: {EndpointConfigName: !GetAtt Config.EndpointConfigName}}\n  \
        Gone: {Type: 'AWS::CloudFormation::WaitConditionHandle'}\n";

    fn cloud(directory: &std::path::Path) -> Cloud {
        TestCloud::in_directory(directory)
    }

    #[test]
    fn a_change_set_is_found_for_its_own_stack_only() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        for name in ["prod", "dev"] {
            let stack = stacks::new(&cloud, name);
            stacks::stacks(&cloud).put(stack.key(), &stack).unwrap();
            let change_set = ChangeSet {
                id: cloud.arn("cloudformation", format_args!("changeSet/c/{name}")),
                name: "c".to_owned(),
                stack_id: stack.id,
                stack_name: name.to_owned(),
                ..ChangeSet::default()
            };
            change_sets(&cloud)
                .put(&key_of(&change_set), &change_set)
                .unwrap();
        }
        let arn = |resource: &str| cloud.arn("cloudformation", resource);
        let prod = arn("changeSet/c/prod");
        let stack = stacks::require(&cloud, "prod").unwrap().id;
        for stack in [None, Some("prod"), Some(stack.as_str())] {
            assert_eq!(find(&cloud, &prod, stack).unwrap().id, prod);
        }
        let other = stacks::require(&cloud, "dev").unwrap().id;
        for stack in [
            "dev",
            other.as_str(),
            "arn:aws:cloudformation:x:y:stack/prod",
        ] {
            let error = find(&cloud, &prod, Some(stack)).unwrap_err();
            assert_eq!(error.code, "ChangeSetNotFound", "{stack}");
        }
        let (_, key) = stack.split_once("stack/").unwrap();
        for start in ["arn:aws:cloudformation:x:y:stack/", "arn:stack/"] {
            let named = stacks::find(&cloud, &format!("{start}{key}")).unwrap();
            assert!(named.is_none(), "{start}");
        }
    }

    fn source(template: &str, parameters: &[(&str, &str)]) -> Deployment {
        Deployment {
            template: template.to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Deployment::default()
        }
    }

    /// A stack that was deployed with `BEFORE`.
    fn deployed(cloud: &Cloud) -> Stack {
        let mut stack = stacks::new(cloud, "s");
        stack.deployment = source(BEFORE, &[("Image", "one"), ("Cap", "1")]);
        for (logical, attribute) in [
            ("Model", "ModelName"),
            ("Config", "EndpointConfigName"),
            ("Endpoint", "EndpointName"),
            ("Gone", "Id"),
        ] {
            let now = scope(cloud, &stack).unwrap();
            let (kind, properties) = desired(&now, &stack, logical).unwrap();
            stack.resources.push(Resource {
                logical: logical.to_owned(),
                kind: kind.name.to_owned(),
                physical: Some(format!("arn:{logical}")),
                properties,
                attributes: Map::from_iter([(
                    attribute.to_owned(),
                    format!("{logical}-name").into(),
                )]),
                ..Resource::default()
            });
        }
        stack
    }

    fn shown(changes: &[Change]) -> Vec<(&str, &str, Option<&str>)> {
        changes
            .iter()
            .map(|change| {
                (
                    change.action.as_str(),
                    change.logical.as_str(),
                    change.replacement.map(Replacement::as_str),
                )
            })
            .collect()
    }

    #[test]
    fn a_replacement_updates_the_resources_that_refer_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = cloud(directory.path());
        let stack = deployed(&cloud);
        let same = source(BEFORE, &[("Image", "one"), ("Cap", "1")]);
        assert_eq!(plan(&cloud, &stack, &same).unwrap(), None);

        let image = source(BEFORE, &[("Image", "two"), ("Cap", "1")]);
        let changes = plan(&cloud, &stack, &image).unwrap().unwrap();
        assert_eq!(
            shown(&changes),
            [
                ("Modify", "Model", Some("True")),
                ("Modify", "Config", Some("Conditional")),
                ("Modify", "Endpoint", Some("False")),
            ]
        );
        assert_eq!(changes[0].details[0]["ChangeSource"], "ParameterReference");
        assert_eq!(changes[1].details[0]["Evaluation"], "Dynamic");
        assert_eq!(changes[1].details[0]["CausingEntity"], "Model.ModelName");
        assert_eq!(
            changes[2].details[0]["Target"]["RequiresRecreation"],
            "Never"
        );

        let count = source(BEFORE, &[("Image", "one"), ("Cap", "2")]);
        let changes = plan(&cloud, &stack, &count).unwrap().unwrap();
        assert_eq!(
            shown(&changes),
            [
                ("Modify", "Config", Some("True")),
                ("Modify", "Endpoint", Some("False")),
            ]
        );
    }

    #[test]
    fn resources_can_be_added_and_removed_but_keep_their_type() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = cloud(directory.path());
        let stack = deployed(&cloud);
        let other = BEFORE.replace("Gone:", "New:");
        let changes = plan(
            &cloud,
            &stack,
            &source(&other, &[("Image", "one"), ("Cap", "1")]),
        );
        assert_eq!(
            shown(&changes.unwrap().unwrap()),
            [("Add", "New", None), ("Remove", "Gone", None)]
        );
        let retyped = BEFORE.replace("CloudFormation::WaitConditionHandle", "S3::Bucket");
        let error = plan(
            &cloud,
            &stack,
            &source(&retyped, &[("Image", "one"), ("Cap", "1")]),
        );
        assert!(
            error
                .unwrap_err()
                .message
                .contains("Update of resource type is not permitted")
        );
        let output = format!("{BEFORE}Outputs: {{O: {{Value: x}}}}\n");
        let changes = plan(
            &cloud,
            &stack,
            &source(&output, &[("Image", "one"), ("Cap", "1")]),
        );
        assert_eq!(changes.unwrap(), Some(Vec::new()));
    }
}
