//! The permissions that a command needs, as an IAM policy: the operations of each command, the
//! actions and resources of each operation, and the actions that CloudFormation takes on behalf of
//! a command that deploys a stack. All three are tables in permissions/.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use serde_json::{Value, json};

/// `COMMAND: SERVICE:OPERATION …`. A stack that CloudFormation changes with the caller's permissions
/// is `deploys:STACK`; if it does so with a role, `passes:CloudFormation`.
const COMMANDS: &str = include_str!("permissions/commands.txt");

/// `SERVICE:OPERATION | ACTION … | RESOURCE`
const ACTIONS: &str = include_str!("permissions/actions.txt");

/// `STACK ACTION …`; `tools/stack_permissions.py` generates it.
const STACKS: &str = include_str!("permissions/stacks.txt");

/// The names in resource ARNs. Unknown ones are written as `ACCOUNT`, `REGION` and `PROJECT`.
#[derive(Debug, Clone)]
pub struct Names {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The project.
    pub project: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            account: "ACCOUNT".to_owned(),
            region: "REGION".to_owned(),
            project: "PROJECT".to_owned(),
        }
    }
}

/// Returns the lines of a table, without comments.
fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = table.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Returns every command with its operations (`s3:GetObject`), and the stacks that it deploys
/// (`deploys:network`).
pub fn commands() -> BTreeMap<&'static str, Vec<&'static str>> {
    let rows = lines(COMMANDS).filter_map(|line| line.split_once(": "));
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (command, operations) in rows {
        let operations = operations.split(' ').filter(|it| *it != "none");
        found.entry(command).or_default().extend(operations);
    }
    found
}

/// Returns the rows of an operation: its actions, and their resources.
fn actions(operation: &str) -> Vec<(Vec<&'static str>, &'static str)> {
    lines(ACTIONS)
        .filter_map(|line| {
            let mut fields = line.split('|').map(str::trim);
            let found = fields.next()? == operation;
            let row = (fields.next()?.split(' ').collect(), fields.next()?);
            found.then_some(row)
        })
        .collect()
}

/// Returns the policy document of a command, or of all commands.
///
/// # Errors
/// There is no such command (exit 2).
pub fn policy(command: Option<&str>, names: &Names) -> Result<Value> {
    let all = commands();
    let operations: BTreeSet<&str> = match command {
        None => all.values().flatten().copied().collect(),
        Some(command) => all
            .get(command)
            .ok_or_else(|| Failure::usage(format!("no permissions are known for `{command}`")))
            .hint(known(command, &all))?
            .iter()
            .copied()
            .collect(),
    };
    let mut statements: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations {
        if let Some(stack) = operation.strip_prefix("deploys:") {
            let deployed = lines(STACKS)
                .find_map(|line| line.strip_prefix(stack)?.strip_prefix(' '))
                .with_context(|| format!("the actions of {operation} are not known"))?;
            for action in deployed.split(' ') {
                let resource = match action {
                    "iam:PassRole" => "roles passed to services",
                    "iam:CreateServiceLinkedRole" => "service-linked roles",
                    // On any role, these would make the caller an administrator.
                    action if action.starts_with("iam:") => "roles and policies",
                    _ => "whatever CloudFormation creates",
                };
                statements.entry(resource).or_default().insert(action);
            }
            continue;
        }
        if operation == "passes:CloudFormation" {
            let resource = "roles passed to CloudFormation";
            statements
                .entry(resource)
                .or_default()
                .insert("iam:PassRole");
            continue;
        }
        let rows = actions(operation);
        anyhow::ensure!(!rows.is_empty(), "the actions of {operation} are not known");
        for (actions, resource) in rows {
            let needed = actions.into_iter().filter(|action| *action != "-");
            for action in needed {
                statements.entry(resource).or_default().insert(action);
            }
        }
    }
    if statements.is_empty() {
        let command = command.unwrap_or_default();
        return Err(Failure::usage(format!(
            "`mlops {command}` needs no permissions"
        )));
    }
    let statements: Vec<Value> = statements
        .into_iter()
        .map(|(resource, actions)| statement(resource, &actions, names))
        .collect::<Result<_>>()?;
    Ok(json!({"Version": "2012-10-17", "Statement": statements}))
}

/// Returns a hint for an unknown command: commands with the same prefix, or all.
fn known(command: &str, all: &BTreeMap<&str, Vec<&str>>) -> String {
    let first = command.split(' ').next().unwrap_or_default();
    let alike: Vec<&str> = all
        .keys()
        .copied()
        .filter(|name| name.split(' ').next() == Some(first))
        .collect();
    let shown = if alike.is_empty() {
        all.keys().copied().collect()
    } else {
        alike
    };
    format!("the commands are: {}", shown.join(", "))
}

fn statement(resource: &str, actions: &BTreeSet<&str>, names: &Names) -> Result<Value> {
    let arns = arns(resource, names)
        .with_context(|| format!("`{resource}` is not a resource of permissions/actions.txt"))?;
    let sid: String = resource
        .split([' ', '-', ','])
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|it| it.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect();
    let mut statement = json!({
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": arns,
    });
    if resource == "keys" {
        let s3 = format!("s3.{}.amazonaws.com", names.region);
        statement["Condition"] = json!({"StringEquals": {"kms:ViaService": s3}});
    }
    if let Some(service) = resource.strip_prefix("roles passed to ") {
        let services: &[&str] = match service {
            "services" => &[
                "codebuild.amazonaws.com",
                "cloudformation.amazonaws.com",
                "events.amazonaws.com",
                "lambda.amazonaws.com",
                "sagemaker.amazonaws.com",
                "vpc-flow-logs.amazonaws.com",
            ],
            "CloudFormation" => &["cloudformation.amazonaws.com"],
            "SageMaker" => &["sagemaker.amazonaws.com"],
            _ => anyhow::bail!("`{service}` is not a service that a role is passed to"),
        };
        statement["Condition"] = json!({"StringEquals": {"iam:PassedToService": services}});
    }
    Ok(statement)
}

/// Returns the ARNs of a resource in the table.
fn arns(resource: &str, names: &Names) -> Option<Vec<String>> {
    let Names {
        account,
        region,
        project,
    } = names;
    let partition = if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    };
    let arn =
        |service: &str, rest: &str| format!("arn:{partition}:{service}:{region}:{account}:{rest}");
    Some(match resource {
        "any" | "whatever CloudFormation creates" => vec!["*".to_owned()],
        "roles and policies" => vec![
            format!("arn:{partition}:iam::{account}:role/{project}-*"),
            format!("arn:{partition}:iam::{account}:policy/{project}-*"),
        ],
        "service-linked roles" => vec![format!(
            "arn:{partition}:iam::{account}:role/aws-service-role/*"
        )],
        "stacks" => vec![arn("cloudformation", &format!("stack/{project}-*/*"))],
        "buckets" => vec![format!(
            "arn:{partition}:s3:::{project}-*-{account}-{region}"
        )],
        "objects" => vec![format!(
            "arn:{partition}:s3:::{project}-*-{account}-{region}/*"
        )],
        "keys" => vec![arn("kms", "key/*")],
        "images" => vec![arn("ecr", &format!("repository/{project}"))],
        "repositories" => vec![
            arn("codecommit", project),
            arn("codecommit", &format!("{project}-eda")),
        ],
        "pipeline" => vec![
            arn("sagemaker", &format!("pipeline/{project}")),
            arn("sagemaker", &format!("pipeline/{project}/execution/*")),
        ],
        "models" => vec![
            arn("sagemaker", &format!("model-package-group/{project}")),
            arn("sagemaker", &format!("model-package/{project}/*")),
        ],
        "endpoint" => vec![
            arn("sagemaker", &format!("endpoint/{project}")),
            arn("sagemaker", "endpoint-config/*"),
            arn("sagemaker", "model/*"),
        ],
        "notebook" => vec![arn("sagemaker", &format!("notebook-instance/{project}*"))],
        "jobs" => vec![
            arn("sagemaker", "processing-job/*"),
            arn("sagemaker", "training-job/*"),
        ],
        "lineage" => [
            "action",
            "artifact",
            "context",
            "experiment-trial-component",
        ]
        .iter()
        .map(|kind| arn("sagemaker", &format!("{kind}/*")))
        .collect(),
        "functions" => vec![arn("lambda", &format!("function:{project}-*"))],
        "topics" => vec![arn("sns", &format!("{project}-*"))],
        "logs" => vec![
            arn("logs", "log-group:/aws/sagemaker/*"),
            arn("logs", &format!("log-group:/aws/codebuild/{project}-*")),
        ],
        // Stages and actions too: their names follow that of the pipeline.
        "delivery" => vec![arn("codepipeline", &format!("{project}-*"))],
        "builds" => vec![arn("codebuild", &format!("project/{project}-*"))],
        passed if passed.starts_with("roles passed to ") => {
            vec![format!("arn:{partition}:iam::{account}:role/{project}-*")]
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_policy_and_the_tables_have_no_other_rows() {
        let all = commands();
        let used: BTreeSet<&str> = all.values().flatten().copied().collect();
        for (command, operations) in &all {
            let policy = policy(Some(command), &Names::default());
            assert_eq!(
                policy.is_ok(),
                !operations.is_empty(),
                "{command}: {policy:?}"
            );
        }
        for line in lines(ACTIONS) {
            let operation = line.split('|').next().unwrap().trim();
            assert!(used.contains(operation), "no command calls {operation}");
        }
        for line in lines(STACKS) {
            let name = format!("deploys:{}", line.split(' ').next().unwrap());
            assert!(used.contains(name.as_str()), "no command {name}");
        }
    }

    #[test]
    fn no_policy_allows_everything_of_a_service_or_passes_a_role_to_any() {
        let document = policy(None, &Names::default()).unwrap();
        for statement in document["Statement"].as_array().unwrap() {
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap();
                assert!(!action.contains('*'), "{action}");
                let has_any = statement["Resource"].to_string().contains("\"*\"");
                assert!(
                    !action.starts_with("iam:") || !has_any,
                    "{action} on any role"
                );
                assert_eq!(
                    action == "iam:PassRole",
                    statement["Condition"]["StringEquals"]["iam:PassedToService"].is_array(),
                    "{statement}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_command_lists_those_that_begin_alike() {
        let error = policy(Some("image pull"), &Names::default()).unwrap_err();
        let hints = mlops_core::error::hints(&error);
        assert!(hints[0].contains("image push"), "{hints:?}");
        assert!(!hints[0].contains("data push"), "{hints:?}");
    }
}
