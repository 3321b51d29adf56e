//! The policy of a function: who else may invoke it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::records::{find, records};
use super::{conflict, invalid, name_of, not_found};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::policy::Call;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddPermission {
    function_name: String,
    qualifier: Option<String>,
    statement_id: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    revision_id: Option<String>,
}

impl AddPermission {
    /// The statement, as Lambda writes it.
    fn statement(&self, resource: &str) -> Value {
        let principal = &self.principal;
        let is_account = principal.len() == 12 && principal.bytes().all(|b| b.is_ascii_digit());
        let principal = if principal == "*" {
            json!("*")
        } else if is_account {
            json!({"AWS": format!("arn:aws:iam::{principal}:root")})
        } else if principal.starts_with("arn:") {
            json!({"AWS": principal})
        } else {
            json!({"Service": principal})
        };
        let mut condition = Map::new();
        if let Some(account) = &self.source_account {
            condition.insert(
                "StringEquals".to_owned(),
                json!({"AWS:SourceAccount": account}),
            );
        }
        if let Some(arn) = &self.source_arn {
            condition.insert("ArnLike".to_owned(), json!({"AWS:SourceArn": arn}));
        }
        let mut statement = json!({
            "Sid": self.statement_id,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": resource,
        });
        if !condition.is_empty() {
            statement["Condition"] = condition.into();
        }
        statement
    }
}

pub(super) async fn add(cloud: &Cloud, input: AddPermission) -> ApiResult<Value> {
    let name = name_of(cloud, &input.function_name, input.qualifier.as_deref())?;
    if !input.action.starts_with("lambda:") && input.action != "*" {
        return Err(invalid(format!("Invalid action: {}", input.action)));
    }
    let statement = input.statement(&super::arn(cloud, &name));
    let changed = records(cloud).update(&name, |record| {
        if record.policy.iter().any(|known| known["Sid"] == statement["Sid"]) {
            return Err(conflict(format!(
                "The statement id ({}) provided already exists. Please provide a new statement id, or \
                 remove the existing statement.",
                input.statement_id
            )));
        }
        record.expect_revision(input.revision_id.as_deref())?;
        record.policy.push(statement.clone());
        record.touch();
        Ok(())
    })?;
    changed.ok_or_else(|| not_found(cloud, &name))?;
    Ok(json!({"Statement": statement.to_string()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetPolicy {
    function_name: String,
    qualifier: Option<String>,
}

pub(super) async fn get(cloud: &Cloud, input: GetPolicy) -> ApiResult<Value> {
    let name = name_of(cloud, &input.function_name, input.qualifier.as_deref())?;
    let record = find(cloud, &name)?;
    let policy = document(&record.policy).ok_or_else(no_policy)?;
    Ok(json!({
        "Policy": policy,
        "RevisionId": record.configuration["RevisionId"],
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemovePermission {
    function_name: String,
    qualifier: Option<String>,
    statement_id: String,
    revision_id: Option<String>,
}

pub(super) async fn remove(cloud: &Cloud, input: RemovePermission) -> ApiResult<Value> {
    let name = name_of(cloud, &input.function_name, input.qualifier.as_deref())?;
    let changed = records(cloud).update(&name, |record| {
        let before = record.policy.len();
        record
            .policy
            .retain(|known| known["Sid"] != input.statement_id.as_str());
        if record.policy.len() == before {
            // Unverified against AWS [lambda-policy-message]: the message.
            return Err(ApiError::not_found(
                "ResourceNotFoundException",
                format!(
                    "Statement {} is not found in resource policy.",
                    input.statement_id
                ),
            )
            .status(404));
        }
        record.expect_revision(input.revision_id.as_deref())?;
        record.touch();
        Ok(())
    })?;
    changed.ok_or_else(|| not_found(cloud, &name))?;
    Ok(Value::Null)
}

fn no_policy() -> ApiError {
    let message = "The resource you requested does not exist.";
    ApiError::not_found("ResourceNotFoundException", message).status(404)
}

/// The document of the statements; `None` without any.
fn document(statements: &[Value]) -> Option<String> {
    let policy = json!({"Version": "2012-10-17", "Id": "default", "Statement": statements});
    (!statements.is_empty()).then(|| policy.to_string())
}

/// The policy of the function that a call is about.
pub(super) fn policy_of(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let name = call
        .resource
        .strip_prefix(&cloud.arn("lambda", "function:"));
    let name = name.and_then(|name| name.split(':').next());
    let Some(name) = name else { return Ok(None) };
    let record = records(cloud).get(name)?;
    Ok(record.and_then(|record| document(&record.policy)))
}
