//! Stores monitoring results under `monitoring/<endpoint>/<run>/` in the artifact bucket.

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};

use super::s3::{self, S3Uri};
use super::{AwsResultExt, Clients};

/// The location of an endpoint's captured traffic in the capture bucket.
pub fn captured(bucket: &str, endpoint: &str) -> S3Uri {
    S3Uri::new(bucket, format!("capture/{endpoint}/"))
}

/// The results of one endpoint.
#[derive(Debug, Clone)]
pub struct Store {
    bucket: String,
    endpoint: String,
}

impl Store {
    /// The results of an endpoint in the artifact bucket.
    pub fn new(bucket: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: endpoint.into(),
        }
    }

    /// The directory of a run.
    pub fn run(&self, run: &str) -> S3Uri {
        self.address(format!("{}{run}/", self.prefix()))
    }

    /// A file of the baseline that the scheduled monitor compares with.
    pub fn baseline(&self, name: &str) -> S3Uri {
        self.address(format!("baselines/{}/{name}", self.endpoint))
    }

    /// Writes one file of a run.
    pub async fn put(
        &self,
        clients: &Clients,
        run: &str,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<()> {
        s3::put_json(&clients.s3, &self.run(run).join(name), bytes).await
    }

    /// Reads one file of a run; returns `None` if it does not exist.
    pub async fn get(&self, clients: &Clients, run: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let found = s3::get(&clients.s3, &self.run(run).join(name), None).await?;
        Ok(found.map(|found| found.bytes))
    }

    /// Lists the names of all runs, oldest first.
    pub async fn runs(&self, clients: &Clients) -> Result<Vec<String>> {
        let prefix = self.prefix();
        let mut pages = clients
            .s3
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(&prefix)
            .delimiter("/")
            .into_paginator()
            .send();
        let mut runs = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.aws(format!("cannot list s3://{}/{prefix}", self.bucket))?;
            runs.extend(
                page.common_prefixes()
                    .iter()
                    .filter_map(|entry| entry.prefix()?.strip_prefix(&prefix))
                    .map(|name| name.trim_end_matches('/').to_owned()),
            );
        }
        runs.sort();
        Ok(runs)
    }

    /// Returns the newest run with a file of that name, and the file.
    pub async fn newest(&self, clients: &Clients, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        for run in self.runs(clients).await?.into_iter().rev() {
            if let Some(bytes) = self.get(clients, &run, name).await? {
                return Ok(Some((run, bytes)));
            }
        }
        Ok(None)
    }

    /// Returns the run of that name, or the newest.
    pub async fn find(&self, clients: &Clients, name: Option<&str>) -> Result<String> {
        let mut runs = self.runs(clients).await?;
        match name {
            None => runs
                .pop()
                .ok_or_else(|| {
                    Failure::new(
                        Exit::Failed,
                        format!("endpoint {} has not been monitored yet", self.endpoint),
                    )
                })
                .hint(format!("run `{}`", clients.command("monitor run"))),
            Some(name) if runs.iter().any(|run| run == name) => Ok(name.to_owned()),
            Some(name) => {
                let newest: Vec<&str> = runs.iter().rev().take(5).map(String::as_str).collect();
                Err(Failure::new(
                    Exit::Failed,
                    format!("endpoint {} has no monitoring run `{name}`", self.endpoint),
                ))
                .hint(if newest.is_empty() {
                    format!("run `{}`", clients.command("monitor run"))
                } else {
                    format!("the newest are {}", newest.join(", "))
                })
            }
        }
    }

    fn prefix(&self) -> String {
        format!("monitoring/{}/", self.endpoint)
    }

    fn address(&self, key: String) -> S3Uri {
        S3Uri {
            bucket: self.bucket.clone(),
            key,
        }
    }
}
