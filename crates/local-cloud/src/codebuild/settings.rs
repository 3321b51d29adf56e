//! Checks the settings of projects and builds. What the local cloud does not have is refused by name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::buildspec::{Buildspec, MAX_BUILDSPEC, check_variable};
use super::invalid;
use super::records::{Artifacts, Cache, Environment, LogsConfig, Settings, Source};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Timeout of a build in minutes, unless the project has one.
pub(super) const TIMEOUT: u32 = 60;

/// Timeout of a queued build in minutes, unless the project has one.
pub(super) const QUEUED_TIMEOUT: u32 = 480;

/// The key that encrypts the output, unless the project has one.
pub(super) const DEFAULT_KEY: &str = "alias/aws/s3";

/// Maximum number of environment variables of a project or a request; the user guide has no limit.
const MAX_VARIABLES: usize = 1000;

/// Maximum size of a variable's value, in bytes: Linux does not start a program with a larger one.
const MAX_VALUE: usize = 128 << 10;

/// Maximum number of secondary sources and of secondary artifacts, as on AWS.
const MAX_SECONDARY: usize = 12;

fn refused(what: impl std::fmt::Display) -> ApiError {
    ApiError::not_implemented(format_args!("{what} of codebuild"))
}

/// Fails unless the settings are complete and possible here.
pub(super) fn check(settings: &Settings) -> ApiResult<()> {
    check_sources(settings)?;
    check_artifacts(settings)?;
    check_environment(&settings.environment)?;
    check_cache(&settings.cache)?;
    if let Some(logs) = &settings.logs_config {
        check_logs(logs)?;
    }
    for (member, value, range) in [
        ("timeoutInMinutes", settings.timeout_in_minutes, 5..=2160),
        (
            "queuedTimeoutInMinutes",
            settings.queued_timeout_in_minutes,
            5..=480,
        ),
    ] {
        if !range.contains(&value) {
            return Err(invalid(format!(
                "Invalid {member}: the value must be from {} to {}",
                range.start(),
                range.end()
            )));
        }
    }
    if settings.concurrent_build_limit == Some(0) {
        return Err(invalid(
            "Invalid concurrentBuildLimit: the value must be at least 1",
        ));
    }
    if settings
        .description
        .as_ref()
        .is_some_and(|text| text.chars().count() > 255)
    {
        return Err(invalid(
            "Invalid description: it has at most 255 characters",
        ));
    }
    Ok(())
}

/// `[A-Za-z0-9][A-Za-z0-9\-_]{1,149}`
pub(super) fn check_name(name: &str) -> ApiResult<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && (2..=150).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(invalid(
        "Project name must be 2 to 150 letters, digits, dashes and underscores, and start with a letter or a digit",
    ))
}

fn check_sources(settings: &Settings) -> ApiResult<()> {
    check_source(&settings.source, true)?;
    if settings.secondary_sources.len() > MAX_SECONDARY {
        return Err(invalid(format!(
            "a project has at most {MAX_SECONDARY} secondary sources"
        )));
    }
    let mut identifiers = BTreeSet::new();
    for source in &settings.secondary_sources {
        check_source(source, false)?;
        let identifier = source.source_identifier.as_deref().unwrap_or_default();
        check_identifier(identifier, "sourceIdentifier")?;
        if !identifiers.insert(identifier) {
            return Err(invalid(format!(
                "two secondary sources have the sourceIdentifier {identifier}"
            )));
        }
        if matches!(source.kind.as_str(), "CODEPIPELINE" | "NO_SOURCE") {
            return Err(invalid(format!(
                "a secondary source cannot be {}",
                source.kind
            )));
        }
    }
    for version in &settings.secondary_source_versions {
        if !identifiers.contains(version.source_identifier.as_str()) {
            return Err(invalid(format!(
                "secondarySourceVersions names {}, which is no secondary source",
                version.source_identifier
            )));
        }
    }
    Ok(())
}

fn check_source(source: &Source, is_primary: bool) -> ApiResult<()> {
    let location = source.location.as_deref().unwrap_or_default();
    match source.kind.as_str() {
        "CODECOMMIT" => {
            super::sources::repository(location)?;
        }
        "S3" => {
            super::sources::object(location)?;
        }
        "CODEPIPELINE" | "NO_SOURCE" => {}
        other => return Err(refused(format_args!("the source type {other}"))),
    }
    if let Some(buildspec) = &source.buildspec {
        if buildspec.len() > MAX_BUILDSPEC {
            return Err(invalid(format!(
                "a buildspec has at most {MAX_BUILDSPEC} bytes"
            )));
        }
        if is_inline(buildspec) {
            // Its mistakes fail the build, as on AWS; what the local cloud does not have is refused at once.
            if let Err(error) = Buildspec::parse(buildspec)
                && error.starts_with("NotImplemented: ")
            {
                return Err(ApiError::new("NotImplemented", error).status(501));
            }
        }
    }
    if is_primary
        && source.kind == "NO_SOURCE"
        && source.buildspec.as_deref().is_none_or(str::is_empty)
    {
        return Err(invalid(
            "Invalid project source: with type NO_SOURCE, the buildspec must be specified",
        ));
    }
    Ok(())
}

/// True for the text of a buildspec, false for the path or the ARN of one.
pub(super) fn is_inline(buildspec: &str) -> bool {
    let text = buildspec.trim_start();
    text.contains('\n') || text.starts_with('{') || text.starts_with("version:")
}

fn check_identifier(identifier: &str, member: &str) -> ApiResult<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..128).contains(&identifier.len()) && identifier.bytes().all(fits) {
        return Ok(());
    }
    Err(invalid(format!(
        "{member} must be 1 to 127 letters, digits and underscores"
    )))
}

fn check_artifacts(settings: &Settings) -> ApiResult<()> {
    let from_pipeline = settings.source.kind == "CODEPIPELINE";
    if (settings.artifacts.kind == "CODEPIPELINE") != from_pipeline {
        return Err(invalid(
            "Invalid project artifacts: the types of source and artifacts must both be CODEPIPELINE, or neither",
        ));
    }
    check_artifact(&settings.artifacts)?;
    if settings.secondary_artifacts.len() > MAX_SECONDARY {
        return Err(invalid(format!(
            "a project has at most {MAX_SECONDARY} secondary artifacts"
        )));
    }
    let mut identifiers = BTreeSet::new();
    for artifacts in &settings.secondary_artifacts {
        check_artifact(artifacts)?;
        let identifier = artifacts.artifact_identifier.as_deref().unwrap_or_default();
        check_identifier(identifier, "artifactIdentifier")?;
        if !identifiers.insert(identifier) {
            return Err(invalid(format!(
                "two secondary artifacts have the artifactIdentifier {identifier}"
            )));
        }
        if artifacts.kind != "S3" {
            return Err(invalid(format!(
                "a secondary artifact cannot be {}",
                artifacts.kind
            )));
        }
    }
    Ok(())
}

fn check_artifact(artifacts: &Artifacts) -> ApiResult<()> {
    match artifacts.kind.as_str() {
        "S3" => {}
        "NO_ARTIFACTS" | "CODEPIPELINE" => return Ok(()),
        other => return Err(invalid(format!("Invalid artifacts type: {other}"))),
    }
    let bucket = artifacts.location.as_deref().unwrap_or_default();
    if bucket.is_empty() || bucket.contains('/') {
        return Err(invalid(
            "Invalid artifacts: location must be the name of a bucket",
        ));
    }
    for (member, value, known) in [
        ("packaging", &artifacts.packaging, ["NONE", "ZIP"]),
        (
            "namespaceType",
            &artifacts.namespace_type,
            ["NONE", "BUILD_ID"],
        ),
    ] {
        if value
            .as_deref()
            .is_some_and(|value| !known.contains(&value))
        {
            return Err(invalid(format!(
                "Invalid artifacts: {member} must be {}",
                known.join(" or ")
            )));
        }
    }
    for (member, value) in [("path", &artifacts.path), ("name", &artifacts.name)] {
        if value
            .as_deref()
            .is_some_and(|value| value.len() > 512 || value.contains('\0'))
        {
            return Err(invalid(format!("Invalid artifacts: {member} is too long")));
        }
    }
    Ok(())
}

fn check_environment(environment: &Environment) -> ApiResult<()> {
    match environment.kind.as_str() {
        "LINUX_CONTAINER" | "ARM_CONTAINER" => {}
        other => return Err(refused(format_args!("the environment type {other}"))),
    }
    if environment.privileged_mode {
        return Err(refused(
            "privilegedMode (it needs Docker, which the local cloud does not use)",
        ));
    }
    // The image of AWS has no program that a build here could use: builds find the programs of this machine.
    if !environment.image.starts_with("aws/codebuild/") {
        return Err(refused(format_args!(
            "the image {} (builds run with the programs of this machine; use an image aws/codebuild/…)",
            environment.image
        )));
    }
    let compute = environment.compute_type.as_str();
    if !compute.starts_with("BUILD_GENERAL1_") {
        return Err(refused(format_args!("the computeType {compute}")));
    }
    if environment.environment_variables.len() > MAX_VARIABLES {
        return Err(invalid(format!(
            "a project has at most {MAX_VARIABLES} environment variables"
        )));
    }
    let mut names = BTreeSet::new();
    for variable in &environment.environment_variables {
        check_variable(&variable.name)
            .map_err(|message| invalid(format!("Invalid environment variable: {message}")))?;
        if !names.insert(&variable.name) {
            return Err(invalid(format!(
                "the environment variable {} is set twice",
                variable.name
            )));
        }
        if variable.value.len() > MAX_VALUE || variable.value.contains('\0') {
            return Err(invalid(format!(
                "the value of {} is too long, or contains NUL",
                variable.name
            )));
        }
        match variable.kind.as_str() {
            "PLAINTEXT" | "PARAMETER_STORE" => {}
            other => {
                return Err(refused(format_args!(
                    "environment variables of type {other}"
                )));
            }
        }
    }
    Ok(())
}

fn check_cache(cache: &Cache) -> ApiResult<()> {
    match cache.kind.as_str() {
        "NO_CACHE" => return Ok(()),
        "LOCAL" => {}
        other => return Err(refused(format_args!("the cache type {other}"))),
    }
    if cache.modes.is_empty() {
        return Err(invalid("Invalid cache: a cache of type LOCAL needs modes"));
    }
    for mode in &cache.modes {
        match mode.as_str() {
            "LOCAL_CUSTOM_CACHE" | "LOCAL_SOURCE_CACHE" => {}
            "LOCAL_DOCKER_LAYER_CACHE" => {
                return Err(refused("LOCAL_DOCKER_LAYER_CACHE (it needs Docker)"));
            }
            other => return Err(invalid(format!("Invalid cache mode: {other}"))),
        }
    }
    Ok(())
}

fn check_logs(logs: &LogsConfig) -> ApiResult<()> {
    if logs
        .s3_logs
        .as_ref()
        .is_some_and(|logs| logs.status == "ENABLED")
    {
        return Err(refused("logs in S3 (s3Logs)"));
    }
    if let Some(logs) = &logs.cloud_watch_logs {
        for name in [&logs.group_name, &logs.stream_name].into_iter().flatten() {
            let fits = |sign: char| sign.is_ascii_alphanumeric() || "_./#-".contains(sign);
            if name.is_empty() || name.len() > 400 || !name.chars().all(fits) {
                return Err(invalid(format!(
                    "Invalid name of a log group or a log stream: {name}"
                )));
            }
        }
    }
    Ok(())
}

/// Fails unless the subnets and security groups of a `vpcConfig` exist. No packet flows through them.
pub(super) async fn check_vpc(cloud: &Cloud, config: Option<&Value>) -> ApiResult<()> {
    let Some(config) = config else {
        return Ok(());
    };
    for (operation, member, list) in [
        ("DescribeSubnets", "SubnetId", "subnets"),
        ("DescribeSecurityGroups", "GroupId", "securityGroupIds"),
    ] {
        let ids = config[list].as_array().cloned().unwrap_or_default();
        if !ids.is_empty() {
            let found = cloud
                .internally("ec2", operation, json!({ member: ids }))
                .await;
            found.map_err(|error| invalid(format!("Invalid vpc config: {}", error.message)))?;
        }
    }
    Ok(())
}

/// Fails unless CodeBuild can assume the role.
pub(super) fn check_role(cloud: &Cloud, role: &str) -> ApiResult<()> {
    crate::iam::usable(cloud, role, super::PRINCIPAL)
        .map(drop)
        .map_err(|error| {
            if error.status >= 500 {
                return error;
            }
            invalid(not_assumable(role))
        })
}

/// AWS's words for a role that `CodeBuild` cannot assume.
pub(super) fn not_assumable(role: &str) -> String {
    format!("CodeBuild is not authorized to perform: sts:AssumeRole on {role}")
}
