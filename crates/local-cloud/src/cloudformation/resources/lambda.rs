//! The Lambda types.

use std::io::{Cursor, Write};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::builder::{
    TAG_RESOURCE, call, changed, from, name, own, physical, read, same, set, tags_by, text,
};
use super::errors::existing;
use super::hooks::Hooks;
use super::table::{Source, Spelling, State, Type};
use super::target::Target;
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::text_of;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[FUNCTION, PERMISSION];

const FUNCTION: Type = Type::new("AWS::Lambda::Function", "lambda")
    .named("FunctionName", 64)
    .create(
        "CreateFunction",
        &[
            name("FunctionName"),
            from("Code", "Code").form(code),
            same("Architectures Description Environment EphemeralStorage Handler LoggingConfig"),
            same("MemorySize PackageType Role Runtime Timeout"),
        ],
    )
    .attributes(&[("Arn", Source::Part("/FunctionArn"))])
    .settings(&[
        set(
            "UpdateFunctionCode",
            &[
                physical("FunctionName"),
                from("", "Code").form(code),
                same("Architectures"),
            ],
        )
        .on_update(),
        set(
            "UpdateFunctionConfiguration",
            &[
                physical("FunctionName"),
                changed("Description", r#""""#),
                changed("Environment", r#"{"Variables": {}}"#),
                changed("EphemeralStorage", r#"{"Size": 512}"#),
                from("Handler", "Handler").only_changed(),
                changed("LoggingConfig", r#"{"LogGroup": "/aws/lambda/{physical}"}"#),
                changed("MemorySize", "128"),
                from("Role", "Role").only_changed(),
                from("Runtime", "Runtime").only_changed(),
                changed("Timeout", "3"),
            ],
        )
        .on_update(),
    ])
    .tags(tags_by(
        TAG_RESOURCE,
        Spelling::Object,
        text("Resource", ARN),
    ))
    .found_by(
        "GetFunctionConfiguration",
        &[name("FunctionName")],
        "/FunctionName",
    )
    .stable(State {
        call: call("GetFunctionConfiguration", &[physical("FunctionName")]),
        states: &[
            ("/State", "/StateReason"),
            ("/LastUpdateStatus", "/LastUpdateStatusReason"),
        ],
        wanted: &["Active", "Inactive", "Successful"],
        failed: &["Failed"],
        message: "{reason}",
    })
    .live(&[
        read(
            call("GetFunctionConfiguration", &[physical("FunctionName")]),
            "",
            &[
                own("Architectures Description Environment EphemeralStorage"),
                own("FunctionName Handler"),
                own("LoggingConfig MemorySize PackageType Role Runtime Timeout"),
            ],
        ),
        read(
            call("ListTags", &[text("Resource", ARN)]),
            "",
            &[own("Tags")],
        ),
    ])
    .delete("DeleteFunction", &[physical("FunctionName")]);

/// A statement of a function's policy. Unverified against AWS [lambda-permission-id]: the format of the statement's id,
/// which is also the resource's physical id.
const PERMISSION: Type = Type::new("AWS::Lambda::Permission", "lambda")
    .create(
        "AddPermission",
        &[
            name("StatementId"),
            same("Action FunctionName Principal SourceAccount SourceArn"),
        ],
    )
    .id(Source::Name)
    .attributes(&[("Id", Source::Physical)])
    .find_by_code()
    .delete(
        "RemovePermission",
        &[
            from("FunctionName", "FunctionName"),
            physical("StatementId"),
        ],
    )
    .hooks(&Permission, "");

const ARN: &str = "arn:aws:lambda:{region}:{account}:function:{physical}";

/// `Code` in the form of the API. `ZipFile` in a template is the source of a program, which
/// `CloudFormation` packs into a zip.
fn code(code: &Value, properties: &Map<String, Value>) -> ApiResult<Value> {
    let Some(text) = code["ZipFile"].as_str() else {
        return Ok(code.clone());
    };
    let runtime = properties.get("Runtime").map(text_of).unwrap_or_default();
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

struct Permission;

impl Permission {
    /// The statement with this id, if the function has it.
    async fn statement(target: &Target<'_>, id: &str) -> ApiResult<Option<Value>> {
        let function = (
            "FunctionName".to_owned(),
            target.text("FunctionName").into(),
        );
        let answer = target.request("GetPolicy", Map::from_iter([function]));
        let Some(answer) = existing(answer.await)? else {
            return Ok(None);
        };
        let policy = answer["Policy"].as_str().unwrap_or_default();
        let policy: Value = serde_json::from_str(policy).map_err(ApiError::internal)?;
        let statements = policy["Statement"].as_array().into_iter().flatten();
        Ok(statements.into_iter().find(|it| it["Sid"] == id).cloned())
    }
}

#[async_trait]
impl Hooks for Permission {
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let found = Self::statement(target, target.name).await?;
        Ok(found.map(|_| target.name.to_owned()).into_iter().collect())
    }

    fn reads_live(&self) -> bool {
        true
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let found = Self::statement(target, target.physical).await?;
        Ok(found.map(|statement| permission(target, &statement)))
    }
}

/// The properties of a permission, from its statement.
fn permission(target: &Target<'_>, statement: &Value) -> Map<String, Value> {
    let principal = &statement["Principal"];
    let named = [&principal["Service"], &principal["AWS"], principal];
    let named = named.into_iter().find(|it| it.is_string());
    let principal = named.map(text_of).unwrap_or_default();
    let account = principal.strip_prefix("arn:aws:iam::");
    let account = account.and_then(|rest| rest.strip_suffix(":root"));
    // For an account, the statement has the ARN of its root.
    let principal = match account {
        Some(account) if target.text("Principal") == account => account.to_owned(),
        _ => principal.clone(),
    };
    let condition = |operator: &str, key: &str| {
        let value = &statement["Condition"][operator][key];
        (!value.is_null()).then(|| value.clone())
    };
    let properties = [
        ("Action", Some(statement["Action"].clone())),
        ("FunctionName", target.get("FunctionName").cloned()),
        ("Principal", Some(principal.into())),
        (
            "SourceAccount",
            condition("StringEquals", "AWS:SourceAccount"),
        ),
        ("SourceArn", condition("ArnLike", "AWS:SourceArn")),
    ];
    let present = properties.into_iter();
    let present = present.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}
