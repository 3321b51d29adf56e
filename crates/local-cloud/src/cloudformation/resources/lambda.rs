//! `AWS::Lambda::Function`.

use std::io::{Cursor, Write};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Handler, Job, Made, Naming, Type, differs, member, removed_tags, tag_map};
use crate::api::{ApiError, ApiResult};
use crate::clock;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::Lambda::Function",
    properties: &[
        "Architectures",
        "Code",
        "Description",
        "Environment",
        "EphemeralStorage",
        "FunctionName",
        "Handler",
        "LoggingConfig",
        "MemorySize",
        "PackageType",
        "Role",
        "Runtime",
        "Tags",
        "Timeout",
    ],
    naming: Some(Naming {
        property: "FunctionName",
        longest: 64,
        lower: false,
    }),
    attributes: &["Arn"],
    handler: &Function,
}];

/// The properties that `UpdateFunctionConfiguration` changes.
const SETTINGS: &[&str] = &[
    "Description",
    "Environment",
    "EphemeralStorage",
    "Handler",
    "LoggingConfig",
    "MemorySize",
    "Role",
    "Runtime",
    "Timeout",
];

/// What a property is that a template no longer has.
fn default_of(name: &str, function: &str) -> Value {
    match name {
        "Description" => json!(""),
        "Environment" => json!({"Variables": {}}),
        "EphemeralStorage" => json!({"Size": 512}),
        "LoggingConfig" => json!({"LogGroup": format!("/aws/lambda/{function}")}),
        "MemorySize" => json!(128),
        "Timeout" => json!(3),
        _ => Value::Null,
    }
}

struct Function;

/// `Code` as the service takes it. What a template calls `ZipFile` is the text of a program, which
/// CloudFormation puts into a zip.
fn code(job: &Job<'_>) -> ApiResult<Value> {
    let code = job.get("Code").cloned().unwrap_or_default();
    let Some(text) = code["ZipFile"].as_str() else {
        return Ok(code);
    };
    let runtime = job.text("Runtime");
    if !runtime.starts_with("python") {
        return Err(ApiError::new(
            "InvalidRequest",
            format!("ZipFile can only be used with Python and Node.js runtimes, not {runtime}"),
        ));
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let zipped = zip
        .start_file("index.py", SimpleFileOptions::default())
        .and_then(|()| Ok(zip.write_all(text.as_bytes())?))
        .and_then(|()| zip.finish())
        .map_err(ApiError::internal)?;
    Ok(json!({"ZipFile": STANDARD.encode(zipped.into_inner())}))
}

/// Waits until the function is what it was told to be; an error when it cannot be.
async fn settled(job: &Job<'_>, name: &str) -> ApiResult<()> {
    let shown = at_rest(job, name).await?;
    for (status, reason) in [
        ("State", "StateReason"),
        ("LastUpdateStatus", "LastUpdateStatusReason"),
    ] {
        if shown[status] == "Failed" {
            let reason = shown[reason].as_str().unwrap_or("no reason given");
            return Err(ApiError::new("NotStabilized", reason));
        }
    }
    Ok(())
}

/// Waits until nothing is under way, whatever came of it: what failed before can be updated.
async fn at_rest(job: &Job<'_>, name: &str) -> ApiResult<Value> {
    loop {
        let shown = job
            .call(
                "lambda",
                "GetFunctionConfiguration",
                json!({"FunctionName": name}),
            )
            .await?;
        if shown["State"] != "Pending" && shown["LastUpdateStatus"] != "InProgress" {
            return Ok(shown);
        }
        clock::sleep(Duration::from_millis(20)).await;
    }
}

#[async_trait]
impl Handler for Function {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut request = job.pick(&[
            "Architectures",
            "Description",
            "Environment",
            "EphemeralStorage",
            "Handler",
            "LoggingConfig",
            "MemorySize",
            "PackageType",
            "Role",
            "Runtime",
            "Timeout",
        ]);
        request.insert("FunctionName".to_owned(), json!(job.name));
        request.insert("Code".to_owned(), code(job)?);
        let tags = tag_map(job.properties);
        if !tags.is_empty() {
            request.insert("Tags".to_owned(), Value::Object(tags));
        }
        let made = job
            .call("lambda", "CreateFunction", Value::Object(request))
            .await?;
        Ok(Made {
            physical: job.name.to_owned(),
            attributes: Map::from_iter([(
                "Arn".to_owned(),
                Value::from(member(&made, "/FunctionArn")?),
            )]),
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        settled(job, physical).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        at_rest(job, physical).await?;
        if differs(old, job.properties, &["Code", "Architectures"]) {
            let mut request = code(job)?;
            request["FunctionName"] = json!(physical);
            if let Some(architectures) = job.get("Architectures") {
                request["Architectures"] = architectures.clone();
            }
            job.call("lambda", "UpdateFunctionCode", request).await?;
            settled(job, physical).await?;
        }
        let mut request = json!({"FunctionName": physical});
        let mut changed = false;
        for name in SETTINGS {
            if differs(old, job.properties, &[name]) {
                let value = job.get(name).cloned();
                request[*name] = value.unwrap_or_else(|| default_of(name, physical));
                changed = true;
            }
        }
        if changed {
            job.call("lambda", "UpdateFunctionConfiguration", request)
                .await?;
            settled(job, physical).await?;
        }
        if differs(old, job.properties, &["Tags"]) {
            let arn = job.cloud.arn("lambda", format!("function:{physical}"));
            let removed = removed_tags(old, job.properties);
            if !removed.is_empty() {
                let input = json!({"Resource": arn, "TagKeys": removed});
                job.call("lambda", "UntagResource", input).await?;
            }
            let tags = tag_map(job.properties);
            if !tags.is_empty() {
                let input = json!({"Resource": arn, "Tags": tags});
                job.call("lambda", "TagResource", input).await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        let input = json!({"FunctionName": physical});
        job.call("lambda", "DeleteFunction", input).await?;
        Ok(())
    }
}
