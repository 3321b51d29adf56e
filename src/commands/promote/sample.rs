//! The sample request that a promotion sends.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::Hint;

use super::SampleAnswer;
use crate::aws::{Clients, hosting};
use crate::config::Project;

/// Maximum size in bytes of an invocation's body; SageMaker's limit.
const LARGEST: u64 = 25 << 20;

/// The file that `deploy.sample` names.
#[derive(Debug)]
pub(super) struct Sample {
    file: PathBuf,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Sample {
    pub(super) fn read(project: &Project) -> Result<Option<Self>> {
        let Some(file) = &project.file.deploy.sample else {
            return Ok(None);
        };
        let body = project
            .read_file(file, LARGEST)
            .with_context(|| format!("cannot read deploy.sample, {}", file.display()))
            .hint("set deploy.sample in mlops.toml to a file with a request body, relative to mlops.toml")?;
        Ok(Some(Self {
            content_type: content_type(file),
            file: file.clone(),
            body,
        }))
    }

    pub(super) async fn send(self, clients: &Clients, endpoint: &str) -> Result<SampleAnswer> {
        let answer = hosting::invoke(clients, endpoint, self.content_type, self.body)
            .await
            .hint("the endpoint is deployed, but it rejects the sample request of mlops.toml")?;
        Ok(SampleAnswer {
            file: self.file,
            content_type: self.content_type,
            answer: answer.trim_end().to_owned(),
        })
    }
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
