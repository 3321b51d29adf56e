//! `mlops models compare`: two versions side by side.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::Version;
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::hosting::{self, Endpoint};
use crate::aws::sagemaker::models::{self, Model};
use crate::aws::sagemaker::{gate, runs};
use crate::aws::state::ModelApproval;
use crate::context::Context;

mod difference;
mod screen;

use super::image::ImageArgs;
use difference::{DefinitionPair, MetricPair, Pair, definitions, metrics, pairs};

/// Arguments of `mlops models compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// The first version
    #[arg(
        value_name = "A",
        required_unless_present = "image",
        conflicts_with = "image"
    )]
    version: Option<Version>,
    /// The second version
    #[arg(value_name = "B", required_unless_present = "image")]
    other: Option<Version>,
    #[command(flatten)]
    pub(super) of_image: ImageArgs,
}

/// Two versions.
#[derive(Debug, Serialize)]
pub struct Comparison {
    model: String,
    a: Side,
    b: Side,
    /// The metrics of both, in the order of the first version's.
    metrics: Vec<MetricPair>,
    /// The parameters of their runs.
    parameters: Vec<Pair>,
    definition: DefinitionPair,
}

/// A version.
#[derive(Debug, Serialize)]
struct Side {
    version: Version,
    model_package_arn: String,
    status: ModelApproval,
    live: bool,
    created: Option<Timestamp>,
    branch: Option<String>,
    /// With `-dirty` if uncommitted files were included.
    commit: Option<String>,
    image: Option<String>,
    data_version: Option<String>,
    artifact: Option<String>,
    run: Option<String>,
}

impl Side {
    /// Its name in a diff.
    fn title(&self) -> String {
        format!("version {}", self.version)
    }
}

/// The facts of a version that are compared.
struct Read {
    side: Side,
    model: Model,
    parameters: Option<BTreeMap<String, String>>,
    definition: Option<String>,
}

/// Compares two versions.
pub(super) async fn run(ctx: &Context, args: &CompareArgs) -> Result<Comparison> {
    let (Some(first), Some(second)) = (args.version, args.other) else {
        return Err(Failure::usage("pass two versions, or --image DIGEST"));
    };
    let project = ctx.project()?;
    let group = project.file.name.as_str();
    let clients = ctx.aws_of(&project).await?;
    let live = hosting::endpoint(clients, group).await?;
    let side = async |version: Version| {
        read(clients, group, version, live.as_ref())
            .await?
            .ok_or_else(|| anyhow!("the model `{group}` has no version {version}"))
            .hint(format!(
                "list the versions with `{}`",
                ctx.command("models list")
            ))
    };
    let (a, b) = futures::try_join!(Box::pin(side(first)), Box::pin(side(second)))?;
    Ok(Comparison {
        model: group.to_owned(),
        metrics: metrics(&a.model.metrics, &b.model.metrics),
        parameters: pairs(
            a.parameters.unwrap_or_default(),
            b.parameters.unwrap_or_default(),
        ),
        definition: definitions(
            (&a.side.title(), a.definition.as_deref()),
            (&b.side.title(), b.definition.as_deref()),
        ),
        a: a.side,
        b: b.side,
    })
}

async fn read(
    clients: &Clients,
    group: &str,
    version: Version,
    live: Option<&Endpoint>,
) -> Result<Option<Read>> {
    let arn = models::arn(clients, group, version).await?;
    let Some(model) = models::describe(clients, &arn).await? else {
        return Ok(None);
    };
    let mut of_run = (runs::Origin::default(), None, None);
    if let Some(run) = &model.run_arn
        && runs::exists(clients, run).await?
    {
        of_run = tokio::try_join!(
            runs::origin_of(clients, run),
            async { runs::parameters(clients, run).await.map(Some) },
            async { gate::definition_text(clients, run).await.map(Some) },
        )?;
    }
    let (origin, parameters, definition) = of_run;
    let recorded = |name: &str| model.properties.get(name).cloned();
    let image = recorded("ImageUri").or_else(|| model.image.clone());
    Ok(Some(Read {
        side: Side {
            version,
            model_package_arn: arn.clone(),
            status: model.status.clone(),
            live: live.is_some_and(|endpoint| endpoint.serves(&arn)),
            created: model.created,
            branch: origin.branch,
            commit: model.revision().or(origin.commit),
            image: image.or_else(|| origin.image.map(|digest| digest.to_string())),
            data_version: recorded("InputDataVersion").or(origin.data_version),
            artifact: model.artifact.clone(),
            run: model.run.clone(),
        },
        model,
        parameters,
        definition,
    }))
}
