//! The Lambda types.

use std::io::{Cursor, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::builder::{
    TAG_RESOURCE, call, changed, from, name, own, physical, read, same, set, tags_by, text,
};
use super::table::{Source, Spelling, State, Type};
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::text_of;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::Lambda::Function", "lambda")
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
    .delete("DeleteFunction", &[physical("FunctionName")])];

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
