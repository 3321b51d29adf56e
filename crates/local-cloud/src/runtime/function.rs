//! The process of a Lambda function: its code under /var/task, and no files of an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::enter::{IsolationLevel, SandboxSpec, View};
use super::process::{self, Lines, Running};
use super::{Isolation, cloud_environment, user_credentials, venv};
use crate::Cloud;
use crate::api::ApiResult;
use crate::sts::ServiceSession;

/// Path of the code of a function (Lambda developer guide).
pub(crate) const TASK_ROOT: &str = "/var/task";

/// PATH of a function, as AWS sets it, without the directories of a managed runtime.
const FUNCTION_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/bin";

/// The program that starts a function.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// The file `bootstrap` in its code.
    Bootstrap,
    /// This program, run by the Python of the host.
    Python(&'static str),
}

/// A Lambda function to start.
#[derive(Debug)]
pub(crate) struct FunctionSpec {
    /// The directory that becomes /var/task.
    pub(crate) code: PathBuf,
    /// A directory that need not exist; one next to it holds HOME and TMPDIR.
    pub(crate) directory: PathBuf,
    /// The session of its role.
    pub(crate) session: Arc<ServiceSession>,
    /// The program that starts it.
    pub(crate) program: Program,
    /// Its environment. Values that are `/var/task` or a path below it are replaced with the actual
    /// directory of the code if the process cannot have its own /var/task.
    pub(crate) environment: BTreeMap<String, String>,
}

/// Starts a function; `lines` receives its output. Returns the process and notes for its log.
pub(crate) async fn launch_function(
    cloud: &Cloud,
    function: FunctionSpec,
    lines: impl FnMut(&Lines) + Send + 'static,
) -> ApiResult<(Running, Vec<String>)> {
    let isolation = process::isolation(cloud).await?;
    let scratch = process::scratch(&function.directory)?;
    let (root, level) = match &isolation {
        Isolation::Namespace(level) => (PathBuf::from(TASK_ROOT), *level),
        Isolation::Directory(_) => (function.code.clone(), IsolationLevel::Nothing),
    };
    let mut notes = Vec::new();
    let mut what = "a process of this machine".to_owned();
    let command = match function.program {
        Program::Bootstrap => vec![root.join("bootstrap").display().to_string()],
        Program::Python(program) => {
            let (version, executable) = venv::identify(&cloud.settings().python).await?;
            what = format!("{what}, Python {version}");
            vec![
                executable,
                "-u".to_owned(),
                "-c".to_owned(),
                program.to_owned(),
            ]
        }
    };
    notes.push(match &isolation {
        Isolation::Namespace(_) => format!("host runtime: {what} with a private {TASK_ROOT}"),
        Isolation::Directory(reason) => format!(
            "host runtime: {what}, LAMBDA_TASK_ROOT={} instead of {TASK_ROOT} ({reason})",
            root.display()
        ),
    });
    notes.extend(level.gap().map(str::to_owned));
    let mut environment: BTreeMap<String, String> = function
        .environment
        .into_iter()
        .map(
            |(name, value)| match Path::new(&value).strip_prefix(TASK_ROOT) {
                Ok(rest) if rest.as_os_str().is_empty() => (name, root.display().to_string()),
                Ok(rest) => (name, root.join(rest).display().to_string()),
                Err(_) => (name, value),
            },
        )
        .collect();
    environment
        .entry("PATH".to_owned())
        .or_insert_with(|| FUNCTION_PATH.to_owned());
    environment.extend(cloud_environment(cloud, &scratch, &function.session));
    let spec = SandboxSpec {
        level,
        network: true,
        view: View::Task {
            code: function.code,
        },
        scratch,
        hide: user_credentials(&cloud.settings().host),
        command,
        environment,
        working_directory: root,
        parent: std::process::id(),
        supervised: false,
    };
    Ok((process::spawn(&spec, lines).await?, notes))
}
