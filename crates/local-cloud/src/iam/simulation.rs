//! `SimulateCustomPolicy` and `SimulatePrincipalPolicy`: what policies would decide, by the evaluation that
//! decides about requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{PageRequest, no_such_entity, policies, roles};
use crate::Cloud;
use crate::api::form::list;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::policy::positions::{self, Position};
use crate::policy::{self, Call, Context, Decision, Document, Effect, Policies, Policy, Principal};

/// The members that both operations have.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Simulation {
    #[serde(deserialize_with = "list")]
    action_names: Vec<String>,
    #[serde(deserialize_with = "list")]
    resource_arns: Vec<String>,
    #[serde(deserialize_with = "list")]
    policy_input_list: Vec<String>,
    #[serde(deserialize_with = "list")]
    permissions_boundary_policy_input_list: Vec<String>,
    resource_policy: Option<String>,
    resource_owner: Option<String>,
    caller_arn: Option<String>,
    #[serde(deserialize_with = "list")]
    context_entries: Vec<Entry>,
    #[serde(flatten)]
    page: PageRequest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(clippy::struct_field_names, reason = "the names of AWS's request")]
struct Entry {
    context_key_name: String,
    #[serde(deserialize_with = "list")]
    context_key_values: Vec<String>,
    context_key_type: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Custom {
    #[serde(flatten)]
    simulation: Simulation,
}

pub(super) async fn custom(_cloud: &Cloud, input: Custom) -> ApiResult<Value> {
    let simulation = input.simulation;
    if simulation.resource_policy.is_some() && simulation.caller_arn.is_none() {
        return Err(invalid(
            "CallerArn is required when ResourcePolicy is specified",
        ));
    }
    let principal = simulation.caller().unwrap_or_else(|| {
        let arn = format!("arn:aws:iam::{ACCOUNT}:user/simulation");
        Principal::user(&arn, USER_ID, ACCOUNT)
    });
    simulation.run(principal, Vec::new(), None)
}

/// The id of a simulated user.
const USER_ID: &str = "AIDASIMULATION000000";

/// Maximum number of decisions of one request: actions times resources.
const MAX_RESULTS: usize = 5_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfPrincipal {
    policy_source_arn: String,
    #[serde(flatten)]
    simulation: Simulation,
}

pub(super) async fn principal(cloud: &Cloud, input: OfPrincipal) -> ApiResult<Value> {
    let (arn, simulation) = (input.policy_source_arn, input.simulation);
    let name = arn.rsplit('/').next().unwrap_or_default();
    let role = roles::collection(cloud).get(name)?;
    let role = role.filter(|role| role.arn == arn).ok_or_else(|| {
        no_such_entity(format!(
            "The entity {arn} does not exist. The local cloud has roles only."
        ))
    })?;
    let mut sources = Vec::new();
    for (policy, text) in &role.inline {
        let id = format!("role_{}_{policy}", role.name);
        sources.push(Source::new(id, "role", None, text.clone())?);
    }
    for arn in &role.attached {
        let text = known_text(cloud, arn)?;
        let id = arn.rsplit('/').next().unwrap_or_default().to_owned();
        sources.push(Source::new(id, "user-managed", Some(arn.clone()), text)?);
    }
    let boundary = match &role.boundary {
        Some(arn) => {
            let text = known_text(cloud, arn)?;
            let id = arn.rsplit('/').next().unwrap_or_default().to_owned();
            Some(Source::new(id, "user-managed", Some(arn.clone()), text)?)
        }
        None => None,
    };
    let tags = role.tags.iter();
    let tags = tags.map(|tag| (tag.key.clone(), tag.value.clone()));
    let principal = simulation
        .caller()
        .unwrap_or_else(|| Principal::session(&role.arn, &role.arn, &role.id, ACCOUNT, tags));
    simulation.run(principal, sources, boundary)
}

/// A policy with its place in the answer.
struct Source {
    id: String,
    kind: &'static str,
    text: String,
    policy: Policy,
}

impl Source {
    fn new(id: String, kind: &'static str, arn: Option<String>, text: String) -> ApiResult<Self> {
        let document = Document::parse(&text)
            .map_err(|error| invalid(format!("Syntax errors in policy: {id} ({error})")))?;
        let document = Arc::new(document);
        Ok(Self {
            id,
            kind,
            text,
            policy: Policy { arn, document },
        })
    }

    /// The statements that apply to a call, as in the answer.
    fn matched(&self, principal: &Principal, call: &Call) -> Vec<(Effect, Value)> {
        let applying = self
            .policy
            .document
            .applying(principal, call, self.kind != "resource");
        let places = positions::statements(&self.text);
        let position = |at: Position| json!({"Line": at.line, "Column": at.column});
        applying
            .into_iter()
            .map(|(index, effect)| {
                let mut shape = json!({"SourcePolicyId": self.id, "SourcePolicyType": self.kind});
                if let Some((start, end)) = places.get(index) {
                    shape["StartPosition"] = position(*start);
                    shape["EndPosition"] = position(*end);
                }
                (effect, shape)
            })
            .collect()
    }
}

/// The text of a managed policy. One of AWS's own that the local cloud does not have is refused by name.
fn known_text(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    let missing = || ApiError::not_implemented(format_args!("the policy {arn}"));
    policies::document(cloud, arn)?.ok_or_else(missing)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidInput", message)
}

impl Simulation {
    fn run(
        &self,
        principal: Principal,
        mut sources: Vec<Source>,
        mut boundary: Option<Source>,
    ) -> ApiResult<Value> {
        for (index, text) in self.policy_input_list.iter().enumerate() {
            let id = format!("PolicyInputList.{}", index + 1);
            sources.push(Source::new(id, "none", None, text.clone())?);
        }
        let mut given = self.permissions_boundary_policy_input_list.iter();
        if let Some(text) = given.next() {
            let id = "PermissionsBoundaryPolicyInputList.1".to_owned();
            boundary = Some(Source::new(id, "none", None, text.clone())?);
        }
        if given.next().is_some() {
            return Err(invalid("A simulation has at most one permissions boundary"));
        }
        let own = format!("arn:aws:iam::{ACCOUNT}:root");
        if let Some(owner) = &self.resource_owner
            && *owner != own
        {
            return Err(ApiError::not_implemented(format_args!(
                "the simulation of resources of {owner}"
            )));
        }
        let resource = match &self.resource_policy {
            Some(text) => {
                let id = "ResourcePolicy".to_owned();
                Some(Source::new(id, "resource", None, text.clone())?)
            }
            None => None,
        };
        let evaluation = Evaluation {
            context: self.context(),
            delegation: delegation()?,
            policies: Policies {
                identity: sources.iter().map(|it| it.policy.clone()).collect(),
                boundary: boundary.as_ref().map(|it| it.policy.clone()),
                session: None,
            },
            principal,
            sources,
            boundary,
            resource,
        };
        let everything = ["*".to_owned()];
        let resources = match self.resource_arns.as_slice() {
            [] => everything.as_slice(),
            given => given,
        };
        if self.action_names.len().saturating_mul(resources.len()) > MAX_RESULTS {
            return Err(invalid(format!(
                "the request asks for more than {MAX_RESULTS} decisions: pass fewer actions or resources"
            )));
        }
        let mut results = Vec::new();
        for action in &self.action_names {
            if !action.contains(':') {
                return Err(invalid(format!(
                    "ValidationError: Invalid action {action}, it needs the prefix of a service"
                )));
            }
            for resource in resources {
                results.push(evaluation.result(action, resource, !self.resource_arns.is_empty()));
            }
        }
        self.page.cut("EvaluationResults", results)
    }

    /// The caller that the request names.
    fn caller(&self) -> Option<Principal> {
        let arn = self.caller_arn.as_ref()?;
        Some(Principal::user(arn, USER_ID, ACCOUNT))
    }

    fn context(&self) -> Context {
        let mut context = Context::default();
        for entry in &self.context_entries {
            let mut values = entry.context_key_values.clone();
            if entry.context_key_type.ends_with("List") {
                context.set_list(&entry.context_key_name, values);
            } else if !values.is_empty() {
                context.set(&entry.context_key_name, values.swap_remove(0));
            }
        }
        context
    }
}

fn delegation() -> ApiResult<Document> {
    let document = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
        "Principal": {"AWS": ACCOUNT}, "Action": "*", "Resource": "*"}});
    Document::of(&document).map_err(ApiError::internal)
}

struct Evaluation {
    principal: Principal,
    policies: Policies,
    sources: Vec<Source>,
    boundary: Option<Source>,
    resource: Option<Source>,
    /// A resource-based policy that leaves the decision to the account.
    delegation: Document,
    context: Context,
}

impl Evaluation {
    /// An element of `EvaluationResults`. Unverified against AWS [simulation-resources]: that several
    /// resources are several elements.
    fn result(&self, action: &str, resource: &str, is_specific: bool) -> Value {
        let call = Call {
            action: action.to_owned(),
            resource: resource.to_owned(),
            context: self.context.clone(),
        };
        let mut document = self.resource.as_ref().map(|it| &*it.policy.document);
        // Without a key policy, only the given policies count.
        if document.is_none() && action.starts_with("kms:") {
            document = Some(&self.delegation);
        }
        let decision = policy::evaluate(&self.principal, &self.policies, document, &call);
        let (word, wanted) = match &decision {
            Decision::Allowed => ("allowed", Effect::Allow),
            Decision::Denied(reason) if reason.explicit => ("explicitDeny", Effect::Deny),
            Decision::Denied(_) => ("implicitDeny", Effect::Allow),
        };
        let all = self.sources.iter().chain(&self.boundary);
        let all: Vec<&Source> = all.chain(&self.resource).collect();
        let matched = all
            .iter()
            .flat_map(|source| source.matched(&self.principal, &call));
        let matched: Vec<Value> = matched
            .filter(|(effect, _)| *effect == wanted)
            .map(|(_, shape)| shape)
            .collect();
        let mut missing = BTreeSet::new();
        for source in &all {
            let keys = source.policy.document.keys(action).into_iter();
            missing.extend(keys.filter(|key| {
                call.context.get(key).is_none() && self.principal.context.get(key).is_none()
            }));
        }
        let mut shape = json!({
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": word,
            "MatchedStatements": matched,
            "MissingContextValues": missing,
        });
        if let Some(boundary) = &self.boundary {
            let effects = boundary.matched(&self.principal, &call);
            let is_allowed = effects.iter().any(|(effect, _)| *effect == Effect::Allow)
                && !effects.iter().any(|(effect, _)| *effect == Effect::Deny);
            shape["PermissionsBoundaryDecisionDetail"] =
                json!({"AllowedByPermissionsBoundary": is_allowed});
        }
        if is_specific {
            let mut specific = json!({
                "EvalResourceName": resource,
                "EvalResourceDecision": word,
                "MatchedStatements": shape["MatchedStatements"],
                "MissingContextValues": shape["MissingContextValues"],
            });
            if let Some(detail) = shape.get("PermissionsBoundaryDecisionDetail") {
                specific["PermissionsBoundaryDecisionDetail"] = detail.clone();
            }
            shape["ResourceSpecificResults"] = json!([specific]);
        }
        shape
    }
}
