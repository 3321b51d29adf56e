//! Model packages: versions 1, 2, 3, … of a group, or packages with a name of their own.

use serde_json::{Value, json};

use super::{ApiError, ApiResult, Cloud, created, groups, lineage, name_of, requests, tags};
use crate::clock;
use crate::s3::objects;
use crate::store::Collection;

const APPROVALS: &[&str] = &["Approved", "Rejected", "PendingManualApproval"];

/// Members of the request that are the record's own.
const KEPT: &[&str] = &[
    "ModelPackageName",
    "ModelPackageGroupName",
    "ModelPackageDescription",
    "ModelPackageRegistrationType",
    "InferenceSpecification",
    "CertifyForMarketplace",
    "ModelApprovalStatus",
    "MetadataProperties",
    "ModelMetrics",
    "Domain",
    "Task",
    "SamplePayloadUrl",
    "CustomerMetadataProperties",
    "DriftCheckBaselines",
    "AdditionalInferenceSpecifications",
    "SkipModelValidation",
    "SourceUri",
    "SecurityConfig",
    "ModelCard",
    "ModelLifeCycle",
    "ManagedStorageType",
];

const LISTING: requests::Listing = requests::Listing {
    name: "ModelPackageName",
    status: None,
    sort_by: "CreationTime",
    descending: false,
};

fn collection(cloud: &Cloud) -> Collection<'_, Value> {
    cloud.store().collection("sagemaker", "model-package")
}

/// The key of a package: its name, or `GROUP/000000001` so that versions sort.
fn key(name: &str) -> String {
    match name.split_once('/') {
        Some((group, version)) => format!("{group}/{version:0>9}"),
        None => name.to_owned(),
    }
}

/// Looks a package up by its name, `GROUP/VERSION`, or ARN.
fn find(cloud: &Cloud, name_or_arn: &str) -> ApiResult<(String, Value)> {
    let name = name_of(cloud, "model-package", name_or_arn);
    let key = key(name);
    match collection(cloud).get(&key)? {
        Some(record) => Ok((key, record)),
        None => Err(missing(cloud, name)),
    }
}

fn missing(cloud: &Cloud, name: &str) -> ApiError {
    requests::absent(format!(
        "ModelPackage {} does not exist.",
        cloud.arn("sagemaker", format_args!("model-package/{name}"))
    ))
}

/// True when a group has packages.
pub(super) fn any(cloud: &Cloud, group: &str) -> ApiResult<bool> {
    Ok(!collection(cloud).list(&format!("{group}/"))?.is_empty())
}

pub(super) async fn create(cloud: &Cloud, mut input: Value) -> ApiResult<Value> {
    for member in ["SourceAlgorithmSpecification", "ValidationSpecification"] {
        if input.get(member).is_some_and(|value| !value.is_null()) {
            return Err(ApiError::not_implemented(format_args!(
                "{member} of sagemaker:CreateModelPackage"
            )));
        }
    }
    let token = requests::optional(&input, "ClientToken").map(str::to_owned);
    if let Some(token) = &token
        && let Some(arn) = tokens(cloud).get(token)?
    {
        return Ok(json!({ "ModelPackageArn": arn }));
    }
    requests::one_of(&input, "ModelApprovalStatus", APPROVALS)?;
    check_life_cycle(&input)?;
    let mut specifications = Vec::new();
    if let Some(specification) = input.get_mut("InferenceSpecification") {
        specifications.push(specification);
    }
    check_specifications(cloud, specifications)?;
    if let Some(list) = input
        .get_mut("AdditionalInferenceSpecifications")
        .and_then(Value::as_array_mut)
    {
        check_specifications(cloud, list.iter_mut().collect())?;
    }

    let group = requests::optional(&input, "ModelPackageGroupName")
        .map(|name| name_of(cloud, "model-package-group", name).to_owned());
    let (name, group) = match (&group, input.get("ModelPackageName")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::validation(
                "Only one of ModelPackageName and ModelPackageGroupName can be provided.",
            ));
        }
        (Some(group), None) => {
            if input
                .get("Tags")
                .and_then(Value::as_array)
                .is_some_and(|tags| !tags.is_empty())
            {
                return Err(ApiError::validation(
                    "Tags cannot be provided for a versioned model package: it has the tags of its \
                     model package group.",
                ));
            }
            groups::exists(cloud, group)?;
            (None, Some(group))
        }
        (None, _) => {
            if input.get("ModelApprovalStatus").is_some() {
                return Err(ApiError::validation(
                    "ModelApprovalStatus can be provided for a versioned model package only.",
                ));
            }
            let name = requests::name(&input, "ModelPackageName", 63)?;
            (Some(name.to_owned()), None)
        }
    };

    let mut record = requests::pick(&input, KEPT);
    if let Some(group) = group {
        // DescribeModelPackage answers the group's name also where a name is required.
        record["ModelPackageName"] = group.clone().into();
        record["ModelPackageGroupName"] = group.clone().into();
        if record.get("ModelApprovalStatus").is_none() {
            record["ModelApprovalStatus"] = "PendingManualApproval".into();
        }
    }
    let now = clock::epoch();
    record["ModelPackageStatus"] = "Completed".into();
    record["ModelPackageStatusDetails"] =
        json!({"ValidationStatuses": [], "ImageScanStatuses": []});
    created(&mut record, now);
    let (arn, made) = keep(
        cloud,
        token.as_deref(),
        name,
        group.map(String::as_str),
        &mut record,
        input.get("Tags"),
    )?;
    if !made {
        return Ok(json!({ "ModelPackageArn": arn }));
    }
    lineage::package_created(cloud, &record)?;
    Ok(json!({ "ModelPackageArn": arn }))
}

/// The ARNs that tokens have made.
fn tokens(cloud: &Cloud) -> Collection<'_, String> {
    cloud.store().collection("sagemaker", "model-package-token")
}

/// Keeps a record with its ARN and tags, a version of the group when it has no name of its own; answers the
/// ARN and whether it is new. One transaction: of calls with one token, one makes a package; the
/// others answer that one.
fn keep(
    cloud: &Cloud,
    token: Option<&str>,
    name: Option<String>,
    group: Option<&str>,
    record: &mut Value,
    given_tags: Option<&Value>,
) -> ApiResult<(String, bool)> {
    let (packages, tokens) = (collection(cloud), tokens(cloud));
    cloud.store().transaction(|transaction| {
        if let Some(token) = token
            && let Some(arn) = tokens.get_in(transaction, token)?
        {
            return Ok((arn, false));
        }
        let name = if let Some(name) = name {
            name
        } else {
            let group = group.unwrap_or_default();
            let version = groups::next_version(cloud, transaction, group)?;
            record["ModelPackageVersion"] = version.into();
            format!("{group}/{version}")
        };
        let arn = cloud.arn("sagemaker", format_args!("model-package/{name}"));
        record["ModelPackageArn"] = arn.clone().into();
        if packages.get_in(transaction, &key(&name))?.is_some() {
            return Err(ApiError::validation(format!(
                "Model Package already exists: {arn}"
            )));
        }
        packages.put_in(transaction, &key(&name), record)?;
        if let Some(token) = token {
            tokens.put_in(transaction, token, &arn)?;
        }
        tags::put_in(cloud, transaction, &arn, given_tags)?;
        Ok((arn, true))
    })
}

fn check_life_cycle(input: &Value) -> ApiResult<()> {
    if let Some(life_cycle) = input.get("ModelLifeCycle").filter(|value| !value.is_null()) {
        requests::required(life_cycle, "Stage")?;
        requests::required(life_cycle, "StageStatus")?;
    }
    Ok(())
}

/// Resolves the image and the model data of every container, and records what they are pinned to.
fn check_specifications(cloud: &Cloud, specifications: Vec<&mut Value>) -> ApiResult<()> {
    for specification in specifications.into_iter().filter(|value| !value.is_null()) {
        let containers = specification
            .get_mut("Containers")
            .and_then(Value::as_array_mut)
            .filter(|containers| !containers.is_empty())
            .ok_or_else(|| {
                ApiError::validation("An inference specification has at least one container.")
            })?;
        for container in containers {
            check_container(cloud, container)?;
        }
    }
    Ok(())
}

fn check_container(cloud: &Cloud, container: &mut Value) -> ApiResult<()> {
    let image = requests::required(container, "Image")?;
    let digest = image_digest(cloud, image)?;
    if container.get("ImageDigest").is_none_or(Value::is_null) {
        container["ImageDigest"] = digest.into();
    }
    let url = requests::optional(container, "ModelDataUrl").or_else(|| {
        container
            .pointer("/ModelDataSource/S3DataSource/S3Uri")
            .and_then(Value::as_str)
    });
    let Some(url) = url.map(str::to_owned) else {
        return Ok(());
    };
    let missing = |reason: &str| {
        ApiError::validation(format!("Could not find model data at {url}: {reason}."))
    };
    let (bucket, path) = objects::parse_uri(&url)?;
    if path.ends_with('/') {
        let found = objects::list(cloud, &bucket, &path).map_err(|error| missing(&error.code))?;
        if found.is_empty() {
            return Err(missing("there is no object under this prefix"));
        }
    } else {
        let object = objects::head(cloud, &bucket, &path).map_err(|error| missing(&error.code))?;
        container["ModelDataETag"] = object.etag.into();
    }
    Ok(())
}

/// The digest of an image of the local ECR.
fn image_digest(cloud: &Cloud, image: &str) -> ApiResult<String> {
    Ok(crate::ecr::images::resolve(cloud, image)?.digest)
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, "ModelPackageName")?;
    let (_, mut record) = find(cloud, name)?;
    if requests::one_of(&input, "IncludedData", &["AllData", "MetadataOnly"])?
        == Some("MetadataOnly")
        && let Some(members) = record.as_object_mut()
    {
        members.shift_remove("ModelCard");
    }
    Ok(record)
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let status = requests::one_of(&input, "ModelApprovalStatus", APPROVALS)?;
    let kind = requests::one_of(
        &input,
        "ModelPackageType",
        &["Versioned", "Unversioned", "Both"],
    )?;
    let group = requests::optional(&input, "ModelPackageGroupName")
        .map(|name| name_of(cloud, "model-package-group", name));
    let prefix = match group {
        Some(group) => {
            groups::exists(cloud, group)?;
            format!("{group}/")
        }
        None => String::new(),
    };
    let mut records: Vec<Value> = collection(cloud)
        .list(&prefix)?
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    records.retain(|record| {
        let versioned = record.get("ModelPackageVersion").is_some();
        let wanted = match (kind, group) {
            (Some("Both"), _) => true,
            (Some("Versioned"), _) | (None, Some(_)) => versioned,
            _ => !versioned,
        };
        wanted && status.is_none_or(|status| record["ModelApprovalStatus"] == status)
    });
    let (page, next) = LISTING.page(records, &input)?;
    let page: Vec<Value> = page
        .iter()
        .map(|record| {
            let name = match record.get("ModelPackageVersion") {
                Some(_) => "ModelPackageGroupName",
                None => "ModelPackageName",
            };
            requests::pick(
                record,
                &[
                    name,
                    "ModelPackageVersion",
                    "ModelPackageArn",
                    "ModelPackageDescription",
                    "CreationTime",
                    "ModelPackageStatus",
                    "ModelApprovalStatus",
                    "ModelLifeCycle",
                    "ModelPackageRegistrationType",
                ],
            )
        })
        .collect();
    let mut output = json!({ "ModelPackageSummaryList": page });
    if let Some(next) = next {
        output["NextToken"] = next.into();
    }
    Ok(output)
}

pub(super) async fn update(cloud: &Cloud, mut input: Value) -> ApiResult<Value> {
    requests::one_of(&input, "ModelApprovalStatus", APPROVALS)?;
    check_life_cycle(&input)?;
    if let Some(specification) = input.get_mut("InferenceSpecification") {
        check_specifications(cloud, vec![specification])?;
    }
    if let Some(list) = input
        .get_mut("AdditionalInferenceSpecificationsToAdd")
        .and_then(Value::as_array_mut)
    {
        check_specifications(cloud, list.iter_mut().collect())?;
    }
    let (key, _) = find(cloud, requests::required(&input, "ModelPackageArn")?)?;
    let record = collection(cloud)
        .update(&key, |record| apply(record, &input))?
        .ok_or_else(|| missing(cloud, &key))?;
    lineage::package_created(cloud, &record)?;
    Ok(json!({ "ModelPackageArn": record["ModelPackageArn"] }))
}

fn apply(record: &mut Value, input: &Value) -> ApiResult<Value> {
    let versioned = record.get("ModelPackageVersion").is_some();
    if !versioned && input.get("ModelApprovalStatus").is_some() {
        return Err(ApiError::validation(
            "ModelApprovalStatus can be updated for a versioned model package only.",
        ));
    }
    for member in [
        "ModelApprovalStatus",
        "ModelPackageRegistrationType",
        "ApprovalDescription",
        "InferenceSpecification",
        "SourceUri",
        "ModelLifeCycle",
    ] {
        if let Some(value) = input.get(member).filter(|value| !value.is_null()) {
            record[member] = value.clone();
        }
    }
    for (from, into) in [
        ("ModelCard", "ModelCard"),
        ("CustomerMetadataProperties", "CustomerMetadataProperties"),
    ] {
        if let Some(Value::Object(changes)) = input.get(from) {
            if !record[into].is_object() {
                record[into] = json!({});
            }
            for (name, value) in changes {
                record[into][name] = value.clone();
            }
        }
    }
    for name in strings(input, "CustomerMetadataPropertiesToRemove") {
        if let Some(properties) = record["CustomerMetadataProperties"].as_object_mut() {
            properties.shift_remove(name);
        }
    }
    if let Some(Value::Array(added)) = input.get("AdditionalInferenceSpecificationsToAdd") {
        if !record["AdditionalInferenceSpecifications"].is_array() {
            record["AdditionalInferenceSpecifications"] = json!([]);
        }
        if let Some(list) = record["AdditionalInferenceSpecifications"].as_array_mut() {
            list.extend(added.iter().cloned());
        }
    }
    record["LastModifiedTime"] = clock::epoch().into();
    record["LastModifiedBy"] = json!({});
    Ok(record.clone())
}

fn strings<'a>(input: &'a Value, member: &str) -> impl Iterator<Item = &'a str> {
    input
        .get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

pub(super) async fn batch_describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut summaries = json!({});
    let mut errors = json!({});
    for arn in strings(&input, "ModelPackageArnList") {
        match find(cloud, arn) {
            Ok((_, record)) => {
                summaries[arn] = requests::pick(
                    &record,
                    &[
                        "ModelPackageGroupName",
                        "ModelPackageVersion",
                        "ModelPackageArn",
                        "ModelPackageDescription",
                        "CreationTime",
                        "InferenceSpecification",
                        "ModelPackageStatus",
                        "ModelApprovalStatus",
                        "ModelPackageRegistrationType",
                    ],
                );
            }
            Err(error) => {
                errors[arn] = json!({"ErrorCode": error.code, "ErrorResponse": error.message});
            }
        }
    }
    Ok(json!({
        "ModelPackageSummaries": summaries,
        "BatchDescribeModelPackageErrorMap": errors,
    }))
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (key, record) = find(cloud, requests::required(&input, "ModelPackageName")?)?;
    let arn = record["ModelPackageArn"].as_str().unwrap_or_default();
    cloud.store().transaction(|transaction| {
        collection(cloud).remove_in(transaction, &key)?;
        tags::remove_in(cloud, transaction, arn)?;
        Ok(json!({}))
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn one_token_makes_one_version() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(directory.path());
        let group = json!({"ModelPackageGroupName": "g"});
        groups::create(&cloud, group)
            .now_or_never()
            .unwrap()
            .unwrap();
        for round in 1..=20 {
            let input = json!({"ModelPackageGroupName": "g", "ClientToken": format!("t{round}")});
            let start = std::sync::Barrier::new(6);
            let call = || {
                start.wait();
                create(&cloud, input.clone())
                    .now_or_never()
                    .unwrap()
                    .unwrap()
            };
            let made: Vec<Value> = std::thread::scope(|scope| {
                let calls: Vec<_> = (0..6).map(|_| scope.spawn(call)).collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            assert!(made.iter().all(|answer| *answer == made[0]), "{made:?}");
            assert_eq!(collection(&cloud).list("g/").unwrap().len(), round);
        }
    }
}
