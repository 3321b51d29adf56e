//! The body of a request: a file, stdin, or the sample of mlops.toml.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};

use crate::aws::invocation;
use crate::config::Project;

/// Where the body comes from.
#[derive(Debug)]
pub(super) struct Input {
    /// `None` for stdin.
    file: Option<PathBuf>,
    by_line: bool,
}

impl Input {
    /// The file that the user named, or the sample of the project.
    pub(super) fn of(project: &Project, named: Option<&Path>, by_line: bool) -> Result<Self> {
        let file = match (named, &project.file.deploy.sample) {
            (Some(file), _) if file == Path::new("-") => None,
            (Some(file), _) => Some(file.to_owned()),
            (None, Some(sample)) => Some(project.path(sample)),
            (None, None) => {
                return Err(Failure::usage("there is no request to send")).hint(
                    "pass --file FILE, or set deploy.sample in mlops.toml to a file with a request",
                );
            }
        };
        Ok(Self { file, by_line })
    }

    /// The media type of a request.
    pub(super) fn content_type(&self) -> String {
        let Some(file) = &self.file else {
            return "text/csv".to_owned();
        };
        match invocation::content_type(file) {
            // Each line is one document.
            "application/jsonlines" if self.by_line => "application/json".to_owned(),
            of_file => of_file.to_owned(),
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.file {
            None => Box::new(std::io::stdin()),
            Some(file) => {
                Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {self}"))?)
            }
        })
    }

    /// Reads the body, at most `limit` bytes.
    pub(super) fn read(&self, limit: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        self.open()?
            .take(most)
            .read_to_end(&mut body)
            .with_context(|| format!("cannot read {self}"))?;
        if body.len() > limit {
            return Err(too_large(&self.to_string(), limit))
                .hint("send it in parts; --lines sends one request per line");
        }
        Ok(body)
    }
}

/// The error of a request that is larger than the service allows (exit 2).
pub(super) fn too_large(what: &str, limit: usize) -> anyhow::Error {
    let most = mlops_core::text::bytes(u64::try_from(limit).unwrap_or(u64::MAX));
    Failure::usage(format!("{what} is larger than a request may be, {most}"))
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => f.write_str("stdin"),
            Some(file) => write!(f, "{}", file.display()),
        }
    }
}
