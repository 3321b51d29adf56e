//! `mlops models`: the versions in the model registry.

use std::fmt;

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::aws::hosting::{self, Endpoint};
use crate::aws::sagemaker::models::{self, Model};
use crate::context::Context;
use crate::error::Hint;
use crate::names::Version;
use crate::output::{Report, table};

/// Look at the versions in the model registry
#[derive(Debug, clap::Subcommand)]
pub enum ModelsCommand {
    /// List the newest versions with their metrics
    ///
    /// Example: mlops models list
    List {
        /// How many versions
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
    /// Show a version: what it was made of, its metrics, its artifact
    ///
    /// Example: mlops models show 3
    Show {
        /// The version (default: the newest)
        version: Option<Version>,
    },
}

/// What a `models` command found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ModelsReport {
    /// `models list`
    List(ModelList),
    /// `models show`
    Show(Box<Listed>),
}

/// The newest versions.
#[derive(Debug, Serialize)]
pub struct ModelList {
    models: Vec<Listed>,
    #[serde(skip)]
    train: String,
}

/// A version, and whether the endpoint serves it.
#[derive(Debug, Serialize)]
pub struct Listed {
    #[serde(flatten)]
    model: Model,
    live: bool,
}

/// Looks into the model registry.
pub async fn run(ctx: &Context, command: &ModelsCommand) -> Result<ModelsReport> {
    let project = ctx.project()?;
    let group = project.file.name.as_str();
    let clients = ctx.aws().await?;
    match command {
        ModelsCommand::List { limit } => {
            let (found, live) = tokio::try_join!(
                models::list(clients, group, *limit),
                hosting::endpoint(clients, group)
            )?;
            let described = found
                .iter()
                .map(|version| models::describe(clients, &version.arn));
            let models = futures::future::try_join_all(described).await?;
            Ok(ModelsReport::List(ModelList {
                // A version can be deleted between the two calls.
                models: models
                    .into_iter()
                    .flatten()
                    .map(|model| listed(model, live.as_ref()))
                    .collect(),
                train: ctx.command("train"),
            }))
        }
        ModelsCommand::Show { version } => {
            let arn = match version {
                Some(version) => models::arn(clients, group, *version).await?,
                None => models::list(clients, group, 1)
                    .await?
                    .into_iter()
                    .next()
                    .map(|newest| newest.arn)
                    .ok_or_else(|| anyhow!("there are no models yet"))
                    .hint(format!(
                        "`{}` registers one when it passes the gate",
                        ctx.command("train")
                    ))?,
            };
            let (model, live) = tokio::try_join!(
                models::describe(clients, &arn),
                hosting::endpoint(clients, group)
            )?;
            let model = model
                .ok_or_else(|| {
                    let version = arn.rsplit('/').next().unwrap_or_default();
                    anyhow!("there is no version {version} of the model `{group}`")
                })
                .hint(format!(
                    "`{}` shows the versions",
                    ctx.command("models list")
                ))?;
            Ok(ModelsReport::Show(Box::new(listed(model, live.as_ref()))))
        }
    }
}

/// The first metric alone: a line has room for one.
fn first(metrics: &serde_json::Map<String, serde_json::Value>) -> String {
    models::sentence(
        &metrics
            .iter()
            .take(1)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

fn listed(model: Model, endpoint: Option<&Endpoint>) -> Listed {
    Listed {
        live: endpoint.is_some_and(|endpoint| endpoint.serves(&model.arn)),
        model,
    }
}

impl Report for ModelsReport {}

impl fmt::Display for ModelsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Show(shown) => shown.fmt(f),
        }
    }
}

impl fmt::Display for ModelList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.models.is_empty() {
            return writeln!(
                f,
                "no models yet: `{}` registers one when it passes the gate",
                self.train
            );
        }
        let rows = self.models.iter().map(|Listed { model, live }| {
            vec![
                model.version.to_string(),
                model.status.clone(),
                first(&model.metrics),
                model.created.map(crate::output::time).unwrap_or_default(),
                model
                    .commit
                    .as_deref()
                    .map(|commit| commit.chars().take(10).collect())
                    .unwrap_or_default(),
                if *live { "live" } else { "" }.to_owned(),
            ]
        });
        f.write_str(&table(
            &["VERSION", "STATUS", "METRIC", "CREATED", "COMMIT", ""],
            rows,
        ))
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.model;
        let live = if self.live { "  live" } else { "" };
        writeln!(f, "version   {}  {}{live}", model.version, model.status)?;
        let created = model.created.map(crate::output::time);
        for (label, value) in [
            ("approval", &model.approval_description),
            ("created", &created),
            ("run", &model.run),
            ("commit", &model.commit),
            ("image", &model.image),
            ("artifact", &model.artifact),
        ] {
            if let Some(value) = value {
                writeln!(f, "{label:<9} {}", crate::output::clean(value))?;
            }
        }
        for (name, value) in &model.properties {
            if !["CommitId", "ImageUri"].contains(&name.as_str()) {
                writeln!(f, "{name:<17} {}", crate::output::clean(value))?;
            }
        }
        if !model.metrics.is_empty() {
            writeln!(f, "metrics   {}", models::sentence(&model.metrics))?;
        }
        Ok(())
    }
}
