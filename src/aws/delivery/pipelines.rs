//! The pipelines of a project, by their names.

use std::collections::BTreeSet;

use anyhow::Result;
use mlops_core::error::{self, Exit};
use mlops_core::names::BranchName;
use serde::Serialize;

use crate::aws::{AwsResultExt, Clients};

/// What a pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PipelineKind {
    /// Builds and pushes the image of a branch.
    Image,
    /// Validates data, trains and registers a version.
    Ml,
    /// Deploys an approved version.
    Deploy,
}

impl PipelineKind {
    /// The kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Ml => "ml",
            Self::Deploy => "deploy",
        }
    }
}

/// A pipeline of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pipeline {
    /// Its name.
    #[serde(rename = "pipeline")]
    pub name: String,
    /// What it does.
    pub kind: PipelineKind,
    /// The branch that it serves, with `/` replaced by `-`; null for the deploy pipeline.
    pub tag: Option<String>,
}

impl Pipeline {
    /// Its name without that of the project: `ml-develop`.
    pub fn short(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}-{tag}", self.kind.as_str()),
            None => self.kind.as_str().to_owned(),
        }
    }
}

/// Lists the pipelines of a project, by name.
pub async fn of_project(clients: &Clients, project: &str) -> Result<Vec<Pipeline>> {
    let mut pages = clients
        .codepipeline
        .list_pipelines()
        .into_paginator()
        .send();
    let mut names = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let page = page.aws("cannot list the pipelines of CodePipeline")?;
        let found = page.pipelines.unwrap_or_default().into_iter();
        names.extend(found.filter_map(|pipeline| pipeline.name));
    }
    Ok(owned(project, &names))
}

/// Separates a missing permission from what was read, for reports with other parts: a role that was created before the
/// project had delivery may not read pipelines. Returns the default and the reason then.
pub fn or_denied<T: Default>(read: Result<T>) -> Result<(T, Option<String>)> {
    match read {
        Ok(found) => Ok((found, None)),
        Err(error) if error::exit(&error) == Exit::Credentials => {
            Ok((T::default(), Some(error::message(&error))))
        }
        Err(error) => Err(error),
    }
}

/// Returns which of these branches no pipeline serves: a push to one of them starts nothing.
pub fn without_delivery<'a>(pipelines: &[Pipeline], branches: &'a [String]) -> Vec<&'a str> {
    let tags = pipelines.iter().filter_map(|it| it.tag.as_deref());
    let served: BTreeSet<&str> = tags.collect();
    let branches = branches.iter().map(String::as_str);
    branches
        .filter(|name| {
            let branch: Result<BranchName, _> = name.parse();
            branch.is_ok_and(|branch| !served.contains(branch.tag().as_str()))
        })
        .collect()
}

/// The pipelines of a project among all names of an account.
fn owned(project: &str, names: &BTreeSet<String>) -> Vec<Pipeline> {
    let parsed = names.iter().filter_map(|name| parse(project, name));
    parsed
        .filter(|pipeline| !is_of_another_project(project, pipeline, names))
        .collect()
}

fn parse(project: &str, name: &str) -> Option<Pipeline> {
    let rest = name.strip_prefix(project)?.strip_prefix('-')?;
    let (kind, tag) = if rest == "deploy" {
        (PipelineKind::Deploy, None)
    } else if let Some(tag) = rest.strip_prefix("image-") {
        (PipelineKind::Image, Some(tag))
    } else {
        (PipelineKind::Ml, Some(rest.strip_prefix("ml-")?))
    };
    if tag == Some("") {
        return None;
    }
    Some(Pipeline {
        name: name.to_owned(),
        kind,
        tag: tag.map(str::to_owned),
    })
}

/// `flights-ml-image-develop` is the image pipeline of a project `flights-ml`, or the ML pipeline of a branch
/// `image-develop` of the project `flights`. The latter has an image pipeline for the branch, too.
fn is_of_another_project(project: &str, pipeline: &Pipeline, names: &BTreeSet<String>) -> bool {
    let Some(tag) = &pipeline.tag else {
        return false;
    };
    let other = match pipeline.kind {
        PipelineKind::Image => PipelineKind::Ml,
        _ => PipelineKind::Image,
    };
    let tag = format!("-{tag}");
    let is_ambiguous = tag.ends_with("-deploy") || tag.contains("-image-") || tag.contains("-ml-");
    is_ambiguous && !names.contains(&format!("{project}-{}{tag}", other.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(project: &str, names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let found = owned(project, &names);
        found.iter().map(Pipeline::short).collect()
    }

    #[test]
    fn pipelines_of_other_projects_are_not_this_projects() {
        let names = [
            "flights-image-develop",
            "flights-ml-develop",
            "flights-deploy",
            "flights-ml-image-develop",
            "flights-ml-ml-develop",
            "flights-ml-deploy",
            "flights-other",
            "flights2-ml-develop",
        ];
        assert_eq!(
            shorts("flights", &names),
            ["deploy", "image-develop", "ml-develop"]
        );
        assert_eq!(
            shorts("flights-ml", &names),
            ["deploy", "image-develop", "ml-develop"]
        );
        // A branch with such a name has both pipelines.
        let branch = ["flights-image-ml-test", "flights-ml-ml-test"];
        assert_eq!(shorts("flights", &branch), ["image-ml-test", "ml-ml-test"]);
    }

    #[test]
    fn a_branch_without_a_pipeline_has_no_delivery() {
        let names = [
            "f-image-develop",
            "f-ml-develop",
            "f-image-feature-x",
            "f-deploy",
        ];
        let pipelines = owned("f", &names.iter().map(|it| (*it).to_owned()).collect());
        let branches = ["develop", "feature/x", "feature/y", "deploy"].map(str::to_owned);
        assert_eq!(
            without_delivery(&pipelines, &branches),
            ["feature/y", "deploy"]
        );
    }
}
