//! Stores monitoring results under `monitoring/<endpoint>/<run>/` in the artifact bucket; those of another kind than
//! data quality under `monitoring/<endpoint>/<kind>/<run>/`.

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};

use super::s3::{self, S3Uri};
use super::{AwsResultExt, Clients};

/// The location of an endpoint's captured traffic in the capture bucket.
pub fn captured(bucket: &str, endpoint: &str) -> S3Uri {
    S3Uri::new(bucket, format!("capture/{endpoint}/"))
}

/// The location of an endpoint's labels in the capture bucket.
pub fn labels(bucket: &str, endpoint: &str) -> S3Uri {
    S3Uri::new(bucket, format!("ground-truth/{endpoint}/"))
}

/// The results of one monitor of an endpoint.
#[derive(Debug, Clone)]
pub struct Store {
    bucket: String,
    endpoint: String,
    /// The directory of the monitor, below that of the endpoint: empty, or ends in `/`.
    directory: String,
}

impl Store {
    /// The results of an endpoint's data quality monitor in the artifact bucket.
    pub fn new(bucket: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: endpoint.into(),
            directory: String::new(),
        }
    }

    /// The results of another monitor of the same endpoint.
    #[must_use]
    pub fn of(&self, kind: &str) -> Self {
        Self {
            directory: format!("{kind}/"),
            ..self.clone()
        }
    }

    /// The directory of a run.
    pub fn run(&self, run: &str) -> S3Uri {
        self.address(format!("{}{run}/", self.prefix()))
    }

    /// A file of the baseline that the scheduled monitor compares with.
    pub fn baseline(&self, name: &str) -> S3Uri {
        self.address(format!(
            "baselines/{}/{}{name}",
            self.endpoint, self.directory
        ))
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

    /// Reads one file of a run.
    ///
    /// # Errors
    /// It cannot be read, or does not exist.
    pub async fn require(&self, clients: &Clients, run: &str, name: &str) -> Result<Vec<u8>> {
        let found = self.get(clients, run, name).await?;
        found.ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("{} is incomplete: {name} is missing", self.run(run)),
            )
        })
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
                    .map(|name| name.trim_end_matches('/').to_owned())
                    // A run has the name of its time; directories of other monitors are next to them.
                    .filter(|name| name.starts_with(|c: char| c.is_ascii_digit())),
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
                .hint(self.run_command(clients)),
            Some(name) if runs.iter().any(|run| run == name) => Ok(name.to_owned()),
            Some(name) => {
                let newest: Vec<&str> = runs.iter().rev().take(5).map(String::as_str).collect();
                Err(Failure::new(
                    Exit::Failed,
                    format!("endpoint {} has no monitoring run `{name}`", self.endpoint),
                ))
                .hint(if newest.is_empty() {
                    self.run_command(clients)
                } else {
                    format!("the newest are {}", newest.join(", "))
                })
            }
        }
    }

    fn run_command(&self, clients: &Clients) -> String {
        let command = match self.directory.trim_end_matches('/') {
            "" => "monitor run".to_owned(),
            kind => format!("monitor run --kind {kind}"),
        };
        format!("run `{}`", clients.command(&command))
    }

    fn prefix(&self) -> String {
        format!("monitoring/{}/{}", self.endpoint, self.directory)
    }

    fn address(&self, key: String) -> S3Uri {
        S3Uri {
            bucket: self.bucket.clone(),
            key,
        }
    }
}
