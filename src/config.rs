//! The configuration of a command: `mlops.toml` < environment < flags.
//!
//! The only module that reads the environment. `mlops.toml` describes the project; it never
//! contains a profile, an endpoint or credentials, so a cloned repository cannot redirect a
//! command. docs/config.md lists every key and variable.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::network::{CaBundle, is_loopback};
use mlops_oci::registry::Credentials;

use crate::output::Format;

use origin::{Chooser, variable};

mod deploy;
mod environment;
#[cfg(feature = "local")]
mod local_host;
mod origin;
mod problem;
mod project;
mod sections;
pub mod shell;
mod suggestions;

pub use deploy::{
    AlarmSection, AutoscalingSection, Better, ChallengerSection, DeploySection, ExpectSection,
    StepSize, Strategy,
};
pub use environment::{
    VARIABLES, analyzer_environment, ca_bundle, endpoint_overrides, installer_environment,
    no_proxy, server_environment,
};
pub use origin::{Origin, Origins};
pub use problem::toml_problem;
pub use project::{Project, ProjectFile};
pub use sections::{
    ArchitectureSection, Branches, Builder, CodeProvider, CodeSource, DataSection, ImageSection,
    LocalSection, ModelQualitySection, MonitorSection, NetworkAccess, PipelineSection, ProblemType,
    Runtime, ValidateSection,
};

#[cfg(feature = "local")]
pub use local_host::LOCAL_HOST;

/// The project file's name.
pub const FILE: &str = "mlops.toml";

/// The account of every local cloud; AWS has no such account.
pub const LOCAL_ACCOUNT: &str = "000000000000";

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
    /// The build of CodeBuild in which the command runs.
    pub build: Option<String>,
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
    /// The origin of each setting.
    pub origins: Origins,
}

impl Config {
    /// Merges flags over the environment over the defaults.
    pub fn load(args: &GlobalArgs) -> Result<Self> {
        let mut choose = Chooser::default();
        let format = match (
            choose.flag("output", ("--output", args.output)),
            format_variable(),
        ) {
            (Some(format), _) => format,
            (None, Ok(None)) => Format::default(),
            (None, Ok(Some(format))) => {
                let name = "MLOPS_OUTPUT";
                choose.record("output", Origin::Environment { name });
                format
            }
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
        let local = choose_local(args, &directory, &mut choose);
        let home = variable("HOME").map(PathBuf::from);
        let docker = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|directory| directory.join("config.json"));
        let podman = variable("XDG_RUNTIME_DIR")
            .map(|directory| Path::new(&directory).join("containers/auth.json"));
        let registry_logins = variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let registry_logins = registry_logins.into_iter().chain(docker).chain(podman);
        let cache = choose
            .path("cache", "MLOPS_CACHE_DIR")
            .or_else(|| Some(choose.path("cache", "XDG_CACHE_HOME")?.join("mlops")))
            .or_else(|| home.map(|home| home.join(".cache/mlops")))
            .unwrap_or_else(|| directory.join(".mlops/cache"));
        let profile = ("--profile", args.profile.as_ref());
        let region = ("--region", args.region.as_ref());
        let endpoint = ("--endpoint-url", args.endpoint_url.as_ref());
        let endpoint_url = choose.text("endpoint_url", endpoint, &["AWS_ENDPOINT_URL"]);
        let is_near = local || endpoint_url.as_deref().is_some_and(is_on_loopback);
        Ok(Self {
            local,
            local_flag: args.local,
            profile: choose.text("profile", profile, &["AWS_PROFILE"]),
            region: choose.text("region", region, &["AWS_REGION", "AWS_DEFAULT_REGION"]),
            endpoint_url,
            format,
            quiet: args.quiet,
            verbose: args.verbose,
            yes: args.yes,
            color: choose_color(args.color, &mut choose),
            poll_interval: choose
                .flag("poll_interval", ("--poll-interval", args.poll_interval))
                .unwrap_or(if is_near {
                    Duration::from_millis(200)
                } else {
                    Duration::from_secs(5)
                }),
            timeout: choose
                .flag("timeout", ("--timeout", args.timeout))
                .unwrap_or(Duration::from_hours(6)),
            directory,
            cache,
            now,
            build: variable("CODEBUILD_BUILD_ID"),
            python: choose.path("python", "MLOPS_PYTHON"),
            spark_local_ip: variable("SPARK_LOCAL_IP").is_some(),
            spark_home: choose.path("spark_home", "SPARK_HOME"),
            java_home: choose.path("java_home", "JAVA_HOME"),
            search_path: env::var_os("PATH")
                .map(|path| env::split_paths(&path).collect())
                .unwrap_or_default(),
            registry_logins: registry_logins.collect(),
            origins: choose.into_origins(),
        })
    }

    /// Returns whether commands use a cloud on this machine.
    pub fn is_local(&self) -> bool {
        self.local || self.endpoint_url.as_deref().is_some_and(is_on_loopback)
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

/// Returns whether to use the local cloud. The project's own setting has the lowest precedence; any
/// other setting is more explicit.
fn choose_local(args: &GlobalArgs, directory: &Path, choose: &mut Chooser) -> bool {
    const NAME: &str = "local";

    if let Some(local) = choose.flag(NAME, ("--local", args.local)) {
        return local;
    }
    if let Some(value) = choose.text(NAME, ("", None), &["MLOPS_LOCAL"]) {
        return value != "0";
    }
    let Some(line) = suggestions::line_of_local(directory) else {
        return false;
    };
    let overriding = [
        ("--profile", args.profile.is_some()),
        ("--endpoint-url", args.endpoint_url.is_some()),
    ];
    let origin = if let Some((name, _)) = overriding.into_iter().find(|(_, given)| *given) {
        Origin::Flag { name }
    } else if variable("AWS_ENDPOINT_URL").is_some() {
        let name = "AWS_ENDPOINT_URL";
        Origin::Environment { name }
    } else {
        choose.record(NAME, Origin::File { line });
        return true;
    };
    choose.record(NAME, origin);
    false
}

/// `NO_COLOR` changes the default only.
fn choose_color(flag: Color, choose: &mut Chooser) -> Color {
    const NAME: &str = "color";

    if flag != Color::Auto {
        choose.record(NAME, Origin::Flag { name: "--color" });
        return flag;
    }
    match choose.text(NAME, ("", None), &["NO_COLOR"]) {
        Some(_) => Color::Never,
        None => Color::Auto,
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

fn is_on_loopback(endpoint: &str) -> bool {
    url::Url::parse(endpoint).is_ok_and(|url| is_loopback(&url))
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

/// The handler of the Lambda function that this program is, as its configuration names it.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the environment"
)]
pub fn lambda_handler() -> Option<String> {
    env::var("_HANDLER").ok()
}

/// The variables of the retrain gate (retraining.yaml), by name.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the environment"
)]
pub fn gate_variable(name: GateVariable) -> Option<String> {
    env::var(name.as_str()).ok()
}

/// A variable of the retrain gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateVariable {
    /// The project.
    Project,
    /// The artifact bucket.
    Bucket,
    /// The ML pipeline.
    Pipeline,
    /// Hours between two starts.
    CoolDownHours,
    /// Maximum number of starts in 24 hours.
    MaximumPerDay,
    /// Whether alarms request runs.
    OnDrift,
    /// Whether new versions of the data set request runs.
    OnData,
}

impl GateVariable {
    /// The variable's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "MLOPS_PROJECT",
            Self::Bucket => "MLOPS_BUCKET",
            Self::Pipeline => "MLOPS_PIPELINE",
            Self::CoolDownHours => "MLOPS_COOL_DOWN_HOURS",
            Self::MaximumPerDay => "MLOPS_MAXIMUM_PER_DAY",
            Self::OnDrift => "MLOPS_ON_DRIFT",
            Self::OnData => "MLOPS_ON_DATA",
        }
    }
}

/// The address of the Lambda Runtime API: `HOST:PORT`.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the environment"
)]
pub fn lambda_runtime_api() -> Option<String> {
    env::var("AWS_LAMBDA_RUNTIME_API").ok()
}
