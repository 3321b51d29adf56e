//! The report of `mlops init`.

use std::fmt;
use std::path::PathBuf;

use mlops_core::names::ProjectName;
use mlops_core::text::table;
use serde::Serialize;

use super::seed::Seeds;
use crate::infra::{Action, Network, Platform, Workbench};
use crate::output::Report;

/// The deployed architecture and the project.
#[derive(Debug, Serialize)]
pub struct Initialized {
    pub(super) name: ProjectName,
    pub(super) account: String,
    pub(super) region: String,
    pub(super) directory: PathBuf,
    /// Files that were written; none in an existing project.
    pub(super) files: Vec<PathBuf>,
    /// The first commit, if this command created it.
    pub(super) commit: Option<String>,
    pub(super) stacks: Vec<Deployed>,
    pub(super) network: Network,
    pub(super) platform: Platform,
    pub(super) workbench: Workbench,
    /// The first commits of the git repositories.
    pub(super) repositories: Seeds,
    /// The path of this program, if `mlops` is not on PATH.
    pub(super) program: Option<PathBuf>,
    #[serde(skip)]
    pub(super) next: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Deployed {
    pub(super) stack: String,
    pub(super) action: Action,
    pub(super) changes: usize,
}

impl Report for Initialized {}

impl fmt::Display for Initialized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} in account {}, {}\n",
            self.name, self.account, self.region
        )?;
        let short = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
        let row = |what: &str, name: &str| vec![what.to_owned(), name.to_owned()];
        let subnets = self.network.private_subnets.len();
        let rows = [
            row("data bucket", &self.platform.data_bucket),
            row("artifact bucket", &self.platform.artifact_bucket),
            row("capture bucket", &self.platform.capture_bucket),
            row("image repository", &self.platform.image_repository_uri),
            row("model registry", &self.platform.model_package_group),
            row("role of jobs", &short(&self.platform.execution_role)),
            row("role of endpoints", &short(&self.platform.endpoint_role)),
            row(
                "network",
                &format!("{}, {subnets} private subnets", self.network.vpc),
            ),
            row("notebook", &self.workbench.notebook),
        ];
        let optional = [
            ("git", &self.workbench.image_repository_url),
            ("git, notebooks", &self.workbench.eda_repository_url),
            ("connection", &self.workbench.connection),
        ];
        let optional = optional
            .into_iter()
            .filter_map(|(what, name)| Some(row(what, name.as_ref()?)));
        let rows = rows.into_iter().chain(optional);
        writeln!(f, "{}", table(&["WHAT", "NAME"], rows))?;
        let stacks = self
            .stacks
            .iter()
            .map(|stack| vec![stack.stack.clone(), stack.action.as_str().to_owned()]);
        writeln!(f, "{}", table(&["STACK", "NOW"], stacks))?;
        let mut actions = self.stacks.iter().map(|stack| stack.action);
        if self.files.is_empty() && actions.all(|action| action == Action::Unchanged) {
            writeln!(f, "Everything is up to date; nothing was changed.")?;
        }
        if !self.files.is_empty() {
            match &self.commit {
                Some(commit) => writeln!(
                    f,
                    "Wrote {} files and committed them as {}.",
                    self.files.len(),
                    commit.get(..8).unwrap_or(commit)
                )?,
                None => writeln!(
                    f,
                    "Wrote {} files; commit them to your repository.",
                    self.files.len()
                )?,
            }
        }
        if self.workbench.connection.is_some() {
            writeln!(
                f,
                "A new connection is PENDING until somebody authorizes it at the provider. Open\n\
                 https://console.aws.amazon.com/codesuite/settings/connections?region={}\n\
                 select {} and choose \"Update pending connection\".\n\
                 Nothing waits for it; until then, builds cannot read the repositories.",
                self.region, self.name
            )?;
        }
        if let Some(program) = &self.program {
            writeln!(
                f,
                "`mlops` is not on PATH; its path is {}",
                program.display()
            )?;
        }
        write!(f, "Next: {}", self.next)
    }
}

/// Files and commit of a new project.
#[derive(Debug, Default)]
pub(super) struct Started {
    pub(super) files: Vec<PathBuf>,
    pub(super) commit: Option<String>,
}
