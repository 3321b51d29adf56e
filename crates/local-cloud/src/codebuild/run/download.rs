//! `DOWNLOAD_SOURCE`: sources, buildspec, environment variables, runtimes and the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::super::buildspec::{Buildspec, CommandPhase, MAX_BUILDSPEC};
use super::super::globs::Layout;
use super::super::log::BuildLog;
use super::super::records::PhaseContext;
use super::super::settings::is_inline;
use super::super::sources::{Fetch, Origin};
use super::super::{cache, runtimes};
use super::{Break, Run, read_text};
use crate::beneath::Directory;
use crate::clock;
use crate::runtime::{self, BuildSpec};
use crate::s3::objects;
use crate::sts::ServiceSession;

/// Name of the buildspec in the source, unless the project has another one.
const BUILDSPEC: &str = "buildspec.yml";

/// Maximum number of parameters of one request (`GetParameters`).
const PARAMETERS: usize = 10;

/// Maximum length of what a runtime prints about its version, in bytes.
const MAX_PRINTED: usize = 16 << 10;

/// What a build needs to run its commands.
pub(super) struct Prepared {
    pub(super) session: Arc<ServiceSession>,
    pub(super) log: BuildLog,
    /// Where the root is, and open since before any program runs.
    pub(super) root_path: PathBuf,
    pub(super) root: Arc<Directory>,
    pub(super) layout: Layout,
    pub(super) spec: Buildspec,
    /// Environment variables of the commands.
    pub(super) environment: BTreeMap<String, String>,
}

impl Prepared {
    pub(super) async fn new(
        run: &Run,
        session: &Arc<ServiceSession>,
        root_path: &Path,
    ) -> Result<Self, Break> {
        let logs = &run.record.build.logs;
        let place = logs.group_name.clone().zip(logs.stream_name.clone());
        let log = BuildLog::new(&run.cloud, session, place);
        for (_, value) in session.environment() {
            log.hide(&value);
        }
        let (seen, notes) = runtime::build_root(&run.cloud, root_path).await?;
        for note in notes {
            let now = jiff::Timestamp::now().as_millisecond();
            log.write(&[(now, format!("[mlops] {note}"))]);
        }
        let root = Directory::open(root_path, seen.clone()).map_err(crate::api::ApiError::from)?;
        Ok(Self {
            session: session.clone(),
            log,
            root_path: root_path.to_owned(),
            root: Arc::new(root),
            layout: Layout { root: seen },
            spec: Buildspec::default(),
            environment: BTreeMap::new(),
        })
    }

    /// Fetches everything, and prepares the environment.
    pub(super) async fn download(&mut self, run: &mut Run) -> Result<(), Break> {
        self.log.container("Waiting for DOWNLOAD_SOURCE");
        self.log.container("Phase is DOWNLOAD_SOURCE");
        let sources = sources(run)?;
        for source in &sources {
            self.fetch(run, source).await?;
        }
        self.log
            .container(&format!("CODEBUILD_SRC_DIR={}", self.source().display()));
        let text = self.buildspec(run).await?;
        let yaml = |message| Break::Failed(PhaseContext::new("YAML_FILE_ERROR", message));
        self.spec = Buildspec::parse(&text).map_err(yaml)?;
        self.log.container("Processing environment variables");
        self.variables(run, &sources).await?;
        for (name, version) in self.spec.runtimes.clone() {
            let wanted = self.expanded(&version);
            let command = runtimes::command(&name, &wanted).map_err(yaml)?;
            let text = self.printed(run, command).await?;
            let found = runtimes::selected(&name, &wanted, &text).map_err(yaml)?;
            self.log.container(&format!(
                "Selecting '{name}' runtime version '{version}': {found}"
            ));
        }
        let phases = CommandPhase::ALL.iter().filter_map(|phase| {
            let spec = self.spec.phases.get(phase)?;
            Some((phase.name(), spec.commands.len()))
        });
        let phases: Vec<_> = phases.collect();
        self.log
            .container(&format!("Phases found in YAML: {}", phases.len()));
        for (name, commands) in phases {
            let plural = if commands == 1 { "" } else { "s" };
            self.log
                .container(&format!(" {name}: {commands} command{plural}"));
        }
        self.restore_cache(run).await
    }

    /// The directory of the primary source as programs see it.
    pub(super) fn source(&self) -> PathBuf {
        self.layout.root.join(super::super::globs::SOURCE)
    }

    async fn fetch(&self, run: &mut Run, source: &Fetch) -> Result<(), Break> {
        if source.origin == Origin::Nothing {
            return Ok(());
        }
        let role = self.session.caller();
        let (cloud, interrupt) = (run.cloud.clone(), run.interrupt.clone());
        let fetch = source.run(&cloud, &role, &self.root_path, &interrupt);
        tokio::pin!(fetch);
        let resolved = tokio::select! {
            resolved = &mut fetch => resolved?,
            reason = run.halted() => {
                interrupt.set();
                // Nothing may use the directory when it is removed.
                let _ = fetch.await;
                return Err(reason);
            }
        };
        if source.identifier.is_none()
            && let Some(version) = resolved
        {
            run.record.build.resolved_source_version = Some(version.clone());
            run.progress
                .set(|build| build.resolved_source_version = Some(version.clone()))
                .await?;
        }
        Ok(())
    }

    /// The start of what a program prints, which runs like the commands of the build: the environment of the build,
    /// and so its source, can choose the program.
    async fn printed(&self, run: &mut Run, command: Vec<String>) -> Result<String, Break> {
        let text = Arc::new(Mutex::new(String::new()));
        let own = text.clone();
        let spec = BuildSpec {
            root: self.root_path.clone(),
            session: &self.session,
            command,
            environment: self.environment.clone(),
            directory: self.source(),
        };
        let launched = runtime::launch_build(&run.cloud, spec, move |lines| {
            let mut text = own.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, line) in lines {
                let left = MAX_PRINTED.saturating_sub(text.len());
                if left > 0 {
                    text.push_str(&line[..line.floor_char_boundary(left)]);
                    text.push('\n');
                }
            }
        });
        let running = launched.await?;
        let end = tokio::select! {
            _ = running.wait() => None,
            reason = run.halted() => Some(Err(reason)),
            () = clock::sleep(runtimes::PATIENCE) => Some(Ok(String::new())),
        };
        if let Some(end) = end {
            run.terminate(&running).await;
            return end;
        }
        let text = text.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(text.clone())
    }

    /// The text of the buildspec: inline, from S3, or from the source.
    async fn buildspec(&self, run: &mut Run) -> Result<String, Break> {
        let missing =
            |message: String| Break::Failed(PhaseContext::new("YAML_FILE_ERROR", message));
        let given = run
            .record
            .settings
            .source
            .buildspec
            .clone()
            .unwrap_or_default();
        if is_inline(&given) {
            return Ok(given);
        }
        if let Some(path) = given.strip_prefix("arn:aws:s3:::") {
            let (cloud, role) = (run.cloud.clone(), self.session.caller());
            let path = path.to_owned();
            return run
                .blocking(move |_| {
                    use std::io::Read;

                    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
                    let object = objects::head(&cloud, &role, bucket, key)?;
                    let mut bytes = Vec::new();
                    objects::open(&cloud, &role, &object)?
                        .take(MAX_BUILDSPEC as u64 + 1)
                        .read_to_end(&mut bytes)?;
                    Ok(String::from_utf8_lossy(&bytes).into_owned())
                })
                .await;
        }
        let name = if given.is_empty() {
            BUILDSPEC
        } else {
            given.as_str()
        };
        let place = self.layout.place(name);
        let shown = self.source().join(name);
        self.log
            .container(&format!("YAML location is {}", shown.display()));
        let absent = || {
            missing(format!(
                "stat {}: no such file or directory",
                shown.display()
            ))
        };
        let place = place.ok_or_else(absent)?;
        let text = read_text(&self.root, &place, MAX_BUILDSPEC as u64 + 1)?;
        text.ok_or_else(absent)
    }

    /// Sets the environment variables: those of the request and the project precede those of the buildspec.
    async fn variables(&mut self, run: &mut Run, sources: &[Fetch]) -> Result<(), Break> {
        let environment = &run.record.settings.environment;
        let own = |kind: &str| -> BTreeMap<String, String> {
            let all = environment.environment_variables.iter();
            all.filter(|variable| variable.kind == kind)
                .map(|variable| (variable.name.clone(), variable.value.clone()))
                .collect()
        };
        let (plain, stored) = (own("PLAINTEXT"), own("PARAMETER_STORE"));
        let mut parameters = self.spec.parameters.clone();
        parameters.retain(|name, _| !plain.contains_key(name));
        parameters.extend(stored);
        let values = self.parameters(run, &parameters).await?;
        self.environment = self.spec.variables.clone();
        self.environment.extend(values);
        self.environment.extend(plain);
        self.environment
            .extend(self.codebuild_variables(run, sources));
        Ok(())
    }

    /// Reads parameters from Parameter Store on behalf of the service role. Their values are hidden in the log.
    async fn parameters(
        &self,
        run: &Run,
        wanted: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Break> {
        let failed = |message: String| {
            Break::Failed(PhaseContext::new("Decrypted Variables Error", message))
        };
        let mut names: Vec<&str> = wanted.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            self.log
                .container("Decrypting parameter store environment variables");
        }
        let mut values = BTreeMap::new();
        for names in names.chunks(PARAMETERS) {
            let input = json!({"Names": names, "WithDecryption": true});
            let call = run.cloud.call("ssm", "GetParameters", input);
            let answer = self.session.caller().scope(call).await.map_err(|error| {
                if error.status >= 500 && error.code != "NotImplemented" {
                    return error.into();
                }
                failed(format!("{}: {}", error.code, error.message))
            })?;
            if let Some(name) = answer["InvalidParameters"][0].as_str() {
                return Err(failed(format!("parameter does not exist: {name}")));
            }
            for parameter in answer["Parameters"].as_array().into_iter().flatten() {
                // A parameter that was selected by version or label has a selector.
                let selector = parameter["Selector"].as_str().unwrap_or_default();
                let name = format!(
                    "{}{selector}",
                    parameter["Name"].as_str().unwrap_or_default()
                );
                let value = parameter["Value"].as_str().unwrap_or_default();
                self.log.hide(value);
                values.insert(name, value.to_owned());
            }
        }
        let mut found = BTreeMap::new();
        for (variable, name) in wanted {
            let value = values.get(name);
            let value = value.ok_or_else(|| failed(format!("parameter does not exist: {name}")))?;
            if value.contains('\0') {
                return Err(failed(format!("the value of {name} contains NUL")));
            }
            found.insert(variable.clone(), value.clone());
        }
        Ok(found)
    }

    /// The variables that CodeBuild sets (user guide, "Environment variables in build environments").
    fn codebuild_variables(&self, run: &Run, sources: &[Fetch]) -> BTreeMap<String, String> {
        let build = &run.record.build;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a time of the cloud's clock"
        )]
        let started = (build.start_time * 1000.0) as i64;
        let project = super::super::arn(&run.cloud, "project", &build.project_name);
        let mut all: BTreeMap<String, String> = [
            ("CODEBUILD_BUILD_ARN", build.arn.clone()),
            ("CODEBUILD_BUILD_ID", build.id.clone()),
            ("CODEBUILD_BUILD_IMAGE", build.environment.image.clone()),
            ("CODEBUILD_BUILD_NUMBER", build.build_number.to_string()),
            ("CODEBUILD_BUILD_SUCCEEDING", "1".to_owned()),
            ("CODEBUILD_INITIATOR", build.initiator.clone()),
            ("CODEBUILD_KMS_KEY_ID", build.encryption_key.clone()),
            ("CODEBUILD_PROJECT_ARN", project),
            ("CODEBUILD_SRC_DIR", self.source().display().to_string()),
            ("CODEBUILD_START_TIME", started.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut set = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), value.clone());
            }
        };
        set("CODEBUILD_LOG_PATH", build.logs.stream_name.as_ref());
        set(
            "CODEBUILD_RESOLVED_SOURCE_VERSION",
            build.resolved_source_version.as_ref(),
        );
        set("CODEBUILD_SOURCE_VERSION", build.source_version.as_ref());
        for source in sources {
            let suffix = match &source.identifier {
                None => String::new(),
                Some(identifier) => format!("_{identifier}"),
            };
            let directory = self
                .layout
                .root
                .join(&source.directory)
                .display()
                .to_string();
            set(&format!("CODEBUILD_SRC_DIR{suffix}"), Some(&directory));
            set(
                &format!("CODEBUILD_SOURCE_REPO_URL{suffix}"),
                source.url.as_ref(),
            );
            if source.identifier.is_some() {
                set(
                    &format!("CODEBUILD_SOURCE_VERSION{suffix}"),
                    source.version.as_ref(),
                );
            }
        }
        all
    }

    /// A version that is an environment variable (`$NAME`, `${NAME}`).
    fn expanded(&self, text: &str) -> String {
        let name = text
            .strip_prefix('$')
            .map(|name| name.trim_matches(['{', '}']));
        name.and_then(|name| self.environment.get(name).cloned())
            .unwrap_or_else(|| text.to_owned())
    }

    async fn restore_cache(&self, run: &mut Run) -> Result<(), Break> {
        if !has_cache(run) || self.spec.cache_paths.is_empty() {
            return Ok(());
        }
        let (cloud, root) = (run.cloud.clone(), self.root.clone());
        let id = run.record.cache.clone();
        let restored = run
            .blocking(move |interrupt| Ok(cache::restore(&cloud, &id, &root, &interrupt)))
            .await?;
        match restored {
            Ok(true) => self.log.container("Restored the local cache"),
            Ok(false) => self.log.container("There is no local cache yet"),
            // As on AWS, a build runs without its cache.
            Err(error) => self.log.container(&format!(
                "The local cache cannot be used: {}",
                error.message
            )),
        }
        Ok(())
    }
}

/// True if the paths of the buildspec are cached.
pub(super) fn has_cache(run: &Run) -> bool {
    let cache = &run.record.settings.cache;
    cache.kind == "LOCAL" && cache.modes.iter().any(|mode| mode == "LOCAL_CUSTOM_CACHE")
}

/// The sources of a build; the primary one is the first.
fn sources(run: &Run) -> Result<Vec<Fetch>, Break> {
    let settings = &run.record.settings;
    if let Some(part) = &run.record.pipeline {
        let inputs = part.inputs.iter().enumerate();
        return Ok(inputs
            .map(|(number, input)| Fetch::of_pipeline(input, number == 0))
            .collect());
    }
    let mut all = vec![Fetch::of(
        &settings.source,
        settings.source_version.as_deref(),
        true,
    )?];
    for source in &settings.secondary_sources {
        let identifier = source.source_identifier.as_deref().unwrap_or_default();
        let versions = &settings.secondary_source_versions;
        let version = versions
            .iter()
            .find(|version| version.source_identifier == identifier)
            .map(|version| version.source_version.as_str());
        all.push(Fetch::of(source, version, false)?);
    }
    Ok(all)
}
