//! Inputs and results of a remote validation in S3: `validations/<id>/` of the artifact bucket,
//! with the baseline next to the results.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure};
use mlops_validation::{Constraints, RuleSet, Statistics, Violations, files};
use serde::de::DeserializeOwned;

use crate::aws::Clients;
use crate::aws::s3::{self, S3Uri};
use crate::commands::validate::{ValidateArgs, Validation, baseline};
use crate::context::Context;

/// A baseline's files on this machine, and the directory for a suggested one.
#[derive(Debug)]
pub(super) struct Local {
    /// Constraints and optional statistics; `None` to suggest a baseline.
    pub(super) baseline: Option<(PathBuf, Option<PathBuf>)>,
    /// The rules, if they differ from those of the constraints' file.
    rules: Option<RuleSet>,
    /// The directory for the results.
    pub(super) output: Option<PathBuf>,
}

/// The location of one validation in S3.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    bucket: String,
    id: String,
}

impl Exchange {
    /// Returns an unused location.
    pub(super) fn new(ctx: &Context, bucket: &str) -> Self {
        let time = ctx.now().strftime("%Y%m%d-%H%M%S").to_string();
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self::of(bucket, &format!("{time}-{}", &random[..4]))
    }

    /// Returns the location of an earlier validation.
    pub(super) fn of(bucket: &str, id: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            id: id.to_owned(),
        }
    }

    /// The name of the location.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Returns an address below the location.
    pub(super) fn at(&self, name: &str) -> S3Uri {
        S3Uri::new(&self.bucket, format!("validations/{}/{name}", self.id))
    }

    /// Writes a file.
    pub(super) async fn put(&self, clients: &Clients, name: &str, bytes: Vec<u8>) -> Result<S3Uri> {
        let address = self.at(name);
        s3::put_json(&clients.s3, &address, bytes).await?;
        Ok(address)
    }

    /// Writes the baseline's files. A remote validation reads its rules from the constraints.
    pub(super) async fn put_baseline(&self, clients: &Clients, local: &Local) -> Result<()> {
        let Some((constraints, statistics)) = &local.baseline else {
            return Ok(());
        };
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut bytes = read(constraints)?;
        if let Some(rules) = local.rules {
            let name = constraints.display().to_string();
            let mut parsed: Constraints = files::parse(&name, &bytes)?;
            parsed.set_rules(rules);
            bytes = files::render(&parsed)?;
        }
        self.put(clients, "baseline/constraints.json", bytes)
            .await?;
        if let Some(statistics) = statistics {
            let bytes = read(statistics)?;
            self.put(clients, "baseline/statistics.json", bytes).await?;
        }
        Ok(())
    }

    /// Reads the results, and writes them to the output directory.
    pub(super) async fn finish(&self, clients: &Clients, local: &Local) -> Result<Validation> {
        let statistics: Statistics = self.result(clients, files::STATISTICS).await?;
        let mut suggested: Constraints = self.result(clients, files::CONSTRAINTS).await?;
        if local.baseline.is_none() {
            suggested = baseline::suggestion(&statistics, local.rules);
        }
        let violations: Option<Violations> = match &local.baseline {
            Some(_) => Some(self.result(clients, files::VIOLATIONS).await?),
            None => None,
        };
        let mut written = Vec::new();
        if let Some(directory) = &local.output {
            written.push(files::write(directory, files::STATISTICS, &statistics)?);
            written.push(files::write(directory, files::CONSTRAINTS, &suggested)?);
            if let Some(violations) = &violations {
                written.push(files::write(directory, files::VIOLATIONS, violations)?);
            }
        }
        Ok(Validation {
            rows: statistics.dataset.item_count,
            columns: statistics.features.len(),
            baseline: local.baseline.as_ref().map(|(path, _)| path.clone()),
            violations: violations.unwrap_or_default().violations,
            files: written,
            version: None,
            explanation: None,
            profile_only: false,
        })
    }

    async fn result<T: DeserializeOwned>(&self, clients: &Clients, name: &str) -> Result<T> {
        let address = self.at(&format!("results/{name}"));
        let found = s3::get(&clients.s3, &address, None).await?.ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("the validation wrote no result: {address} is missing"),
            )
        })?;
        Ok(files::parse(&address.to_string(), &found.bytes)?)
    }
}

impl Local {
    /// Reads the files that the arguments name; the baseline is parsed before anything is uploaded.
    pub(super) fn of(ctx: &Context, args: &ValidateArgs) -> Result<Self> {
        if args.suggest {
            return Ok(Self {
                baseline: None,
                rules: baseline::rules(ctx, args)?,
                output: Some(baseline::suggested(ctx, args)?),
            });
        }
        let (constraints, statistics) = baseline::named(ctx, args)?;
        let read = baseline::read(ctx, args, &constraints, statistics.as_deref())?;
        Ok(Self {
            baseline: Some((constraints, statistics)),
            rules: read.constraints.rule_set(),
            output: args.output_dir.clone(),
        })
    }
}
