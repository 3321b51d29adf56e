//! Removes what stacks cannot remove by themselves: the content of buckets and repositories, model
//! versions, the pipeline, log groups. Every call ignores what is already gone, so that an interrupted
//! removal can be repeated.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use aws_sdk_ecr::types::ImageFailure;
use aws_sdk_s3::types::{BucketLoggingStatus, Delete, ObjectIdentifier};
use futures::{StreamExt as _, TryStreamExt as _};
use mlops_core::wait::{Poll, Waiter};
use mlops_oci::Digest;

use super::sagemaker::{models, runs};
use super::{AwsResultExt, Clients, Missing, ecr};

/// Concurrent deletions of S3 objects, each of at most 250 versions.
const IN_FLIGHT: usize = 4;

/// Deletes every version, delete marker and unfinished upload of a bucket; `progress` receives the number
/// of entries found and the number of entries removed. Ignores a missing bucket.
pub async fn empty_bucket(
    clients: &Clients,
    bucket: &str,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    let doing = || format!("cannot empty the bucket {bucket}");
    let mut removed = 0;
    // Deleting while listing can skip entries: the listing starts again until it is empty.
    loop {
        let page = clients
            .s3
            .list_object_versions()
            .bucket(bucket)
            .send()
            .await
            .aws_if_found(doing(), Missing::Bucket)?;
        let Some(page) = page else { return Ok(removed) };
        let versions = page
            .versions()
            .iter()
            .map(|version| (version.key(), version.version_id()));
        let markers = page
            .delete_markers()
            .iter()
            .map(|marker| (marker.key(), marker.version_id()));
        let entries: Vec<ObjectIdentifier> = versions
            .chain(markers)
            .filter_map(|(key, id)| {
                ObjectIdentifier::builder()
                    .key(key?)
                    .set_version_id(id.map(str::to_owned))
                    .build()
                    .ok()
            })
            .collect();
        if entries.is_empty() {
            break;
        }
        let count = entries.len() as u64;
        progress(count, 0);
        delete(clients, bucket, entries).await?;
        progress(0, count);
        removed += count;
    }
    abort_uploads(clients, bucket).await?;
    Ok(removed)
}

/// Switches off the access logging of a bucket; ignores a missing one. Logs of earlier requests may still
/// arrive for some hours.
pub async fn stop_access_logging(clients: &Clients, bucket: &str) -> Result<()> {
    clients
        .s3
        .put_bucket_logging()
        .bucket(bucket)
        .bucket_logging_status(BucketLoggingStatus::builder().build())
        .send()
        .await
        .aws_if_found(
            format!("cannot switch off the access logs of {bucket}"),
            Missing::Bucket,
        )?;
    Ok(())
}

async fn delete(clients: &Clients, bucket: &str, entries: Vec<ObjectIdentifier>) -> Result<()> {
    let doing = format!("cannot delete objects of the bucket {bucket}");
    let chunks: Vec<Vec<ObjectIdentifier>> = entries.chunks(250).map(<[_]>::to_vec).collect();
    futures::stream::iter(chunks)
        .map(Ok)
        .try_for_each_concurrent(IN_FLIGHT, async |chunk| {
            let delete = Delete::builder()
                .set_objects(Some(chunk))
                .quiet(true)
                .build()
                .context("a deletion of objects is invalid")?;
            let answered = clients
                .s3
                .delete_objects()
                .bucket(bucket)
                .delete(delete)
                .send()
                .await
                .aws(&doing)?;
            if let Some(error) = answered.errors().first() {
                bail!(
                    "{doing}: {} {}: {}",
                    error.key().unwrap_or_default(),
                    error.code().unwrap_or_default(),
                    error.message().unwrap_or_default()
                );
            }
            Ok(())
        })
        .await
}

async fn abort_uploads(clients: &Clients, bucket: &str) -> Result<()> {
    let doing = format!("cannot abort the unfinished uploads of {bucket}");
    loop {
        let page = clients
            .s3
            .list_multipart_uploads()
            .bucket(bucket)
            .send()
            .await
            .aws(&doing)?;
        if page.uploads().is_empty() {
            return Ok(());
        }
        for upload in page.uploads() {
            clients
                .s3
                .abort_multipart_upload()
                .bucket(bucket)
                .key(upload.key().unwrap_or_default())
                .upload_id(upload.upload_id().unwrap_or_default())
                .send()
                .await
                .aws_if_found(&doing, Missing::Upload)?;
        }
    }
}

/// Deletes every image of an ECR repository and returns their number. Ignores a missing repository.
pub async fn empty_repository(
    clients: &Clients,
    repository: &str,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    let mut removed = 0;
    // Images of an index are deleted after the index: each round removes what can be removed.
    loop {
        let digests = images(clients, repository).await?;
        if digests.is_empty() {
            return Ok(removed);
        }
        progress(digests.len() as u64, 0);
        let failures = ecr::delete_images(clients, repository, &digests).await?;
        let count = digests.len().saturating_sub(failures.len()) as u64;
        if count == 0 {
            let reason = failures.first().and_then(ImageFailure::failure_reason);
            bail!(
                "cannot delete images of {repository}: {}",
                reason.unwrap_or("no reason given")
            );
        }
        progress(0, count);
        removed += count;
    }
}

/// Returns the digests of all images of a repository; none if it does not exist.
async fn images(clients: &Clients, repository: &str) -> Result<Vec<Digest>> {
    let mut pages = clients
        .ecr
        .list_images()
        .repository_name(repository)
        .into_paginator()
        .send();
    let mut found = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let doing = format!("cannot list the images of {repository}");
        let Some(page) = page.aws_if_found(doing, Missing::Repository)? else {
            break;
        };
        for id in page.image_ids() {
            if let Some(digest) = id.image_digest() {
                found.insert(digest.parse::<Digest>()?);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Deletes every version of a model package group; ignores a missing group.
pub async fn empty_group(clients: &Clients, group: &str) -> Result<u64> {
    let versions = models::all(clients, group).await?;
    for version in &versions {
        clients
            .sagemaker
            .delete_model_package()
            .model_package_name(&version.arn)
            .send()
            .await
            .aws_if_found(
                format!("cannot delete version {} of {group}", version.version),
                Missing::ModelPackage,
            )?;
    }
    Ok(versions.len() as u64)
}

/// Returns the ARNs and names of the executions of a pipeline that are running.
pub async fn running(clients: &Clients, pipeline: &str) -> Result<Vec<(String, String)>> {
    let all = runs::list(clients, pipeline, usize::MAX).await?.into_iter();
    Ok(all
        .filter(|(_, run)| !run.is_over())
        .map(|(arn, run)| (arn, run.run))
        .collect())
}

/// Stops the executions of a pipeline, waits until they have ended, and returns their names.
pub async fn stop_runs(clients: &Clients, waiter: Waiter, pipeline: &str) -> Result<Vec<String>> {
    let mut stopped = Vec::new();
    for (arn, run) in running(clients, pipeline).await? {
        // It may have ended in between.
        if !runs::describe(clients, &arn).await?.is_over() {
            runs::stop(clients, &arn).await?;
        }
        waiter
            .until(
                &format!("the end of run {run}"),
                |_| {},
                || async {
                    let now = runs::describe(clients, &arn).await?;
                    Ok(if now.is_over() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending("stopping".to_owned())
                    })
                },
            )
            .await?;
        stopped.push(run);
    }
    Ok(stopped)
}

/// Deletes the pipeline, whose executions have ended. Returns whether it existed.
pub async fn delete_pipeline(clients: &Clients, name: &str) -> Result<bool> {
    let deleted = clients
        .sagemaker
        .delete_pipeline()
        .pipeline_name(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot delete the pipeline {name}"),
            Missing::Resource,
        )?;
    Ok(deleted.is_some())
}

/// Returns the existing log groups of the project's function and endpoint. Compares complete names, because
/// another project's name can start with this one's.
pub async fn log_groups(clients: &Clients, project: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in [
        format!("/aws/lambda/{project}-validation"),
        format!("/aws/sagemaker/Endpoints/{project}"),
    ] {
        // The exact name sorts before every other one with this prefix.
        let page = clients
            .logs
            .describe_log_groups()
            .log_group_name_prefix(&name)
            .send()
            .await
            .aws(format!("cannot look for the log group {name}"))?;
        let mut names = page
            .log_groups()
            .iter()
            .filter_map(|group| group.log_group_name());
        if names.any(|found| found == name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Deletes a log group; ignores a missing one.
pub async fn delete_log_group(clients: &Clients, name: &str) -> Result<()> {
    clients
        .logs
        .delete_log_group()
        .log_group_name(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot delete the log group {name}"),
            Missing::Resource,
        )?;
    Ok(())
}
