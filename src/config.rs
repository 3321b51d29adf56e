//! The configuration of a command: `mlops.toml` < environment < flags.
//!
//! The only module that reads the environment. `mlops.toml` describes the project; it never
//! contains a profile, an endpoint or credentials, so a cloned repository cannot redirect a
//! command. docs/config.md lists every key and variable.

use std::env;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::{DatasetName, ProjectName};
use mlops_core::network::{CaBundle, is_loopback};
use mlops_oci::registry::Credentials;
use serde::{Deserialize, Serialize};

use crate::output::Format;

mod environment;
#[cfg(feature = "local")]
mod local_host;
mod problem;
mod sections;
pub mod shell;
mod suggestions;

pub use environment::{
    VARIABLES, analyzer_environment, ca_bundle, endpoint_overrides, installer_environment,
    no_proxy, server_environment,
};
pub use problem::toml_problem;
pub use sections::{
    ArchitectureSection, Branches, Builder, CodeProvider, CodeSource, DataSection, DeploySection,
    ImageSection, LocalSection, MonitorSection, NetworkAccess, PipelineSection, Runtime,
    ValidateSection,
};

#[cfg(feature = "local")]
pub use local_host::LOCAL_HOST;

/// The project file's name.
pub const FILE: &str = "mlops.toml";

/// The account of every local cloud; AWS has no such account.
pub const LOCAL_ACCOUNT: &str = "000000000000";

/// The contents of `mlops.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectFile {
    /// The project's name: the prefix of all its resources.
    pub name: ProjectName,
    /// The account it belongs to; commands that change something refuse any other.
    pub account: String,
    /// The region it belongs to.
    pub region: String,
    /// What `mlops init` deploys.
    #[serde(default)]
    pub architecture: ArchitectureSection,
    /// The roles of branches.
    #[serde(default)]
    pub branches: Branches,
    /// The container image.
    #[serde(default)]
    pub image: ImageSection,
    /// The training data.
    #[serde(default)]
    pub data: DataSection,
    /// The ML pipeline.
    #[serde(default)]
    pub pipeline: PipelineSection,
    /// The endpoint.
    #[serde(default)]
    pub deploy: DeploySection,
    /// Production monitoring.
    #[serde(default)]
    pub monitor: MonitorSection,
    /// Data validation.
    #[serde(default)]
    pub validate: ValidateSection,
    /// The local cloud.
    #[serde(default)]
    pub local: LocalSection,
}

impl ProjectFile {
    /// Checks what the types do not enforce: ranges, and paths that stay inside the project.
    fn check(&self) -> Result<(), String> {
        if self.deploy.capture_percent > 100 {
            return Err("deploy.capture_percent is a share in percent, at most 100".to_owned());
        }
        if self.deploy.instance_count == 0 {
            return Err("deploy.instance_count is at least 1".to_owned());
        }
        if let Some(layout) = self
            .image
            .base
            .as_ref()
            .and_then(|base| base.strip_prefix("oci:"))
            && !is_inside(Path::new(layout))
        {
            return Err("image.base must be a path inside the project after `oci:`".to_owned());
        }
        let paths = [
            ("image.directory", Some(&self.image.directory)),
            ("pipeline.definition", Some(&self.pipeline.definition)),
            ("deploy.sample", self.deploy.sample.as_ref()),
            ("monitor.baseline", Some(&self.monitor.baseline)),
        ];
        for (key, path) in paths {
            if path.is_some_and(|path| !is_inside(path)) {
                return Err(format!("{key} must be a path inside the project"));
            }
        }
        Ok(())
    }
}

/// Returns whether a path stays below the directory that it is relative to.
fn is_inside(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A project on disk.
#[derive(Debug, Clone)]
pub struct Project {
    /// The directory of `mlops.toml`.
    pub root: PathBuf,
    /// Its contents.
    pub file: ProjectFile,
}

impl Project {
    /// Resolves a path of `mlops.toml`, which is relative to the project's directory.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns the data set that `train` uses.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the rule of one name includes the other's"
    )]
    pub fn dataset(&self) -> DatasetName {
        self.file.data.name.clone().unwrap_or_else(|| {
            self.file
                .name
                .as_str()
                .parse()
                .expect("every project name is a data set name")
        })
    }

    /// Reads a file of the project that `mlops.toml` names, at most `limit` bytes. A repository can
    /// contain anything at that path; reading a FIFO or a device would never end.
    ///
    /// # Errors
    /// The path is not a file, the file is larger, or it cannot be read.
    pub fn read_file(&self, relative: &Path, limit: u64) -> Result<Vec<u8>> {
        let path = self.path(relative);
        let shown = path.display();
        let found = std::fs::metadata(&path).with_context(|| format!("cannot read {shown}"))?;
        if !found.is_file() {
            return Err(Failure::usage(format!("{shown} is not a file")));
        }
        if found.len() > limit {
            return Err(Failure::usage(format!(
                "{shown} has {} bytes; the limit is {limit}",
                found.len()
            )));
        }
        std::fs::read(&path).with_context(|| format!("cannot read {shown}"))
    }

    /// Reads `mlops.toml` in `root`.
    fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = toml::from_slice(&bytes)
            .map_err(|error| toml_problem(&bytes, &error))
            .and_then(|file: ProjectFile| file.check().map(|()| file))
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
            .hint("see docs/config.md for all keys")?;
        Ok(Self {
            root: root.to_owned(),
            file,
        })
    }
}

/// When to use color (`--color`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The flags that every command accepts.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Use the local cloud: its endpoint and dummy credentials
    ///
    /// Starts a local cloud for this project if none is running. If mlops.toml sets `local = true`,
    /// the flag is implied; --local=false, --profile or --endpoint-url then selects AWS.
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub local: Option<bool>,
    /// Use this profile of your AWS configuration
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Use this AWS region
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// Send every request to this endpoint
    #[arg(long, global = true, value_name = "URL", conflicts_with = "local")]
    pub endpoint_url: Option<String>,
    /// Set the output format
    #[arg(long, short, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Print the result and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print details about each operation
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Answer yes to all questions
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// When to use color
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Seconds between two status checks of remote work
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub poll_interval: Option<Duration>,
    /// Stop waiting for remote work after this many seconds
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub timeout: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 604_800.0 => Ok(Duration::from_secs_f64(value)),
        _ => Err("a number of seconds between 0 and 604800".to_owned()),
    }
}

/// Flags and environment, merged; the project is read on demand.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Config {
    /// Whether to use the local cloud.
    pub local: bool,
    /// The value of the flag `--local`, if given.
    pub local_flag: Option<bool>,
    /// The AWS profile.
    pub profile: Option<String>,
    /// The region from flags and environment, which overrides the project's.
    pub region: Option<String>,
    /// The endpoint from flags and environment.
    pub endpoint_url: Option<String>,
    /// How reports are rendered.
    pub format: Format,
    /// Print only the result.
    pub quiet: bool,
    /// Print details.
    pub verbose: bool,
    /// Answer yes to all questions.
    pub yes: bool,
    /// When to use color.
    pub color: Color,
    /// Time between two polls of remote work.
    pub poll_interval: Duration,
    /// How long to wait for remote work.
    pub timeout: Duration,
    /// The current directory at start.
    pub directory: PathBuf,
    /// The directory that caches virtual environments and image layers.
    pub cache: PathBuf,
    /// A fixed time, for tests.
    pub now: Option<jiff::Timestamp>,
    /// The Python interpreter of the host runtime.
    pub python: Option<PathBuf>,
    /// Whether Spark's own address is set.
    pub spark_local_ip: bool,
    /// The location of Spark.
    pub spark_home: Option<PathBuf>,
    /// The location of Java.
    pub java_home: Option<PathBuf>,
    /// The directories to search for programs.
    pub search_path: Vec<PathBuf>,
    /// Files that may contain registry logins; the first match wins.
    pub registry_logins: Vec<PathBuf>,
}

impl Config {
    /// Merges flags over the environment over the defaults.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only reader of the environment"
    )]
    pub fn load(args: &GlobalArgs) -> Result<Self> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let format = match (args.output, format_variable()) {
            (Some(format), _) => format,
            (None, Ok(format)) => format.unwrap_or_default(),
            (None, Err(other)) => {
                return Err(Failure::usage(format!(
                    "MLOPS_OUTPUT is `{other}`; it can be human or json"
                )));
            }
        };
        let now = variable("MLOPS_NOW")
            .map(|text| {
                text.parse().map_err(|error| {
                    Failure::usage(format!("MLOPS_NOW is not an RFC 3339 time: {error}"))
                })
            })
            .transpose()?;
        let directory = env::current_dir().context("the current directory no longer exists")?;
        let local = match (args.local, variable("MLOPS_LOCAL")) {
            (Some(local), _) => local,
            (None, Some(value)) => value != "0",
            // The project's own setting has the lowest precedence; any other setting is more
            // explicit.
            (None, None) => {
                args.profile.is_none()
                    && args.endpoint_url.is_none()
                    && variable("AWS_ENDPOINT_URL").is_none()
                    && suggestions::remembers_local(&directory)
            }
        };
        let home = variable("HOME").map(PathBuf::from);
        let docker = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|directory| directory.join("config.json"));
        let podman = variable("XDG_RUNTIME_DIR")
            .map(|directory| Path::new(&directory).join("containers/auth.json"));
        let registry_logins = variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let registry_logins = registry_logins.into_iter().chain(docker).chain(podman);
        let cache = variable("MLOPS_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| variable("XDG_CACHE_HOME").map(|dir| Path::new(&dir).join("mlops")))
            .or_else(|| home.map(|home| home.join(".cache/mlops")))
            .unwrap_or_else(|| directory.join(".mlops/cache"));
        Ok(Self {
            local,
            local_flag: args.local,
            profile: args.profile.clone().or_else(|| variable("AWS_PROFILE")),
            region: args
                .region
                .clone()
                .or_else(|| variable("AWS_REGION"))
                .or_else(|| variable("AWS_DEFAULT_REGION")),
            endpoint_url: args
                .endpoint_url
                .clone()
                .or_else(|| variable("AWS_ENDPOINT_URL")),
            format,
            quiet: args.quiet,
            verbose: args.verbose,
            yes: args.yes,
            color: match args.color {
                Color::Auto if variable("NO_COLOR").is_some() => Color::Never,
                color => color,
            },
            poll_interval: args.poll_interval.unwrap_or(if local {
                Duration::from_millis(200)
            } else {
                Duration::from_secs(5)
            }),
            timeout: args.timeout.unwrap_or(Duration::from_hours(6)),
            directory,
            cache,
            now,
            python: variable("MLOPS_PYTHON").map(PathBuf::from),
            spark_local_ip: variable("SPARK_LOCAL_IP").is_some(),
            spark_home: variable("SPARK_HOME").map(PathBuf::from),
            java_home: variable("JAVA_HOME").map(PathBuf::from),
            search_path: env::var_os("PATH")
                .map(|path| env::split_paths(&path).collect())
                .unwrap_or_default(),
            registry_logins: registry_logins.collect(),
        })
    }

    /// Returns whether commands use a cloud on this machine.
    pub fn is_local(&self) -> bool {
        let on_loopback =
            |endpoint: &String| url::Url::parse(endpoint).is_ok_and(|url| is_loopback(&url));
        self.local || self.endpoint_url.as_ref().is_some_and(on_loopback)
    }

    /// The file with the only certificates to trust, if configured.
    pub fn ca_bundle(&self) -> Option<CaBundle> {
        environment::ca_bundle_of(self.profile.as_deref())
    }

    /// The locations of registry logins.
    pub fn registry_credentials(&self) -> Credentials {
        Credentials {
            files: self.registry_logins.clone(),
            search_path: self.search_path.clone(),
        }
    }

    /// Finds a program on PATH.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let places = self
            .search_path
            .iter()
            .map(|directory| directory.join(name));
        places.into_iter().find(|program| program.is_file())
    }

    /// Returns the project around the current directory, if any.
    pub fn find_project(&self) -> Result<Option<Project>> {
        self.directory
            .ancestors()
            .find(|dir| dir.join(FILE).is_file())
            .map(Project::read)
            .transpose()
    }

    /// Returns the project around the current directory.
    pub fn project(&self) -> Result<Project> {
        self.find_project()?
            .ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    format!("no {FILE} in {} or above it", self.directory.display()),
                )
            })
            .hint("run `mlops init` to create a project here, or change to a project's directory")
    }

    /// Returns the state directory of the local cloud: `.mlops/local` in the project, or in the
    /// current directory outside of a project.
    pub fn local_state(&self) -> PathBuf {
        self.directory
            .ancestors()
            .find(|dir| dir.join(FILE).is_file())
            .unwrap_or(&self.directory)
            .join(".mlops/local")
    }
}

/// Returns the format that `MLOPS_OUTPUT` selects, or its invalid value.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the environment"
)]
fn format_variable() -> Result<Option<Format>, String> {
    match env::var("MLOPS_OUTPUT").unwrap_or_default().as_str() {
        "" => Ok(None),
        "human" => Ok(Some(Format::Human)),
        "json" => Ok(Some(Format::Json)),
        other => Err(other.to_owned()),
    }
}

/// Returns the format for errors of a command line that may be invalid: that of the last
/// `--output`, else that of `MLOPS_OUTPUT`.
pub fn error_format(words: impl IntoIterator<Item = std::ffi::OsString>) -> Format {
    let mut words = words.into_iter().filter_map(|word| word.into_string().ok());
    let mut found = None;
    while let Some(word) = words.next().filter(|word| word != "--") {
        let value = match word.as_str() {
            "--output" | "-o" => words.next(),
            _ => match (word.strip_prefix("--output="), word.strip_prefix('-')) {
                (Some(value), _) => Some(value.to_owned()),
                // One word may contain several short flags, such as `-qo json` or `-qojson`.
                (None, Some(flags)) => {
                    match flags.trim_start_matches(['q', 'v', 'y']).strip_prefix('o') {
                        Some("") => words.next(),
                        Some(value) => Some(value.trim_start_matches('=').to_owned()),
                        None => None,
                    }
                }
                _ => None,
            },
        };
        match value.as_deref() {
            Some("json") => found = Some(Format::Json),
            Some("human") => found = Some(Format::Human),
            _ => {}
        }
    }
    found
        .or(format_variable().ok().flatten())
        .unwrap_or_default()
}

/// Returns the directory for this user's secrets, outside of projects and caches:
/// `$XDG_STATE_HOME/mlops`, or `~/.local/state/mlops`. `None` without a home directory.
pub fn secret_directory() -> Option<PathBuf> {
    // The XDG specification declares relative paths invalid; one would also be inside the project.
    env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".local/state")))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("mlops"))
}

/// The address of the Lambda Runtime API: `HOST:PORT`.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the environment"
)]
pub fn lambda_runtime_api() -> Option<String> {
    env::var("AWS_LAMBDA_RUNTIME_API").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProjectFile, toml::de::Error> {
        toml::from_str(text)
    }

    const MINIMAL: &str =
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n";

    #[test]
    fn a_minimal_project_has_defaults() {
        let file = parse(MINIMAL).unwrap();
        assert_eq!(file.branches.develop.as_str(), "develop");
        assert_eq!(file.pipeline.definition, Path::new("pipeline.json"));
        assert_eq!(file.deploy.capture_percent, 100);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for bad in [
            "[deploy]\ncapture_percent = 101\n",
            "[deploy]\ninstance_count = 0\n",
            "[image]\ndirectory = \"/etc\"\n",
            "[monitor]\nbaseline = \"../elsewhere\"\n",
            "[image]\nbase = \"oci:../elsewhere\"\n",
        ] {
            let file = parse(&format!("{MINIMAL}{bad}")).unwrap();
            assert!(file.check().is_err(), "{bad}");
        }
        assert!(parse(MINIMAL).unwrap().check().is_ok());
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = parse(&format!("{MINIMAL}[deploy]\ninstance_typ = \"x\"\n")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("instance_typ") && text.contains("instance_type"),
            "{text}"
        );
    }

    /// Issue 8, 5.2.
    #[test]
    fn local_is_a_switch_or_a_table() {
        let local = |text: &str| parse(&format!("{MINIMAL}{text}")).map(|file| file.local.enabled);
        assert!(!local("").unwrap());
        assert!(local("local = true\n").unwrap());
        assert!(!local("local = false\n").unwrap());
        assert!(local("[local]\nenabled = true\nruntime = \"host\"\n").unwrap());
        assert!(!local("[local]\nruntime = \"host\"\n").unwrap());
        assert!(local("local = \"yes\"\n").is_err());
        let error = local("[local]\nruntim = \"host\"\n").unwrap_err();
        assert!(error.to_string().contains("runtime"), "{error}");

        // The output of `mlops config show` can be parsed again.
        let shown = toml::to_string(&parse(&format!("{MINIMAL}local = true\n")).unwrap()).unwrap();
        assert!(toml::from_str::<ProjectFile>(&shown).unwrap().local.enabled);
    }

    #[test]
    fn profile_and_endpoint_never_come_from_the_project() {
        assert!(parse(&format!("{MINIMAL}profile = \"x\"\n")).is_err());
        assert!(parse(&format!("{MINIMAL}endpoint_url = \"http://x\"\n")).is_err());
    }
}
