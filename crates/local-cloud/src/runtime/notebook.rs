//! The machine of a notebook instance: one supervised process with its own view of the files, in which
//! life-cycle scripts, git and JupyterLab run.
//!
//! ```text
//! <instance>/volume      becomes /home/ec2-user/SageMaker; kept until the instance is deleted
//! <instance>/disk.run    the rest of the instance, for the time that it runs:
//!   home                 becomes /home/ec2-user
//!   mlops                becomes /opt/mlops: sudo, the scripts, JupyterLab's configuration
//!   ml, root, tmp        become /opt/ml, /opt/root (the home of a script's superuser), /opt/tmp
//!   etc, profile.d       parts of /etc
//! ```
//!
//! Files of the machine are written before it starts, and never afterwards: programs could have replaced
//! them with links.

use std::collections::BTreeMap;
use std::io::{PipeWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::enter::{IsolationLevel, SandboxSpec, Start, View};
use super::process::{self, Running};
use super::{Isolation, cloud_environment, user_credentials, venv};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::sts::ServiceSession;
use crate::{Cloud, admission, clock};

mod events;
mod jupyter;

use events::{CLONE, MACHINE, Programs, receiver};
pub(crate) use jupyter::Jupyter;

/// Log group of notebook instances.
pub(crate) const LOG_GROUP: &str = "/aws/sagemaker/NotebookInstances";

/// Time for a machine to end its programs; the supervisor kills them after 3 s.
const GRACE: Duration = Duration::from_secs(7);

/// PATH of the instance after its own directories (AWS: `/sbin:bin:/usr/sbin:/usr/bin`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A script of the instance.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its name, and that of its log stream.
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) content: Vec<u8>,
}

/// A machine to start.
#[derive(Debug)]
pub(crate) struct MachineSpec {
    /// The name of the instance.
    pub(crate) name: String,
    /// Its ARN.
    pub(crate) arn: String,
    /// The directory of its files.
    pub(crate) directory: PathBuf,
    /// `Enabled` or `Disabled`: whether ec2-user may use sudo.
    pub(crate) root_access: String,
    /// The contents of /etc/gitconfig.
    pub(crate) git_config: String,
    /// The session of its role.
    pub(crate) session: ServiceSession,
    /// Scripts that [`Run::Script`] can name.
    pub(crate) scripts: Vec<Script>,
}

/// A program to run on the machine.
#[derive(Debug)]
pub(crate) enum Run<'a> {
    /// A script, as the superuser of the instance.
    Script {
        /// Its name.
        name: &'static str,
        /// The time that it may take.
        limit: Duration,
    },
    /// A clone of a repository into a directory of the volume, unless that exists.
    Clone {
        /// The address.
        url: &'a str,
        /// The branch, if it is not the repository's default branch.
        branch: Option<&'a str>,
        /// The name of the directory.
        directory: &'a str,
        /// The path of a repository of the local CodeCommit.
        own: Option<&'a str>,
    },
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The exit code.
    pub(crate) code: i32,
    /// True if it exceeded its limit.
    pub(crate) timed_out: bool,
    /// Its last lines.
    pub(crate) tail: Vec<String>,
}

/// Where programs of the instance find its files.
#[derive(Debug)]
struct Places {
    home: PathBuf,
    root: PathBuf,
    tools: PathBuf,
    temporary: PathBuf,
    git_config: PathBuf,
}

impl Places {
    fn of(isolation: &Isolation, scratch: &Path) -> Self {
        let is_private = matches!(isolation, Isolation::Namespace(_));
        let place = |private: &str, own: &str| {
            if is_private {
                PathBuf::from(private)
            } else {
                scratch.join(own)
            }
        };
        Self {
            home: place("/home/ec2-user", "home"),
            root: place("/opt/root", "root"),
            tools: place("/opt/mlops", "mlops"),
            temporary: place("/opt/tmp", "tmp"),
            git_config: place("/etc/gitconfig", "etc/gitconfig"),
        }
    }

    fn kernels(&self) -> PathBuf {
        self.home.join(".kernels")
    }

    /// The PATH of programs: the instance's own tools, the packages of its kernels, the shared packages
    /// (from the moment when they are installed), and the programs of the machine.
    async fn path(&self, cloud: &Cloud) -> String {
        // Without Python, scripts run all the same.
        let shared = venv::location(cloud.settings(), jupyter::REQUIREMENTS).await;
        let own = [self.tools.join("bin"), self.kernels().join("bin")];
        let directories: Vec<String> = own
            .into_iter()
            .chain(shared.ok().map(|directory| directory.join("bin")))
            .map(|directory| directory.display().to_string())
            .chain([PATH.to_owned()])
            .collect();
        directories.join(":")
    }

    /// The variables that every program has, whoever runs it.
    fn environment(&self, path: String) -> [(String, String); 7] {
        let text = |path: &Path| path.display().to_string();
        [
            ("GIT_CONFIG_SYSTEM", text(&self.git_config)),
            ("LANG", "C.UTF-8".to_owned()),
            ("MLOPS_ROOT_HOME", text(&self.root)),
            ("MLOPS_USER_HOME", text(&self.home)),
            ("PATH", path),
            ("SHELL", "/bin/bash".to_owned()),
            ("TMPDIR", text(&self.temporary)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}

/// Describes a machine and its gaps in isolation, for its logs.
fn notes(isolation: &Isolation, level: IsolationLevel, runs_scripts: bool) -> Vec<String> {
    let mut notes = match isolation {
        Isolation::Namespace(_) => vec![
            "host runtime: a process of this machine with a private /home/ec2-user, /etc and /opt; \
             the superuser of a script is one in name only"
                .to_owned(),
        ],
        Isolation::Directory(reason) => vec![
            "host runtime: a process of this machine without a private /home/ec2-user and /etc: \
             scripts run as your user, with HOME instead of /home/ec2-user"
                .to_owned(),
            format!("no namespaces: {reason}"),
        ],
    };
    if !runs_scripts {
        let note = "life-cycle scripts are not run here: without namespaces, they would change this \
                    machine as its superuser";
        notes.push(note.to_owned());
    }
    notes.extend(level.gap().map(str::to_owned));
    notes
}

/// A running machine. It ends when told to, or with the server.
#[derive(Debug)]
pub(crate) struct Machine {
    running: Running,
    input: Mutex<Option<PipeWriter>>,
    programs: Arc<watch::Sender<Programs>>,
    places: Places,
    environment: BTreeMap<String, String>,
    /// Ends with the machine, so that the credentials in the environments of its programs do, too.
    session: ServiceSession,
    /// False if scripts would change the machine as its superuser.
    runs_scripts: bool,
}

impl Machine {
    /// Starts a machine. Returns it with notes for its logs: a description, and gaps in isolation.
    pub(crate) async fn start(cloud: &Cloud, spec: MachineSpec) -> ApiResult<(Self, Vec<String>)> {
        let isolation = process::isolation(cloud).await?;
        let volume = spec.directory.join("volume");
        std::fs::create_dir_all(&volume)?;
        let scratch = process::scratch(&spec.directory.join("disk"))?;
        let places = Places::of(&isolation, &scratch);
        let level = match &isolation {
            Isolation::Namespace(level) => *level,
            Isolation::Directory(_) => {
                std::os::unix::fs::symlink(&volume, scratch.join("home/SageMaker"))?;
                IsolationLevel::Nothing
            }
        };
        let runs_scripts = level != IsolationLevel::Nothing || !nix::unistd::geteuid().is_root();
        let notes = notes(&isolation, level, runs_scripts);
        let path = places.path(cloud).await;
        write_files(&spec, &scratch, &places, &path)?;
        let mut environment = cloud_environment(cloud, &scratch, &spec.session);
        environment.extend(places.environment(path.clone()));
        let mut hide = user_credentials(&cloud.settings().host);
        // Last, because it contains the directory that covers the others.
        hide.push(cloud.directory().to_owned());
        let programs = Arc::new(watch::Sender::new(Programs::default()));
        let sandbox = SandboxSpec {
            level,
            network: true,
            view: View::Notebook {
                volume,
                private_tmp: !path.split(':').any(|part| part.starts_with("/tmp/")),
            },
            scratch,
            hide,
            command: Vec::new(),
            environment: BTreeMap::new(),
            working_directory: "/".into(),
            parent: std::process::id(),
            supervised: true,
        };
        let (reader, mut input) = std::io::pipe()?;
        let role = spec.session.caller();
        let receive = receiver(cloud, &role, &spec.name, programs.clone());
        let running = process::spawn_with_input(&sandbox, Stdio::from(reader), receive).await?;
        let mut line = serde_json::to_vec(&sandbox).map_err(ApiError::internal)?;
        line.push(b'\n');
        input.write_all(&line)?;
        let machine = Self {
            running,
            input: Mutex::new(Some(input)),
            programs,
            places,
            environment,
            session: spec.session,
            runs_scripts,
        };
        Ok((machine, notes))
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, run: Run<'_>) -> ApiResult<Outcome> {
        if matches!(run, Run::Script { .. }) && !self.runs_scripts {
            return Ok(Outcome {
                code: 0,
                timed_out: false,
                tail: Vec::new(),
            });
        }
        let tool = |name: &str| self.places.tools.join(name).display().to_string();
        let start = match run {
            Run::Script { name, limit } => Start {
                name: name.to_owned(),
                superuser: true,
                command: vec![tool(name)],
                environment: self.environment_of("root", &self.places.root),
                working_directory: "/".into(),
                limit: Some(limit),
            },
            Run::Clone {
                url,
                branch,
                directory,
                own,
            } => {
                let volume = self.places.home.join("SageMaker");
                let target = volume.join(directory).display().to_string();
                let mut environment = self.environment_of("ec2-user", &self.places.home);
                environment.extend(own.map(|path| self.git_login(path)).into_iter().flatten());
                let branch = branch.unwrap_or_default().to_owned();
                Start {
                    name: format!("{CLONE}{directory}"),
                    superuser: false,
                    command: vec![tool("clone.sh"), url.to_owned(), target, branch],
                    environment,
                    working_directory: volume,
                    limit: Some(CLONE_LIMIT),
                }
            }
        };
        let name = start.name.clone();
        self.request(&start)?;
        self.ended(&name).await
    }

    /// The instance's role, on whose behalf its logs are written.
    pub(crate) fn role(&self) -> Caller {
        self.session.caller()
    }

    /// Ends every program of the machine, and the machine.
    pub(crate) async fn end(&self) {
        drop(self.input().take());
        tokio::select! {
            _ = self.running.wait() => {}
            () = clock::sleep(GRACE) => {
                self.running.terminate(Duration::ZERO).await;
            }
        }
    }

    /// Waits until the machine has ended.
    pub(crate) async fn gone(&self) {
        self.running.wait().await;
    }

    /// True if the machine has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.running.ended().is_some()
    }

    fn input(&self) -> std::sync::MutexGuard<'_, Option<PipeWriter>> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn environment_of(&self, user: &str, home: &Path) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        let values = [
            ("HOME", home.display().to_string()),
            ("USER", user.to_owned()),
            ("LOGNAME", user.to_owned()),
        ];
        environment.extend(values.map(|(name, value)| (name.to_owned(), value)));
        environment
    }

    /// User and password for git, which the local CodeCommit accepts for 15 minutes. Later, git asks
    /// the credential helper of the AWS CLI.
    fn git_login(&self, path: &str) -> [(String, String); 2] {
        let of = |name: &str| self.environment.get(name).map_or("", String::as_str);
        let mut user = of("AWS_ACCESS_KEY_ID").to_owned();
        if let Some(token) = self.environment.get("AWS_SESSION_TOKEN") {
            user = format!("{user}%{token}");
        }
        let secret = of("AWS_SECRET_ACCESS_KEY");
        let password = admission::git_password(secret, of("AWS_REGION"), "127.0.0.1", path);
        [
            ("MLOPS_GIT_USER".to_owned(), user),
            ("MLOPS_GIT_PASSWORD".to_owned(), password),
        ]
    }

    fn request(&self, start: &Start) -> ApiResult<()> {
        self.programs.send_modify(|programs| {
            programs.ended.remove(&start.name);
            programs.tails.remove(&start.name);
        });
        let mut line = serde_json::to_vec(start).map_err(ApiError::internal)?;
        line.push(b'\n');
        let mut input = self.input();
        let ended = || ApiError::internal("the notebook instance has ended");
        let pipe = input.as_mut().ok_or_else(ended)?;
        pipe.write_all(&line).map_err(|_| ended())
    }

    /// Waits for the end of a program; an error if the machine ends first.
    async fn ended(&self, name: &str) -> ApiResult<Outcome> {
        let mut programs = self.programs.subscribe();
        let gone = || {
            let programs = self.programs.borrow();
            let said = programs.tails.get(MACHINE).into_iter().flatten();
            let said: Vec<&str> = said.map(String::as_str).collect();
            ApiError::internal(format_args!(
                "the notebook instance ended {}",
                said.join("\n")
            ))
        };
        let found = tokio::select! {
            found = programs.wait_for(|programs| programs.ended.contains_key(name)) => {
                found.map_err(|_| gone())?
            }
            _ = self.running.wait() => return Err(gone()),
        };
        let ended = || ApiError::internal("the notebook instance ended");
        let end = found.ended.get(name).ok_or_else(ended)?;
        let tail = found.tails.get(name).into_iter().flatten();
        Ok(Outcome {
            code: end.code,
            timed_out: end.timed_out,
            tail: tail.cloned().collect(),
        })
    }
}

/// Time for a clone: as for scripts.
const CLONE_LIMIT: Duration = Duration::from_mins(5);

/// Writes the files of a new machine.
fn write_files(spec: &MachineSpec, scratch: &Path, places: &Places, path: &str) -> ApiResult<()> {
    for part in ["mlops/bin", "root", "ml/metadata", "etc", "profile.d"] {
        std::fs::create_dir_all(scratch.join(part))?;
    }
    if !scratch.join("home/SageMaker").exists() {
        std::fs::create_dir(scratch.join("home/SageMaker"))?;
    }
    let tools = scratch.join("mlops");
    let executable = |path: PathBuf, content: &[u8]| -> ApiResult<()> {
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        Ok(())
    };
    executable(tools.join("bin/sudo"), include_bytes!("notebook/sudo.sh"))?;
    executable(tools.join("bin/aws"), include_bytes!("notebook/aws.sh"))?;
    executable(tools.join("clone.sh"), include_bytes!("notebook/clone.sh"))?;
    for script in &spec.scripts {
        // AWS runs scripts with bash: a script without `#!` gets one.
        let is_complete = script.content.starts_with(b"#!");
        let prefix: &[u8] = if is_complete { b"" } else { b"#!/bin/bash\n" };
        executable(tools.join(script.name), &[prefix, &script.content].concat())?;
    }
    std::fs::write(tools.join("root-access"), &spec.root_access)?;
    jupyter::write_files(&tools, &places.kernels())?;
    let metadata = json!({"ResourceArn": spec.arn, "ResourceName": spec.name});
    std::fs::write(
        scratch.join("ml/metadata/resource-metadata.json"),
        metadata.to_string(),
    )?;
    // /etc/profile of the machine replaces PATH in login shells.
    let profile = format!("export PATH={}\n", quoted(path));
    std::fs::write(scratch.join("profile.d/00-mlops.sh"), &profile)?;
    for home in ["home", "root"] {
        let login = format!("{profile}[ -f ~/.bashrc ] && . ~/.bashrc\n");
        std::fs::write(scratch.join(home).join(".bash_profile"), login)?;
    }
    std::fs::write(scratch.join("etc/gitconfig"), &spec.git_config)?;
    for (name, line) in [
        (
            "passwd",
            "ec2-user:x:1000:1000:EC2 Default User:/home/ec2-user:/bin/bash",
        ),
        ("group", "ec2-user:x:1000:"),
    ] {
        let known = std::fs::read(Path::new("/etc").join(name)).unwrap_or_default();
        let known = with_user(&String::from_utf8_lossy(&known), line);
        std::fs::write(scratch.join("etc").join(name), known)?;
    }
    Ok(())
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The users or groups of the machine, in which a line replaces those with its name or id.
fn with_user(known: &str, line: &str) -> String {
    let fields = |line: &str| {
        let mut fields = line.split(':').map(str::to_owned);
        (fields.next(), fields.nth(1))
    };
    let (name, id) = fields(line);
    let others = known.lines().filter(|other| {
        let (other_name, other_id) = fields(other);
        other_name != name && other_id != id
    });
    let mut lines: Vec<&str> = others.collect();
    lines.extend([line, ""]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_replaces_those_with_its_name_or_id() {
        let known = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\nec2-user:x:7:7::/:/bin/sh\n";
        let line = "ec2-user:x:1000:1000::/home/ec2-user:/bin/bash";
        let expected = format!("root:x:0:0::/root:/bin/sh\n{line}\n");
        assert_eq!(with_user(known, line), expected);
    }
}
