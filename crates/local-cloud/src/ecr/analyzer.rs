//! Replaces AWS's Model Monitor analyzer, which jobs name by the address of its public image.
//!
//! `ACCOUNT.dkr.ecr.REGION.amazonaws.com/sagemaker-model-monitor-analyzer` is in no registry that the local
//! cloud can reach. This program follows the same container contract (docs/analyzer.md), so a job with that
//! address runs the newest analyzer that this cloud has in ECR, or, if there is none, one that the server
//! builds from its own binary and pushes here. The job's log names it.

use anyhow::Context as _;
use mlops_oci::analyzer;
use mlops_oci::cache::Cache;
use mlops_oci::push::{Observer, Target, push};
use mlops_oci::registry::{Login, Registry};
use serde_json::json;

use super::repositories;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

/// The repository's name in AWS's accounts, and here when the server builds the image.
const REPOSITORY: &str = "sagemaker-model-monitor-analyzer";

/// True for the address of AWS's analyzer in any region's account.
pub(crate) fn is_aws(uri: &str) -> bool {
    let Some((host, path)) = uri.split_once('/') else {
        return false;
    };
    let mut parts = host.splitn(5, '.');
    let account = parts.next().unwrap_or_default();
    let registry = account.len() == 12
        && account.bytes().all(|digit| digit.is_ascii_digit())
        && account != ACCOUNT
        && parts.next() == Some("dkr")
        && parts.next() == Some("ecr")
        && parts.next().is_some_and(|region| !region.is_empty())
        && parts
            .next()
            .is_some_and(|domain| matches!(domain, "amazonaws.com" | "amazonaws.com.cn"));
    let name = path.split([':', '@']).next();
    registry && name == Some(REPOSITORY)
}

/// The address of the newest analyzer that was pushed here.
pub(super) fn newest(cloud: &Cloud) -> ApiResult<Option<String>> {
    let mut found: Option<(f64, String)> = None;
    for (name, repository) in repositories(cloud).list("")? {
        for (tag, digest) in &repository.tags {
            let Some(image) = repository.images.get(digest) else {
                continue;
            };
            let newer = found
                .as_ref()
                .is_none_or(|(pushed, _)| image.pushed > *pushed);
            if tag.starts_with(analyzer::TAG) && newer {
                found = Some((image.pushed, address(cloud, &name, digest)));
            }
        }
    }
    Ok(found.map(|(_, uri)| uri))
}

fn address(cloud: &Cloud, repository: &str, digest: &str) -> String {
    let region = cloud.region();
    format!("{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{repository}@{digest}")
}

/// The image to run for AWS's analyzer; `None` for any other address.
pub(crate) async fn stand_in(cloud: &Cloud, uri: &str) -> ApiResult<Option<String>> {
    if !is_aws(uri) {
        return Ok(None);
    }
    if let Some(own) = newest(cloud)? {
        return Ok(Some(own));
    }
    let digest = build(cloud).await.map_err(|error| {
        ApiError::internal(format!(
            "cannot build this project's analyzer in place of {uri}: {error:#}"
        ))
    })?;
    Ok(Some(address(cloud, REPOSITORY, &digest)))
}

/// Builds the image of this program and pushes it here; its digest.
async fn build(cloud: &Cloud) -> anyhow::Result<String> {
    let repository = json!({ "repositoryName": REPOSITORY });
    let created = cloud.internally("ecr", "CreateRepository", repository);
    match created.await {
        Err(error) if error.code != "RepositoryAlreadyExistsException" => return Err(error.into()),
        _ => {}
    }
    let granted = cloud
        .internally("ecr", "GetAuthorizationToken", json!({}))
        .await?;
    let token = granted["authorizationData"][0]["authorizationToken"]
        .as_str()
        .context("the registry returned no token")?
        .to_owned();
    let registry = Registry::new(
        cloud.endpoint(),
        Login::Basic(token),
        &mlops_core::network::Network::default(),
    )?;
    let cache = Cache::new(cloud.settings().cache.join("image"));
    let program = cloud.settings().host.program;
    let handle = tokio::runtime::Handle::current();
    // On a thread for blocking work: building reads and compresses files.
    tokio::task::spawn_blocking(move || {
        let own = program().context("cannot find this program")?;
        let image = analyzer::build(&own, &cache)?;
        let digest = image.digest();
        let tag = analyzer::tag(digest)?;
        let target = Target {
            repository: REPOSITORY,
            tags: &[tag],
            mount_from: &[],
        };
        handle.block_on(push(&registry, &target, &image, &Unobserved))?;
        Ok(digest.to_string())
    })
    .await?
}

/// This push reports no progress.
struct Unobserved;

impl Observer for Unobserved {
    fn expect(&self, _: u64) {}
    fn begin(&self, _: &str, _: u64) {}
    fn position(&self, _: &str, _: u64) {}
    fn end(&self, _: &str, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 8, 3.4: AWS's addresses, but not similar ones.
    #[test]
    fn issue_8_3_4_aws_addresses_of_the_analyzer_are_known() {
        for uri in [
            "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer",
            "048819808253.dkr.ecr.eu-central-1.amazonaws.com/sagemaker-model-monitor-analyzer:latest",
            "453000072557.dkr.ecr.cn-north-1.amazonaws.com.cn/sagemaker-model-monitor-analyzer@sha256:0",
        ] {
            assert!(is_aws(uri), "{uri}");
        }
        for uri in [
            "sagemaker-model-monitor-analyzer",
            "000000000000.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer",
            "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer-2",
            "156813124566.dkr.ecr.us-east-1.amazonaws.com/x/sagemaker-model-monitor-analyzer",
            "156813124566.dkr.ecr.us-east-1.evil.example/sagemaker-model-monitor-analyzer",
            "docker.io/sagemaker-model-monitor-analyzer",
        ] {
            assert!(!is_aws(uri), "{uri}");
        }
    }
}
