//! The `CodeBuild` types.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::builder::{argument, at, call, camel, from, name, physical, read, search, set};
use super::hooks::Hooks;
use super::table::{Source, Type};
use super::target::Target;
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::CodeBuild::Project", "codebuild")
        .named("Name", 150)
        .create(
            "CreateProject",
            &[
                name("name"),
                from("artifacts", "Artifacts").form(api),
                from("badgeEnabled", "BadgeEnabled"),
                from("cache", "Cache").form(api),
                from("concurrentBuildLimit", "ConcurrentBuildLimit"),
                from("description", "Description"),
                from("encryptionKey", "EncryptionKey"),
                from("environment", "Environment").form(api),
                from("logsConfig", "LogsConfig").form(api),
                from("queuedTimeoutInMinutes", "QueuedTimeoutInMinutes"),
                from("secondaryArtifacts", "SecondaryArtifacts").form(api),
                from("secondarySourceVersions", "SecondarySourceVersions").form(api),
                from("secondarySources", "SecondarySources").form(api),
                from("serviceRole", "ServiceRole"),
                from("source", "Source").form(api),
                from("sourceVersion", "SourceVersion"),
                from("tags", "Tags").form(api),
                from("timeoutInMinutes", "TimeoutInMinutes"),
                from("vpcConfig", "VpcConfig").form(api),
            ],
        )
        .id(Source::Part("/project/name"))
        .attributes(&[
            ("Arn", Source::Part("/project/arn")),
            ("Id", Source::Physical),
        ])
        .settings(&[set(
            "UpdateProject",
            &[
                physical("name"),
                from("artifacts", "Artifacts").form(api),
                from("badgeEnabled", "BadgeEnabled").or("false"),
                from("cache", "Cache")
                    .form(api)
                    .or(r#"{"type": "NO_CACHE"}"#),
                from("concurrentBuildLimit", "ConcurrentBuildLimit").or("-1"),
                from("description", "Description").or(r#""""#),
                from("encryptionKey", "EncryptionKey").or(r#""alias/aws/s3""#),
                from("environment", "Environment").form(api),
                from("logsConfig", "LogsConfig").form(api).or("{}"),
                from("queuedTimeoutInMinutes", "QueuedTimeoutInMinutes").or("480"),
                from("secondaryArtifacts", "SecondaryArtifacts")
                    .form(api)
                    .or("[]"),
                from("secondarySourceVersions", "SecondarySourceVersions")
                    .form(api)
                    .or("[]"),
                from("secondarySources", "SecondarySources")
                    .form(api)
                    .or("[]"),
                from("serviceRole", "ServiceRole"),
                from("source", "Source").form(api),
                from("sourceVersion", "SourceVersion").or(r#""""#),
                from("tags", "Tags").form(api).or("[]"),
                from("timeoutInMinutes", "TimeoutInMinutes").or("60"),
                from("vpcConfig", "VpcConfig").form(api).or("{}"),
            ],
        )
        .on_update()])
        .find(search(
            call("BatchGetProjects", &[argument("names[]", Source::Name)]),
            "/projects/*",
            "/name",
        ))
        .live(&[read(
            call("BatchGetProjects", &[argument("names[]", Source::Physical)]),
            "/projects/*",
            &[
                camel("Artifacts Cache ConcurrentBuildLimit Description EncryptionKey Environment"),
                camel("LogsConfig Name QueuedTimeoutInMinutes SecondaryArtifacts"),
                camel("SecondarySourceVersions SecondarySources ServiceRole Source SourceVersion"),
                camel("TimeoutInMinutes VpcConfig"),
                at("BadgeEnabled", "/badge/badgeEnabled"),
                at("Tags", "/tags"),
            ],
        )])
        .delete("DeleteProject", &[physical("name")])
        .hooks(&Project, ""),
    Type::new("AWS::CodeBuild::ReportGroup", "codebuild")
        .named("Name", 128)
        .create(
            "CreateReportGroup",
            &[
                name("name"),
                from("type", "Type"),
                from("exportConfig", "ExportConfig").form(api),
                from("tags", "Tags").form(api),
            ],
        )
        .id(Source::Part("/reportGroup/arn"))
        .attributes(&[("Arn", Source::Physical)])
        .settings(&[set(
            "UpdateReportGroup",
            &[
                physical("arn"),
                from("exportConfig", "ExportConfig").form(api),
                from("tags", "Tags").form(api).or("[]"),
            ],
        )
        .on_update()])
        .find(search(
            call(
                "BatchGetReportGroups",
                &[argument("reportGroupArns[]", Source::Text(GROUP))],
            ),
            "/reportGroups/*",
            "/arn",
        ))
        .live(&[read(
            call(
                "BatchGetReportGroups",
                &[argument("reportGroupArns[]", Source::Physical)],
            ),
            "/reportGroups/*",
            &[camel("ExportConfig Name Type"), at("Tags", "/tags")],
        )])
        .delete(
            "DeleteReportGroup",
            &[physical("arn"), from("deleteReports", "DeleteReports")],
        ),
];

const GROUP: &str = "arn:aws:codebuild:{region}:{account}:report-group/{name}";

/// A value with the member names of the API: `sourceIdentifier` for `SourceIdentifier`.
#[expect(clippy::unnecessary_wraps, reason = "a form, of which others can fail")]
fn api(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    Ok(lowered(value))
}

fn lowered(value: &Value) -> Value {
    let name = |name: &str| match name {
        "BuildSpec" => "buildspec".to_owned(),
        name => {
            let mut signs = name.chars();
            let first = signs.next().map(|sign| sign.to_ascii_lowercase());
            first.into_iter().chain(signs).collect()
        }
    };
    match value {
        Value::Array(items) => items.iter().map(lowered).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(member, value)| (name(member), lowered(value)))
            .collect(),
        scalar => scalar.clone(),
    }
}

struct Project;

#[async_trait]
impl Hooks for Project {
    /// The API writes `buildspec` for `BuildSpec`.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let mut live = target.live().await?;
        for property in ["Source", "SecondarySources"] {
            let found = live.as_mut().and_then(|live| live.get_mut(property));
            let sources = match found {
                Some(Value::Array(sources)) => sources.iter_mut().collect(),
                Some(source) => vec![source],
                None => Vec::new(),
            };
            for source in sources.into_iter().filter_map(Value::as_object_mut) {
                if let Some(text) = source.remove("Buildspec") {
                    source.insert("BuildSpec".to_owned(), text);
                }
            }
        }
        Ok(live)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_get_the_names_of_the_api() {
        let properties = json!([{
            "BuildSpec": "x", "S3Logs": {"Status": "DISABLED"}, "EnvironmentVariables": [{"Name": "A", "Value": "B"}],
        }]);
        let expected = json!([{
            "buildspec": "x", "s3Logs": {"status": "DISABLED"}, "environmentVariables": [{"name": "A", "value": "B"}],
        }]);
        assert_eq!(lowered(&properties), expected);
    }
}
