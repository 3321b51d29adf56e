//! The process of a CodeBuild build: its directories under /opt/codebuild, a private /tmp, and the programs of this
//! machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::enter::{IsolationLevel, SandboxSpec, View};
use super::process::{self, Lines, Running};
use super::{Isolation, cloud_environment, user_credentials};
use crate::Cloud;
use crate::api::ApiResult;
use crate::sts::ServiceSession;

/// The root of a build as its programs see it.
const ROOT: &str = "/opt/codebuild";

/// PATH of a build: the programs of this machine.
const BUILD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A build to start.
#[derive(Debug)]
pub(crate) struct BuildSpec<'a> {
    /// The directory that becomes the root of the build, with the directories `home` and `tmp`. A directory next to
    /// it is used while the build runs.
    pub(crate) root: PathBuf,
    /// The session of its role.
    pub(crate) session: &'a ServiceSession,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Environment variables.
    pub(crate) environment: BTreeMap<String, String>,
    /// The working directory.
    pub(crate) directory: PathBuf,
}

/// The path under which a build sees its root, and notes for its log.
pub(crate) async fn build_root(cloud: &Cloud, root: &Path) -> ApiResult<(PathBuf, Vec<String>)> {
    let isolation = process::isolation(cloud).await?;
    let machine = std::env::consts::ARCH;
    let (path, level, how) = match isolation {
        Isolation::Namespace(level) => (PathBuf::from(ROOT), level, String::new()),
        Isolation::Directory(reason) => {
            let how = format!(", without a private {ROOT} ({reason})");
            (root.to_owned(), IsolationLevel::Nothing, how)
        }
    };
    let mut notes = vec![format!(
        "host runtime: processes of this machine ({machine}){how}"
    )];
    notes.extend(level.gap().map(str::to_owned));
    Ok((path, notes))
}

/// Starts a build; `lines` receives its output.
pub(crate) async fn launch_build(
    cloud: &Cloud,
    build: BuildSpec<'_>,
    lines: impl FnMut(&Lines) + Send + 'static,
) -> ApiResult<Running> {
    let isolation = process::isolation(cloud).await?;
    let scratch = process::scratch(&build.root)?;
    let (root, level) = match isolation {
        Isolation::Namespace(level) => (PathBuf::from(ROOT), level),
        Isolation::Directory(_) => (build.root.clone(), IsolationLevel::Nothing),
    };
    // `root` has the directories `home` and `tmp`.
    let mut environment = cloud_environment(cloud, &root, build.session);
    environment
        .entry("PATH".to_owned())
        .or_insert_with(|| BUILD_PATH.to_owned());
    environment.extend(build.environment);
    let mut hide = user_credentials(&cloud.settings().host);
    hide.push(std::path::absolute(cloud.directory())?);
    let spec = SandboxSpec {
        level,
        network: true,
        view: View::Build { root: build.root },
        scratch,
        hide,
        command: build.command,
        environment,
        working_directory: build.directory,
        parent: std::process::id(),
        supervised: false,
    };
    process::spawn(&spec, lines).await
}
