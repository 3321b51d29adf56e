//! Buildspecs, version 0.2 (`CodeBuild` user guide, "Build specification reference"). Pure: nothing is read or run.
//!
//! What the local cloud cannot do is refused by name when the buildspec is read, so that no build runs half of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

mod sections;
mod yaml;

use yaml::refused;

/// Maximum size of a buildspec, in bytes.
pub(super) const MAX_BUILDSPEC: usize = 1 << 20;

/// Maximum number of report groups of a project, as on AWS.
const MAX_REPORT_GROUPS: usize = 5;

/// Maximum number of retries of a phase, as on AWS.
const MAX_RETRIES: u32 = 100;

/// Retries of `RETRY` without a number.
const RETRIES: u32 = 3;

/// The shell that runs the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shell {
    /// `/bin/sh`
    #[default]
    Sh,
    /// `bash`
    Bash,
}

/// A phase with commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CommandPhase {
    Install,
    PreBuild,
    Build,
    PostBuild,
}

impl CommandPhase {
    /// All phases, in order.
    pub(super) const ALL: [Self; 4] = [Self::Install, Self::PreBuild, Self::Build, Self::PostBuild];

    /// Its name in a buildspec.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::PreBuild => "pre_build",
            Self::Build => "build",
            Self::PostBuild => "post_build",
        }
    }

    /// Its name in a build (`phaseType`).
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Install => "INSTALL",
            Self::PreBuild => "PRE_BUILD",
            Self::Build => "BUILD",
            Self::PostBuild => "POST_BUILD",
        }
    }

    /// The phase with this name in a build.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// What happens after a phase has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum OnFailure {
    /// `POST_BUILD` runs after `BUILD`; after other phases, the build ends.
    #[default]
    Default,
    /// The build ends.
    Abort,
    /// The next phase begins.
    Continue,
    /// The phase runs again, up to this many times.
    Retry(u32),
}

/// The commands of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PhaseSpec {
    pub(super) commands: Vec<String>,
    pub(super) finally: Vec<String>,
    pub(super) on_failure: OnFailure,
}

/// Files of a build output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ArtifactSpec {
    pub(super) files: Vec<String>,
    /// A name in the language of the shell.
    pub(super) name: Option<String>,
    pub(super) discard_paths: bool,
    pub(super) base_directory: Option<String>,
    pub(super) exclude_paths: Vec<String>,
    pub(super) enable_symlinks: bool,
    pub(super) s3_prefix: Option<String>,
}

/// Test results of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReportSpec {
    /// The name or the ARN of a report group.
    pub(super) group: String,
    pub(super) files: Vec<String>,
    pub(super) base_directory: Option<String>,
    pub(super) discard_paths: bool,
}

/// A buildspec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Buildspec {
    pub(super) shell: Shell,
    pub(super) variables: BTreeMap<String, String>,
    /// Variables with the names of their parameters in Parameter Store.
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) exported: Vec<String>,
    pub(super) phases: BTreeMap<CommandPhase, PhaseSpec>,
    /// Runtimes and their versions.
    pub(super) runtimes: Vec<(String, String)>,
    pub(super) reports: Vec<ReportSpec>,
    pub(super) artifacts: Option<ArtifactSpec>,
    pub(super) secondary_artifacts: BTreeMap<String, ArtifactSpec>,
    pub(super) cache_paths: Vec<String>,
}

impl Buildspec {
    /// Parses a buildspec.
    ///
    /// # Errors
    /// The message of the phase context `YAML_FILE_ERROR`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BUILDSPEC {
            return Err(format!("a buildspec has at most {MAX_BUILDSPEC} bytes"));
        }
        let root = yaml::parse(text)?;
        let root = mapping(&root, "the buildspec")?;
        only(
            root,
            &[
                "version",
                "run-as",
                "env",
                "proxy",
                "batch",
                "phases",
                "reports",
                "artifacts",
                "cache",
            ],
            "the buildspec",
        )?;
        match scalar(root, "version")? {
            Some("0.2") => {}
            Some("0.1") => return Err(refused("version 0.1, with a shell for each command,")),
            Some(other) => return Err(format!("invalid buildspec version {other}: use 0.2")),
            None => return Err("the buildspec has no version: use 0.2".to_owned()),
        }
        for section in ["run-as", "batch", "proxy"] {
            if root.contains_key(section) {
                return Err(refused(section));
            }
        }
        let mut spec = Self::default();
        if let Some(env) = section(root, "env")? {
            spec.read_env(env)?;
        }
        let phases = section(root, "phases")?.ok_or("the buildspec has no phases")?;
        spec.read_phases(phases)?;
        if let Some(reports) = section(root, "reports")? {
            spec.reports = sections::reports(reports)?;
        }
        if let Some(artifacts) = section(root, "artifacts")? {
            let (primary, secondary) = sections::artifacts(artifacts)?;
            (spec.artifacts, spec.secondary_artifacts) = (Some(primary), secondary);
        }
        if let Some(cache) = section(root, "cache")? {
            only(cache, &["paths", "key", "fallback-keys", "action"], "cache")?;
            for key in ["key", "fallback-keys", "action"] {
                if cache.contains_key(key) {
                    return Err(refused(&format!("cache/{key}")));
                }
            }
            spec.cache_paths = list(cache, "paths", "cache")?;
        }
        Ok(spec)
    }

    fn read_env(&mut self, env: &Map<String, Value>) -> Result<(), String> {
        let known = [
            "shell",
            "variables",
            "parameter-store",
            "exported-variables",
            "secrets-manager",
            "git-credential-helper",
        ];
        only(env, &known, "env")?;
        self.shell = match scalar(env, "shell")? {
            None | Some("/bin/sh" | "sh") => Shell::Sh,
            Some("bash" | "/bin/bash") => Shell::Bash,
            Some(other) => return Err(refused(&format!("the shell {other}"))),
        };
        if section(env, "secrets-manager")?.is_some_and(|secrets| !secrets.is_empty()) {
            return Err(refused("env/secrets-manager"));
        }
        if flag(env, "git-credential-helper")? {
            return Err(refused("env/git-credential-helper"));
        }
        self.variables = texts(env, "variables")?;
        self.parameters = texts(env, "parameter-store")?;
        self.exported = list(env, "exported-variables", "env")?;
        let names = self.variables.keys().chain(self.parameters.keys());
        for name in names.chain(&self.exported) {
            check_variable(name)?;
        }
        if let Some(name) = self.exported.iter().find(|name| name.starts_with("AWS_")) {
            return Err(format!(
                "{name} cannot be exported: its name starts with AWS_"
            ));
        }
        Ok(())
    }

    fn read_phases(&mut self, phases: &Map<String, Value>) -> Result<(), String> {
        for (name, phase) in phases {
            let found = CommandPhase::ALL
                .into_iter()
                .find(|known| known.key() == name);
            let found = found.ok_or_else(|| {
                format!(
                    "Invalid buildspec phase name found: {name}. Expecting: \
                     BUILD,INSTALL,POST_BUILD,PRE_BUILD"
                )
            })?;
            if phase.is_null() {
                continue;
            }
            let phase = mapping(phase, &format!("phases/{name}"))?;
            let place = format!("phases/{name}");
            let mut known = vec!["run-as", "on-failure", "commands", "finally"];
            if found == CommandPhase::Install {
                known.push("runtime-versions");
            }
            only(phase, &known, &place)?;
            if phase.contains_key("run-as") {
                return Err(refused(&format!("{place}/run-as")));
            }
            if let Some(runtimes) = section(phase, "runtime-versions")? {
                for runtime in runtimes.keys() {
                    let version = scalar(runtimes, runtime)?.unwrap_or("latest");
                    self.runtimes.push((runtime.clone(), version.to_owned()));
                }
            }
            let spec = PhaseSpec {
                commands: commands(phase, "commands")?,
                finally: commands(phase, "finally")?,
                on_failure: on_failure(scalar(phase, "on-failure")?, &place)?,
            };
            self.phases.insert(found, spec);
        }
        Ok(())
    }
}

/// Fails for a name that is not that of a variable, or that is reserved.
pub(super) fn check_variable(name: &str) -> Result<(), String> {
    let mut signs = name.chars();
    let begins = signs
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !begins || !signs.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "{name:?} is not the name of an environment variable"
        ));
    }
    // The scripts that run the commands have variables with the second prefix.
    for prefix in ["CODEBUILD_", "_codebuild_"] {
        if name.starts_with(prefix) {
            return Err(format!(
                "{name} cannot be set: names that start with {prefix} are reserved"
            ));
        }
    }
    Ok(())
}

fn on_failure(text: Option<&str>, place: &str) -> Result<OnFailure, String> {
    let Some(text) = text else {
        return Ok(OnFailure::Default);
    };
    match text {
        "ABORT" => return Ok(OnFailure::Abort),
        "CONTINUE" => return Ok(OnFailure::Continue),
        "RETRY" => return Ok(OnFailure::Retry(RETRIES)),
        _ => {}
    }
    let Some(rest) = text.strip_prefix("RETRY-") else {
        return Err(format!(
            "{place}/on-failure is {text}: use ABORT, CONTINUE, RETRY or RETRY-COUNT"
        ));
    };
    match rest.parse::<u32>() {
        Ok(count) if count <= MAX_RETRIES => Ok(OnFailure::Retry(count)),
        Ok(_) => Err(format!(
            "{place}/on-failure retries at most {MAX_RETRIES} times"
        )),
        Err(_) => Err(refused("on-failure: RETRY with a regular expression")),
    }
}

/// The commands of a phase: text, or text in several lines.
fn commands(phase: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let items = match phase.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        // `commands: echo one` is a list of one command.
        Some(Value::String(text)) => return Ok(vec![text.clone()]),
        Some(Value::Array(items)) => items,
        Some(Value::Object(_)) => return Err(format!("{name} must be a list, and has keys")),
        Some(_) => return Err(format!("{name} must be a list")),
    };
    let text = |(index, item): (usize, &Value)| match item {
        Value::String(text) if text.contains('\0') => Err(format!("{name}[{index}] contains NUL")),
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        _ => Err(format!(
            "Expected Commands[{index}] to be of string type: found subkeys instead; enclose a command with a \
             colon in quotation marks"
        )),
    };
    items.iter().enumerate().map(text).collect()
}

fn mapping<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("{place} must be a mapping"))
}

fn section<'a>(
    of: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, String> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => mapping(value, name).map(Some),
    }
}

fn only(of: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), String> {
    match of.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!(
            "unknown key {name:?} in {place}; its keys are {}",
            known.join(", ")
        )),
        None => Ok(()),
    }
}

fn scalar<'a>(of: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.contains('\0') => Err(format!("{name} contains NUL")),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a scalar")),
    }
}

fn flag(of: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match scalar(of, name)? {
        None => Ok(false),
        Some(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => Ok(true),
            "no" | "false" | "off" => Ok(false),
            _ => Err(format!("{name} is {text}: use yes or no")),
        },
    }
}

/// A list of scalars, which may be absent.
fn list(of: &Map<String, Value>, name: &str, place: &str) -> Result<Vec<String>, String> {
    let items = match of.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![text.clone()]),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(format!("{place}/{name} must be a list")),
    };
    let text = |item: &Value| {
        let text = item.as_str().filter(|text| !text.contains('\0'));
        text.map(str::to_owned)
            .ok_or_else(|| format!("{place}/{name} must be a list of scalars"))
    };
    items.iter().map(text).collect()
}

/// A mapping of scalars, which may be absent.
fn texts(of: &Map<String, Value>, name: &str) -> Result<BTreeMap<String, String>, String> {
    let Some(found) = section(of, name)? else {
        return Ok(BTreeMap::new());
    };
    let text = |key: &String| {
        let text = scalar(found, key)?.unwrap_or_default();
        Ok((key.clone(), text.to_owned()))
    };
    found.keys().map(text).collect()
}

#[cfg(test)]
mod tests;
