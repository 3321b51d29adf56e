//! `mlops runs list`: the newest runs of both kinds, and what has no delivery.

use std::fmt;

use anyhow::Result;
use mlops_core::text::{clean, duration, table, time};
use serde::Serialize;

use super::RunsReport;
use crate::aws::Clients;
use crate::aws::delivery::pipelines::{self, Pipeline};
use crate::aws::project_runs::{ListedRun, newest, short};
use crate::aws::sagemaker::models;
use crate::config::Project;
use crate::context::Context;
use crate::git::Repository;

/// Maximum number of branches without delivery to name.
const NAMED: usize = 3;

/// The newest runs.
#[derive(Debug, Serialize)]
pub struct RunList {
    runs: Vec<ListedRun>,
    /// Null if the caller may not list pipelines.
    delivery: Option<Delivery>,
    #[serde(skip)]
    train: String,
    #[serde(skip)]
    init: String,
}

/// What starts by itself.
#[derive(Debug, Serialize)]
struct Delivery {
    /// The project's pipelines of CodePipeline; none without delivery.
    pipelines: Vec<Pipeline>,
    /// Branches that were pushed from this checkout, or fetched, and that no pipeline serves.
    branches_without: Vec<String>,
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    limit: usize,
) -> Result<RunsReport> {
    let history = newest(clients, project.file.name.as_str(), limit).await?;
    if let Some(denied) = &history.denied {
        ctx.progress
            .say(format!("cannot list executions of CodePipeline: {denied}"));
    }
    let delivery = history.denied.is_none().then(|| Delivery {
        branches_without: without_delivery(project, &history.pipelines),
        pipelines: history.pipelines.clone(),
    });
    Ok(RunsReport::List(RunList {
        runs: history.complete(clients, ctx.now()).await?,
        delivery,
        train: ctx.command("train"),
        init: ctx.command("init"),
    }))
}

/// The branches that this checkout knows from the project's repository, without those that pipelines serve. The
/// production branch has no pipeline: what was promoted is there.
fn without_delivery(project: &Project, pipelines: &[Pipeline]) -> Vec<String> {
    if pipelines.is_empty() {
        return Vec::new();
    }
    let name = project.file.name.as_str();
    // Without git or a checkout, nothing is known about branches.
    let repository = Repository::find(&project.root).ok().flatten();
    let pushed = repository.and_then(|it| it.pushed_branches(|url| is_of(name, url)).ok());
    let mut pushed = pushed.unwrap_or_default();
    pushed.retain(|branch| branch != project.file.branches.production.as_str());
    let without = pipelines::without_delivery(pipelines, &pushed);
    without.into_iter().map(str::to_owned).collect()
}

/// Returns true for the URL of the project's repository in CodeCommit or in the local cloud:
/// `https://git-codecommit.REGION.amazonaws.com/v1/repos/NAME`, `codecommit::REGION://NAME`.
fn is_of(project: &str, url: &str) -> bool {
    let is_codecommit = url.contains("codecommit") || url.contains("/v1/repos/");
    let name = url.trim_end_matches('/').rsplit(['/', '@']).next();
    is_codecommit && name == Some(project)
}

impl fmt::Display for RunList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_delivery = self
            .delivery
            .as_ref()
            .is_some_and(|it| !it.pipelines.is_empty());
        if self.runs.is_empty() {
            writeln!(f, "no runs yet: start one with `{}`", self.train)?;
        } else if has_delivery {
            f.write_str(&table(
                &[
                    "RUN", "PIPELINE", "STATUS", "STARTED", "TIME", "MODEL", "COMMIT",
                ],
                self.runs.iter().map(with_pipeline),
            ))?;
        } else {
            f.write_str(&table(
                &[
                    "RUN", "STATUS", "STARTED", "TIME", "MODEL", "BRANCH", "COMMIT",
                ],
                self.runs.iter().map(row),
            ))?;
        }
        let refused = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.gate.as_ref()?)));
        for (index, (run, gate)) in refused.enumerate() {
            if index == 0 {
                writeln!(f)?;
            }
            writeln!(f, "{} refused: {}", run.run, clean(&gate.sentence()))?;
        }
        match &self.delivery {
            Some(delivery) if delivery.pipelines.is_empty() => writeln!(
                f,
                "\nno delivery: a push starts nothing (for pipelines, add [delivery] to mlops.toml\n\
                 and run `{}`)",
                self.init
            ),
            Some(delivery) => self.without(f, &delivery.branches_without),
            None => Ok(()),
        }
    }
}

impl RunList {
    fn without(&self, f: &mut fmt::Formatter<'_>, branches: &[String]) -> fmt::Result {
        let (named, more) = branches.split_at(branches.len().min(NAMED));
        for (index, branch) in named.iter().enumerate() {
            if index == 0 {
                writeln!(f)?;
            }
            writeln!(
                f,
                "branch {} has no delivery: add it to [delivery] branches",
                clean(branch)
            )?;
        }
        if !more.is_empty() {
            writeln!(f, "{} more branches have no delivery", more.len())?;
        }
        if !named.is_empty() {
            writeln!(
                f,
                "A push to such a branch starts nothing until `{}` creates its pipelines.",
                self.init
            )?;
        }
        Ok(())
    }
}

fn version(run: &ListedRun) -> String {
    let version = run.model_version;
    version
        .map(|version| version.to_string())
        .unwrap_or_default()
}

fn commit(run: &ListedRun) -> String {
    let dirty = if run.origin.dirty { models::DIRTY } else { "" };
    run.origin.short_commit() + dirty
}

/// A row of a project without delivery.
fn row(run: &ListedRun) -> Vec<String> {
    vec![
        run.run.clone(),
        run.status.to_string(),
        run.started.map(time).unwrap_or_default(),
        run.seconds.map(duration).unwrap_or_default(),
        version(run),
        run.origin.branch.clone().unwrap_or_default(),
        commit(run),
    ]
}

/// A row of a project with delivery. There is no room for the year.
fn with_pipeline(run: &ListedRun) -> Vec<String> {
    let branch = run.origin.branch.as_deref().unwrap_or_default();
    let what = match (&run.pipeline, &run.part_of) {
        (None, Some(_)) => "└ training".to_owned(),
        (None, None) => format!("train {branch}"),
        (Some(_), _) => format!("{} {branch}", run.kind.as_str()),
    };
    let started = run
        .started
        .map(|started| started.strftime("%m-%d %H:%MZ").to_string());
    vec![
        short(&run.run).to_owned(),
        what.trim_end().to_owned(),
        run.status.to_string(),
        started.unwrap_or_default(),
        run.seconds.map(duration).unwrap_or_default(),
        version(run),
        commit(run),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_of_the_project_is_known_by_its_url() {
        for url in [
            "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/flights",
            "ssh://git-codecommit.eu-west-1.amazonaws.com/v1/repos/flights/",
            "codecommit::eu-west-1://flights",
            "codecommit::eu-west-1://team@flights",
            "http://127.0.0.1:4566/v1/repos/flights",
        ] {
            assert!(is_of("flights", url), "{url}");
        }
        for url in [
            "https://github.com/team/flights",
            "codecommit::eu-west-1://flights-eda",
            "http://127.0.0.1:4566/v1/repos/other",
        ] {
            assert!(!is_of("flights", url), "{url}");
        }
    }
}
