//! Layers in ECR's own API: checking for them, uploading them in parts, and downloading them.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::digest::sha256_of;
use super::{auth, blobs, find, invalid, uploads};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

/// The size of a part in bytes. In Base64 it fits into a request (AWS: 20 MiB).
const PART: u64 = 10 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckLayers {
    registry_id: Option<String>,
    repository_name: String,
    layer_digests: Vec<String>,
}

pub(super) async fn batch_check_layer_availability(
    cloud: &Cloud,
    input: CheckLayers,
) -> ApiResult<Value> {
    let name = &input.repository_name;
    find(cloud, input.registry_id.as_deref(), name)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for digest in &input.layer_digests {
        if sha256_of(digest).is_none() {
            failures.push(json!({
                "layerDigest": digest,
                "failureCode": "InvalidLayerDigest",
                "failureReason": "Invalid layer digest",
            }));
            continue;
        }
        let answer = match blobs::find(cloud, name, digest)? {
            None => json!({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}),
            Some(layer) => {
                let mut answer = json!({
                    "layerDigest": digest,
                    "layerAvailability": "AVAILABLE",
                    "layerSize": layer.size,
                });
                if let Some(kind) = layer.media_type {
                    answer["mediaType"] = json!(kind);
                }
                answer
            }
        };
        found.push(answer);
    }
    Ok(json!({"layers": found, "failures": failures}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DownloadUrl {
    registry_id: Option<String>,
    repository_name: String,
    layer_digest: String,
}

/// Returns a URL that needs no other credentials for an hour.
pub(super) async fn get_download_url_for_layer(
    cloud: &Cloud,
    input: DownloadUrl,
) -> ApiResult<Value> {
    let (name, digest) = (&input.repository_name, &input.layer_digest);
    find(cloud, input.registry_id.as_deref(), name)?;
    if blobs::find(cloud, name, digest)?.is_none() {
        return Err(ApiError::not_found(
            "LayersNotFoundException",
            format!(
                "The layer with digest '{digest}' does not exist in the repository with name \
                 '{name}' in the registry with id '{ACCOUNT}'"
            ),
        ));
    }
    let path = format!("/v2/{name}/blobs/{digest}");
    let token = auth::download_token(cloud, &path)?;
    Ok(json!({
        "downloadUrl": format!("{}{path}?{}={token}", cloud.endpoint(), auth::DOWNLOAD),
        "layerDigest": digest,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitiateUpload {
    registry_id: Option<String>,
    repository_name: String,
}

pub(super) async fn initiate_layer_upload(
    cloud: &Cloud,
    input: InitiateUpload,
) -> ApiResult<Value> {
    let name = &input.repository_name;
    find(cloud, input.registry_id.as_deref(), name)?;
    let id = uploads::start(cloud, name)?;
    Ok(json!({"uploadId": id, "partSize": PART}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadPart {
    registry_id: Option<String>,
    repository_name: String,
    upload_id: String,
    #[serde(rename = "partFirstByte")]
    first: u64,
    #[serde(rename = "partLastByte")]
    last: u64,
    layer_part_blob: String,
}

pub(super) async fn upload_layer_part(cloud: &Cloud, input: UploadPart) -> ApiResult<Value> {
    let name = &input.repository_name;
    find(cloud, input.registry_id.as_deref(), name)?;
    let bytes = STANDARD
        .decode(&input.layer_part_blob)
        .map_err(|error| invalid(format!("Invalid parameter at 'layerPartBlob': {error}")))?;
    let length = input
        .last
        .checked_sub(input.first)
        .and_then(|distance| distance.checked_add(1));
    if length != Some(bytes.len() as u64) {
        return Err(invalid(
            "Invalid parameter at 'partLastByte': the part has a different size",
        ));
    }
    let id = &input.upload_id;
    let first = Some(input.first);
    let received = uploads::append(cloud, name, id, first, Body::from(bytes))
        .await
        .map_err(|refusal| upload_error(name, id, refusal.into()))?;
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "uploadId": id,
        "lastByteReceived": received.saturating_sub(1),
    }))
}

/// An error of the registry as an error of ECR's API.
fn upload_error(name: &str, id: &str, error: ApiError) -> ApiError {
    let code = match error.code.as_str() {
        "BLOB_UPLOAD_UNKNOWN" => {
            return ApiError::not_found(
                "UploadNotFoundException",
                format!(
                    "The upload with id '{id}' does not exist in the repository with name \
                     '{name}' in the registry with id '{ACCOUNT}'"
                ),
            );
        }
        "BLOB_UPLOAD_INVALID" => "InvalidLayerPartException",
        "DIGEST_INVALID" => "InvalidLayerException",
        _ => return error,
    };
    ApiError::new(code, error.message)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CompleteUpload {
    registry_id: Option<String>,
    repository_name: String,
    upload_id: String,
    layer_digests: Vec<String>,
}

pub(super) async fn complete_layer_upload(
    cloud: &Cloud,
    input: CompleteUpload,
) -> ApiResult<Value> {
    let (name, id) = (&input.repository_name, &input.upload_id);
    find(cloud, input.registry_id.as_deref(), name)?;
    let [digest] = &input.layer_digests[..] else {
        return Err(invalid(
            "Invalid parameter at 'layerDigests': the local cloud takes one, of the algorithm \
             sha256",
        ));
    };
    let hex = sha256_of(digest).ok_or_else(|| {
        invalid(format!(
            "Invalid parameter at 'layerDigests': '{digest}' is not a digest"
        ))
    })?;
    let refused = |refusal: super::refusal::Refusal| upload_error(name, id, refusal.into());
    if uploads::received(cloud, name, id).await.map_err(refused)? == 0 {
        return Err(ApiError::new(
            "EmptyUploadException",
            format!("The upload with id '{id}' has no layer parts"),
        ));
    }
    let known = blobs::find(cloud, name, digest)?.is_some();
    uploads::finish(cloud, name, id, hex)
        .await
        .map_err(refused)?;
    if known {
        return Err(ApiError::new(
            "LayerAlreadyExistsException",
            format!(
                "The layer with digest '{digest}' already exists in the repository with name \
                 '{name}' in the registry with id '{ACCOUNT}'"
            ),
        ));
    }
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "uploadId": id,
        "layerDigest": digest,
    }))
}
