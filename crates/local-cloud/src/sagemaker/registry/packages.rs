//! Model packages: versions 1, 2, 3, … of a group, or packages with their own name.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::records::{group, key, next_version, no_package, package, packages};
use super::requests::{ListRequest, Listing, SortOrder, Stored, check_name, name_of, null, pick};
use super::states::{ModelApprovalStatus, ModelPackageStatus};
use super::{ApiError, ApiResult, Cloud, announce, created, lineage, tags, user_context};
use crate::api::tags::Tags;
use crate::clock;
use crate::cloud::caller::Caller;
use crate::events;
use crate::s3::objects;
use crate::store::Collection;

/// Members of the request that the record stores.
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

const LISTING: Listing = Listing {
    name: "ModelPackageName",
    status: None,
    sort_by: "CreationTime",
    order: SortOrder::Ascending,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatePackage {
    model_package_name: Option<String>,
    model_package_group_name: Option<String>,
    client_token: Option<String>,
    model_approval_status: Option<ModelApprovalStatus>,
    inference_specification: Option<Specification>,
    additional_inference_specifications: Option<Vec<Specification>>,
    tags: Option<Tags>,
    // Unsupported members.
    source_algorithm_specification: Option<Value>,
    validation_specification: Option<Value>,
}

/// An inference specification: stored unchanged, with its validated containers.
type Specification = Stored<Containers>;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Containers {
    containers: Option<Vec<Stored<Container>>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    image: String,
    image_digest: Option<String>,
    model_data_url: Option<String>,
    model_data_source: Option<DataSource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataSource {
    s3_data_source: Option<S3Source>,
}

#[derive(Debug, Clone, Deserialize)]
struct S3Source {
    #[serde(rename = "S3Uri")]
    uri: String,
}

/// The group, or the name, of a new package.
enum Naming {
    Group(String),
    Own(String),
}

impl CreatePackage {
    /// The package's group or name, checked against the rest of the request.
    fn naming(&self, cloud: &Cloud) -> ApiResult<Naming> {
        match (&self.model_package_group_name, &self.model_package_name) {
            (Some(_), Some(_)) => Err(ApiError::validation(
                "Only one of ModelPackageName and ModelPackageGroupName can be provided.",
            )),
            (Some(given), None) => {
                let name = name_of(cloud, "model-package-group", given);
                if self.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
                    return Err(ApiError::validation(
                        "Tags cannot be provided for a versioned model package: it has the tags of \
                         its model package group.",
                    ));
                }
                group(cloud, name)?;
                Ok(Naming::Group(name.to_owned()))
            }
            (None, own) => {
                if self.model_approval_status.is_some() {
                    return Err(ApiError::validation(
                        "ModelApprovalStatus can be provided for a versioned model package only.",
                    ));
                }
                let name = own.as_deref().ok_or_else(|| null("ModelPackageName"))?;
                check_name(name, "ModelPackageName", 63)?;
                Ok(Naming::Own(name.to_owned()))
            }
        }
    }
}

pub(super) async fn create(cloud: &Cloud, input: Stored<CreatePackage>) -> ApiResult<Value> {
    for (member, given) in [
        (
            "SourceAlgorithmSpecification",
            &input.source_algorithm_specification,
        ),
        ("ValidationSpecification", &input.validation_specification),
    ] {
        if given.is_some() {
            return Err(ApiError::not_implemented(format_args!(
                "{member} of sagemaker:CreateModelPackage"
            )));
        }
    }
    if let Some(token) = &input.client_token
        && let Some(arn) = tokens(cloud).get(token)?
    {
        return Ok(json!({ "ModelPackageArn": arn }));
    }
    let specification = checked(cloud, input.inference_specification.as_slice())?.pop();
    let additional = input.additional_inference_specifications.as_deref();
    let additional = additional.map(|list| checked(cloud, list)).transpose()?;
    let naming = input.naming(cloud)?;

    let mut record = input.pick(KEPT);
    if let Some(specification) = specification {
        record["InferenceSpecification"] = specification;
    }
    if let Some(additional) = additional {
        record["AdditionalInferenceSpecifications"] = additional.into();
    }
    if let Naming::Group(group) = &naming {
        // DescribeModelPackage returns the group's name where a name is required.
        record["ModelPackageName"] = group.clone().into();
        record["ModelPackageGroupName"] = group.clone().into();
        if input.model_approval_status.is_none() {
            record["ModelApprovalStatus"] = ModelApprovalStatus::PendingManualApproval.into();
        }
    }
    let now = clock::epoch();
    record["ModelPackageStatus"] = ModelPackageStatus::Completed.into();
    record["ModelPackageStatusDetails"] =
        json!({"ValidationStatuses": [], "ImageScanStatuses": []});
    created(&mut record, now);
    let token = input.client_token.as_deref();
    let (arn, is_new) = keep(cloud, token, &naming, &mut record, input.tags.as_ref())?;
    if is_new {
        lineage::package_created(cloud, &record)?;
    }
    Ok(json!({ "ModelPackageArn": arn }))
}

/// The ARNs of packages, by the token that created them.
fn tokens(cloud: &Cloud) -> Collection<'_, String> {
    cloud.store().collection("sagemaker", "model-package-token")
}

/// Stores a record with its ARN and tags, as the next version of its group unless it has a name.
/// Returns the ARN and whether it is new. One transaction: of calls with one token, one creates a
/// package; the others return that one.
fn keep(
    cloud: &Cloud,
    token: Option<&str>,
    naming: &Naming,
    record: &mut Value,
    given_tags: Option<&Tags>,
) -> ApiResult<(String, bool)> {
    let (packages, tokens) = (packages(cloud), tokens(cloud));
    let recorded = cloud.store().transaction(|transaction| {
        if let Some(token) = token
            && let Some(arn) = tokens.get_in(transaction, token)?
        {
            return Ok((arn, false));
        }
        let name = match naming {
            Naming::Own(name) => name.clone(),
            Naming::Group(group) => {
                let version = next_version(cloud, transaction, group)?;
                record["ModelPackageVersion"] = version.into();
                format!("{group}/{version}")
            }
        };
        let arn = cloud.arn("sagemaker", format_args!("model-package/{name}"));
        record["ModelPackageArn"] = arn.clone().into();
        if packages.get_in(transaction, &key(&name))?.is_some() {
            return Err(ApiError::validation(format!(
                "Model Package already exists: {arn}"
            )));
        }
        packages.put_in(transaction, &key(&name), record)?;
        if let Some(event) = announce::package(None, record) {
            events::publish_in(transaction, cloud, event)?;
        }
        if let Some(token) = token {
            tokens.put_in(transaction, token, &arn)?;
        }
        tags::put_in(cloud, transaction, &arn, given_tags)?;
        Ok((arn, true))
    })?;
    events::deliver_soon(cloud);
    Ok(recorded)
}

/// Resolves the image and the model data of every container. Returns the specifications with the
/// pinned digests and versions.
fn checked(cloud: &Cloud, specifications: &[Specification]) -> ApiResult<Vec<Value>> {
    specifications
        .iter()
        .map(|specification| {
            let containers = specification.containers.as_deref().unwrap_or_default();
            if containers.is_empty() {
                return Err(ApiError::validation(
                    "An inference specification has at least one container.",
                ));
            }
            let containers: Vec<Value> = containers
                .iter()
                .map(|container| check_container(cloud, container))
                .collect::<ApiResult<_>>()?;
            let mut pinned = specification.members().clone();
            pinned["Containers"] = containers.into();
            Ok(pinned)
        })
        .collect()
}

fn check_container(cloud: &Cloud, container: &Stored<Container>) -> ApiResult<Value> {
    let mut pinned = container.members().clone();
    let digest = image_digest(cloud, &container.image)?;
    if container.image_digest.is_none() {
        pinned["ImageDigest"] = digest.into();
    }
    let source = container.model_data_source.as_ref();
    let source = source.and_then(|source| source.s3_data_source.as_ref());
    let url = container.model_data_url.as_ref();
    let Some(url) = url.or_else(|| source.map(|source| &source.uri)) else {
        return Ok(pinned);
    };
    let missing = |reason: &str| {
        ApiError::validation(format!("Could not find model data at {url}: {reason}."))
    };
    let (bucket, path) = objects::parse_uri(url)?;
    // Only whether it exists; what the deployment may read is checked when it reads it.
    let caller = Caller::LocalCloud;
    if path.ends_with('/') {
        let found =
            objects::list(cloud, &caller, &bucket, &path).map_err(|error| missing(&error.code))?;
        if found.is_empty() {
            return Err(missing("no object under this prefix"));
        }
    } else {
        let object =
            objects::head(cloud, &caller, &bucket, &path).map_err(|error| missing(&error.code))?;
        pinned["ModelDataETag"] = object.etag.into();
    }
    Ok(pinned)
}

/// The digest of an image of the local ECR.
fn image_digest(cloud: &Cloud, image: &str) -> ApiResult<String> {
    Ok(crate::ecr::images::resolve(cloud, image)?.digest)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribePackage {
    model_package_name: String,
    included_data: Option<IncludedData>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum IncludedData {
    AllData,
    MetadataOnly,
}

pub(super) async fn describe(cloud: &Cloud, input: DescribePackage) -> ApiResult<Value> {
    let (_, mut record) = package(cloud, &input.model_package_name)?;
    if input.included_data == Some(IncludedData::MetadataOnly)
        && let Some(members) = record.as_object_mut()
    {
        members.shift_remove("ModelCard");
    }
    Ok(record)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPackages {
    model_approval_status: Option<ModelApprovalStatus>,
    model_package_type: Option<PackageType>,
    model_package_group_name: Option<String>,
    #[serde(flatten)]
    list: ListRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum PackageType {
    Versioned,
    Unversioned,
    Both,
}

pub(super) async fn list(cloud: &Cloud, input: ListPackages) -> ApiResult<Value> {
    let of_group = input.model_package_group_name.as_deref();
    let of_group = of_group.map(|name| name_of(cloud, "model-package-group", name));
    let prefix = match of_group {
        Some(name) => {
            group(cloud, name)?;
            format!("{name}/")
        }
        None => String::new(),
    };
    let mut records: Vec<Value> = packages(cloud)
        .list(&prefix)?
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    records.retain(|record| {
        let versioned = record.get("ModelPackageVersion").is_some();
        let wanted = match (input.model_package_type, of_group) {
            (Some(PackageType::Both), _) => true,
            (Some(PackageType::Versioned), _) | (None, Some(_)) => versioned,
            (Some(PackageType::Unversioned), _) | (None, None) => !versioned,
        };
        let status = ModelApprovalStatus::of(&record["ModelApprovalStatus"]);
        wanted
            && input
                .model_approval_status
                .is_none_or(|wanted| status == Some(wanted))
    });
    let (page, next) = LISTING.page(records, &input.list)?;
    let page: Vec<Value> = page
        .iter()
        .map(|record| {
            let name = match record.get("ModelPackageVersion") {
                Some(_) => "ModelPackageGroupName",
                None => "ModelPackageName",
            };
            pick(
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdatePackage {
    model_package_arn: String,
    model_approval_status: Option<ModelApprovalStatus>,
    inference_specification: Option<Specification>,
    additional_inference_specifications_to_add: Option<Vec<Specification>>,
    #[serde(default)]
    customer_metadata_properties_to_remove: Vec<String>,
    model_card: Option<Map<String, Value>>,
    customer_metadata_properties: Option<Map<String, Value>>,
}

pub(super) async fn update(cloud: &Cloud, input: Stored<UpdatePackage>) -> ApiResult<Value> {
    let specification = checked(cloud, input.inference_specification.as_slice())?.pop();
    let additional = input.additional_inference_specifications_to_add.as_deref();
    let additional = checked(cloud, additional.unwrap_or_default())?;
    let (key, _) = package(cloud, &input.model_package_arn)?;
    let packages = packages(cloud);
    let change = |record: &mut Value| {
        apply(record, &input, specification, additional)?;
        Ok(record.clone())
    };
    let events = |before: &Value, after: &Value| {
        announce::package(Some(before), after).into_iter().collect()
    };
    let record = events::update(cloud, announce::SOURCE, (&packages, &key), change, events)?
        .ok_or_else(|| no_package(cloud, &key))?;
    lineage::package_created(cloud, &record)?;
    Ok(json!({ "ModelPackageArn": record["ModelPackageArn"] }))
}

/// Applies a request to the record of a package, with its checked specifications.
fn apply(
    record: &mut Value,
    input: &Stored<UpdatePackage>,
    specification: Option<Value>,
    additional: Vec<Value>,
) -> ApiResult<()> {
    let versioned = record.get("ModelPackageVersion").is_some();
    if !versioned && input.model_approval_status.is_some() {
        return Err(ApiError::validation(
            "ModelApprovalStatus can be updated for a versioned model package only.",
        ));
    }
    let mut replaced = input.pick(&[
        "ModelApprovalStatus",
        "ModelPackageRegistrationType",
        "ApprovalDescription",
        "InferenceSpecification",
        "SourceUri",
        "ModelLifeCycle",
    ]);
    if let Some(specification) = specification {
        replaced["InferenceSpecification"] = specification;
    }
    if let (Value::Object(record), Value::Object(replaced)) = (&mut *record, replaced) {
        record.extend(replaced);
    }
    for (member, changes) in [
        ("ModelCard", &input.model_card),
        (
            "CustomerMetadataProperties",
            &input.customer_metadata_properties,
        ),
    ] {
        let Some(changes) = changes else {
            continue;
        };
        if !record[member].is_object() {
            record[member] = json!({});
        }
        for (name, value) in changes {
            record[member][name] = value.clone();
        }
    }
    for name in &input.customer_metadata_properties_to_remove {
        if let Some(properties) = record["CustomerMetadataProperties"].as_object_mut() {
            properties.shift_remove(name);
        }
    }
    if input.additional_inference_specifications_to_add.is_some() {
        if !record["AdditionalInferenceSpecifications"].is_array() {
            record["AdditionalInferenceSpecifications"] = json!([]);
        }
        if let Some(list) = record["AdditionalInferenceSpecifications"].as_array_mut() {
            list.extend(additional);
        }
    }
    record["LastModifiedTime"] = clock::epoch().into();
    record["LastModifiedBy"] = user_context();
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchDescribe {
    model_package_arn_list: Vec<String>,
}

pub(super) async fn batch_describe(cloud: &Cloud, input: BatchDescribe) -> ApiResult<Value> {
    let mut summaries = json!({});
    let mut errors = json!({});
    for arn in &input.model_package_arn_list {
        match package(cloud, arn) {
            Ok((_, record)) => {
                summaries[arn] = pick(
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeletePackage {
    model_package_name: String,
}

pub(super) async fn delete(cloud: &Cloud, input: DeletePackage) -> ApiResult<Value> {
    let (key, record) = package(cloud, &input.model_package_name)?;
    let arn = record["ModelPackageArn"].as_str().unwrap_or_default();
    cloud.store().transaction(|transaction| {
        packages(cloud).remove_in(transaction, &key)?;
        tags::remove_in(cloud, transaction, arn)?;
        Ok(json!({}))
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::api::parse;
    use crate::test_cloud::TestCloud;

    #[test]
    fn one_token_makes_one_version() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        let group = parse(json!({"ModelPackageGroupName": "g"})).unwrap();
        super::super::groups::create(&cloud, group)
            .now_or_never()
            .unwrap()
            .unwrap();
        for round in 1..=20 {
            let input = json!({"ModelPackageGroupName": "g", "ClientToken": format!("t{round}")});
            let start = std::sync::Barrier::new(6);
            let call = || {
                start.wait();
                create(&cloud, parse(input.clone()).unwrap())
                    .now_or_never()
                    .unwrap()
                    .unwrap()
            };
            let made: Vec<Value> = std::thread::scope(|scope| {
                let calls: Vec<_> = (0..6).map(|_| scope.spawn(call)).collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            assert!(made.iter().all(|answer| *answer == made[0]), "{made:?}");
            assert_eq!(packages(&cloud).list("g/").unwrap().len(), round);
        }
    }

    #[tokio::test]
    async fn a_version_names_who_approved_it() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        let call = |caller: Caller, operation: &'static str, input: Value| {
            caller.scope(async { cloud.call("sagemaker", operation, input).await.unwrap() })
        };
        let group = json!({"ModelPackageGroupName": "g"});
        call(Caller::Root, "CreateModelPackageGroup", group.clone()).await;
        let made = call(Caller::Root, "CreateModelPackage", group).await;
        let name = json!({"ModelPackageName": made["ModelPackageArn"]});
        let described = call(Caller::Root, "DescribeModelPackage", name.clone()).await;
        let root = "arn:aws:iam::000000000000:user/local";
        assert_eq!(described["CreatedBy"]["IamIdentity"]["Arn"], root);
        assert_eq!(described["LastModifiedBy"], Value::Null);
        let approval = json!({
            "ModelPackageArn": made["ModelPackageArn"], "ModelApprovalStatus": "Approved",
        });
        call(Caller::Root, "UpdateModelPackage", approval).await;
        let described = call(Caller::Root, "DescribeModelPackage", name).await;
        assert_eq!(described["LastModifiedBy"]["IamIdentity"]["Arn"], root);
    }
}
