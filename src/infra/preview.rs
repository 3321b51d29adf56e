//! What a deployment would change, without deploying it.

use anyhow::Result;
use mlops_core::wait::Waiter;
use serde::Serialize;

use super::deploy::{discard, is_failed, prepare};
use super::outline;
use super::part::Part;
use super::stacks::StackSpec;
use super::statements::Permissions;
use super::teardown::DeployedStack;
use crate::aws::Clients;
use crate::aws::cloudformation::Change;
use crate::progress::Progress;

/// What would happen to a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StackEffect {
    /// It does not exist yet.
    Create,
    /// It would change.
    Update,
    /// It is up to date.
    Unchanged,
    /// It would be deleted.
    Delete,
}

/// What would happen to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is created.
    Added,
    /// It is changed in place.
    Changed,
    /// A new one is created, and the old one is deleted or left behind.
    Replaced,
    /// Whether it is replaced depends on values that are known only during the deployment.
    MayBeReplaced,
    /// It is deleted or left behind.
    Removed,
}

/// The changes of a stack.
#[derive(Debug, Clone, Serialize)]
pub struct StackPreview {
    /// The part of the architecture.
    pub part: Part,
    /// The stack's name.
    pub stack: String,
    /// What would happen to it.
    pub effect: StackEffect,
    /// True if the list is the template's: the stack imports from stacks that do not exist yet, or is the
    /// remains of a failed deployment, so CloudFormation cannot compute its changes.
    pub from_template: bool,
    /// True if the stack is the remains of a failed first deployment, which `mlops init` deletes first.
    pub deleted_first: bool,
    /// The changes, resource by resource.
    pub changes: Vec<ResourcePreview>,
}

/// The change of a resource.
#[derive(Debug, Clone, Serialize)]
pub struct ResourcePreview {
    /// What would happen to it.
    pub effect: Effect,
    /// The name in the template.
    pub resource: String,
    /// Its type.
    pub r#type: String,
    /// The condition of the template under which it is created; only if the list is the template's and
    /// the parameters do not decide it.
    pub condition: Option<String>,
    /// The properties that change.
    pub properties: Vec<String>,
    /// What is lost.
    pub lost: Option<&'static str>,
    /// The IAM statements that change.
    #[serde(skip_serializing_if = "Permissions::is_empty")]
    pub permissions: Permissions,
}

impl ResourcePreview {
    fn of(change: &Change) -> Self {
        let effect = match (change.action.as_str(), change.replaced, change.conditional) {
            ("Add", ..) => Effect::Added,
            ("Remove", ..) => Effect::Removed,
            (_, true, true) => Effect::MayBeReplaced,
            (_, true, false) => Effect::Replaced,
            _ => Effect::Changed,
        };
        Self {
            effect,
            resource: change.resource.clone(),
            r#type: change.r#type.clone(),
            condition: None,
            properties: change.properties.clone(),
            lost: matches!(
                effect,
                Effect::Replaced | Effect::MayBeReplaced | Effect::Removed
            )
            .then(|| lost(&change.r#type)),
            permissions: Permissions::between(change.before.as_deref(), change.after.as_deref()),
        }
    }
}

/// What is lost when a resource of this type is replaced or removed.
fn lost(kind: &str) -> &'static str {
    match kind {
        "AWS::SageMaker::NotebookInstance" => {
            "the notebook's volume is deleted, with everything on it that was not pushed"
        }
        "AWS::S3::Bucket"
        | "AWS::KMS::Key"
        | "AWS::ECR::Repository"
        | "AWS::CodeCommit::Repository"
        | "AWS::SageMaker::ModelPackageGroup" => "nothing: the old one and its content are kept",
        "AWS::EC2::EIP" => "the address from which notebooks and jobs reach the internet",
        "AWS::EC2::NatGateway" | "AWS::EC2::Route" | "AWS::EC2::VPCEndpoint" => {
            "connections that are open through it"
        }
        "AWS::IAM::Role" => "the sessions of the role: whatever runs with it is denied",
        "AWS::SageMaker::Endpoint" => "the endpoint is unavailable until the new one is in service",
        "AWS::Logs::LogGroup" => "the log's events",
        _ => "the old one is deleted",
    }
}

/// Returns what the deletion of a stack deletes.
pub fn preview_deletion(stack: &DeployedStack) -> StackPreview {
    let resources = stack.resources.iter();
    StackPreview {
        part: stack.part,
        stack: stack.name.clone(),
        effect: StackEffect::Delete,
        from_template: false,
        deleted_first: false,
        changes: resources
            .map(|resource| ResourcePreview {
                effect: Effect::Removed,
                resource: resource.name.clone(),
                r#type: resource.r#type.clone(),
                condition: None,
                properties: Vec::new(),
                lost: Some(lost(&resource.r#type)),
                permissions: Permissions::default(),
            })
            .collect(),
    }
}

/// Computes the changes of a stack and leaves nothing behind. `is_new` says that it does not exist yet;
/// `deployed` are the parts whose stacks exist.
pub async fn preview(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    (part, is_new): (Part, bool),
    spec: &StackSpec,
    deployed: &[Part],
) -> Result<StackPreview> {
    let mut preview = StackPreview {
        part,
        stack: spec.name.clone(),
        effect: StackEffect::Create,
        from_template: false,
        deleted_first: false,
        changes: Vec::new(),
    };
    preview.deleted_first = is_new && is_failed(clients, waiter, progress, spec).await?;
    let needs_others = is_new && spec.imports().any(|from| !deployed.contains(&from));
    if preview.deleted_first || needs_others {
        preview.from_template = true;
        let conditions = outline::conditions(spec.template, &spec.parameters);
        let decided = |name: Option<&str>| name.and_then(|name| conditions.get(name).copied());
        preview.changes = outline::resources(spec.template)
            .into_iter()
            .filter(|declared| decided(declared.condition) != Some(false))
            .map(|declared| ResourcePreview {
                effect: Effect::Added,
                resource: declared.name.to_owned(),
                r#type: declared.kind.to_owned(),
                condition: declared
                    .condition
                    .filter(|name| decided(Some(*name)).is_none())
                    .map(str::to_owned),
                properties: Vec::new(),
                lost: None,
                permissions: Permissions::default(),
            })
            .collect();
        return Ok(preview);
    }
    let Some(prepared) = prepare(clients, waiter, progress, spec).await? else {
        preview.effect = StackEffect::Unchanged;
        return Ok(preview);
    };
    discard(clients, waiter, &prepared).await?;
    if !prepared.create {
        preview.effect = StackEffect::Update;
    }
    preview.changes = prepared.changes.iter().map(ResourcePreview::of).collect();
    Ok(preview)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: &str, kind: &str, replaced: bool, conditional: bool) -> ResourcePreview {
        ResourcePreview::of(&Change {
            action: action.to_owned(),
            resource: "R".to_owned(),
            r#type: kind.to_owned(),
            replaced,
            conditional,
            properties: vec!["SubnetId".to_owned()],
            before: None,
            after: None,
        })
    }

    #[test]
    fn a_replacement_says_what_is_lost() {
        let notebook = change("Modify", "AWS::SageMaker::NotebookInstance", true, false);
        assert_eq!(notebook.effect, Effect::Replaced);
        assert_eq!(
            notebook.lost,
            Some("the notebook's volume is deleted, with everything on it that was not pushed")
        );
        let bucket = change("Modify", "AWS::S3::Bucket", true, true);
        assert_eq!(bucket.effect, Effect::MayBeReplaced);
        assert_eq!(
            bucket.lost,
            Some("nothing: the old one and its content are kept")
        );
        for (action, effect) in [("Add", Effect::Added), ("Modify", Effect::Changed)] {
            let plain = change(action, "AWS::EC2::VPC", false, false);
            assert_eq!((plain.effect, plain.lost), (effect, None));
        }
        let removed = change("Remove", "AWS::EC2::VPC", false, false);
        assert_eq!(removed.lost, Some("the old one is deleted"));
    }
}
