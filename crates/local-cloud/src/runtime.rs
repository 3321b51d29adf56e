//! What runs the jobs: the image's program as a process of this machine (the `host` runtime).
//!
//! ```text
//! prepare: layers ── image ──> <state>/images/<digest>/opt    requirements.txt ── venv ──> <cache>/venvs/<hash>
//!          (an image that carries its Python packages needs no requirements.txt: packages)
//! launch:  process (a thread of the server) ── spawns ──> `mlops job-process SPEC` = enter
//!          enter: namespaces, private /opt, own /proc, parent-death signal ── exec ──> the program
//!          process: its output, line by line ──> CloudWatch Logs
//! ```
//!
//! Where the kernel allows a mount namespace, the program finds its files under /opt/ml and
//! /opt/program as in SageMaker. Elsewhere `SAGEMAKER_BASE_DIR` names the job's directory, and a
//! program that spells /opt/ml and never `SAGEMAKER_BASE_DIR` is refused by name.

use crate::host::Host;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::admission::Credentials;
use super::api::{ApiError, ApiResult};
use super::beneath::Directory;
use super::{Cloud, beneath, unpack};

mod enter;
mod function;
mod image;
mod packages;
mod process;
mod venv;

pub(super) use enter::exec;
pub(crate) use function::{Function, Program, TASK_ROOT, launch_function};
pub(crate) use process::Running;

use enter::{IsolationLevel, Spec, View};
use packages::Packages;

/// The search path of an image that sets none.
const IMAGE_PATH: &str =
    "/opt/program:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of a program is searched for the paths that it uses, in bytes; larger ones are
/// compiled, and spell them in other ways.
const LARGEST_SCRIPT: u64 = 16 << 20;

/// Where a job's files lie in the container.
pub(crate) const MOUNT: &str = "/opt/ml";

/// An image that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Prepared(Arc<Ready>);

#[derive(Debug)]
struct Ready {
    uri: String,
    /// What the image has under /opt.
    opt: PathBuf,
    venv: venv::Venv,
    packages: Packages,
    config: Value,
    notes: Vec<String>,
}

/// A process to run from an image.
#[derive(Debug)]
pub(crate) struct Job {
    /// The image.
    pub(crate) prepared: Prepared,
    /// The directory that becomes /opt/ml; a directory beside it holds HOME and TMPDIR.
    pub(crate) base_dir: PathBuf,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Its environment, over the image's.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where its output goes.
    pub(crate) log_group: String,
    /// The stream in that group.
    pub(crate) log_stream: String,
}

/// Whether this kernel lets a process have a mount namespace of its own.
#[derive(Debug, Clone)]
enum Isolation {
    /// The program sees a private /opt.
    Namespace(IsolationLevel),
    /// It does not, for this reason.
    Directory(String),
}

impl Prepared {
    /// The words of `Entrypoint` or `Cmd` of the image.
    pub(crate) fn words(&self, member: &str) -> Vec<String> {
        serde_json::from_value(self.section()[member].clone()).unwrap_or_default()
    }

    /// The image's configuration section (OCI: `config.config`).
    fn section(&self) -> &Value {
        self.0.config.get("config").unwrap_or(&self.0.config)
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let pairs: Vec<String> =
            serde_json::from_value(self.section()["Env"].clone()).unwrap_or_default();
        pairs
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Removes what a server that was killed left half unpacked, and what could not be removed before.
/// Nothing of it prevents a start.
pub(crate) fn recover(cloud: &Cloud) {
    let state = cloud.directory();
    let images = std::fs::read_dir(state.join("images"));
    for entry in images.into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(unpack::UNFINISHED.as_bytes())
        {
            beneath::discard(state, &entry.path());
        }
    }
    beneath::discard(state, &state.join(beneath::UNREMOVED));
}

/// Makes an image ready to run: its files unpacked, its Python dependencies installed. Both are
/// kept, so that the second call takes milliseconds.
pub(crate) async fn prepare(cloud: &Cloud, image_uri: &str) -> ApiResult<Prepared> {
    let own = super::ecr::analyzer::stand_in(cloud, image_uri).await?;
    let resolve = || super::ecr::images::resolve(cloud, own.as_deref().unwrap_or(image_uri));
    let mut found = resolve()?;
    // The layers can be read although the image is deleted meanwhile.
    let is_leased = |layer: &super::ecr::images::Layer| {
        let hex = layer.digest.trim_start_matches("sha256:");
        cloud.blobs().touch(hex)
    };
    if !found.layers.iter().all(is_leased) {
        found = resolve()?;
    }
    let named: Vec<_> = found
        .layers
        .iter()
        .map(|layer| {
            let hex = layer.digest.trim_start_matches("sha256:").to_owned();
            (cloud.blobs().path(&hex), hex, layer.media_type.clone())
        })
        .collect();
    let name = found.digest.replace(':', "-");
    let directory = cloud.directory().join("images").join(name);
    let blobs = cloud.blobs().clone();
    let unpack = move || {
        if !directory.is_dir() {
            for (_, hex, _) in &named {
                super::ecr::blobs::require_sound(&blobs, hex)?;
            }
        }
        let layers: Vec<_> = named
            .into_iter()
            .map(|(path, _, media_type)| (path, media_type))
            .collect();
        image::unpack(&directory, &layers)
    };
    let (opt, mut notes) = tokio::task::spawn_blocking(unpack)
        .await
        .map_err(ApiError::internal)??;
    if let Some(own) = own {
        notes.push(format!(
            "{image_uri} is AWS's analyzer; this job runs the analyzer of mlops, {own}"
        ));
    }
    let settings = cloud.settings();
    let (version, _) = venv::identify(&settings.python).await?;
    let packages = Packages::of(&found.config, &opt, &version);
    let requirements = match &packages {
        Packages::Carried => None,
        Packages::Foreign(why) => {
            notes.push(why.clone());
            packages::requirements(&opt)?
        }
        Packages::Nothing => packages::requirements(&opt)?,
    };
    let venv = venv::prepare(settings, requirements.as_deref()).await?;
    if let Some(took) = venv.made_in {
        notes.push(format!(
            "the virtual environment was made in {:.1} s and is kept in {}",
            took.as_secs_f64(),
            venv.directory.display()
        ));
    }
    Ok(Prepared(Arc::new(Ready {
        uri: image_uri.to_owned(),
        opt,
        venv,
        packages,
        config: found.config,
        notes,
    })))
}

/// Starts a job's process.
pub(crate) async fn launch(cloud: &Cloud, job: Job) -> ApiResult<Running> {
    start(cloud, job, true).await
}

/// Starts a job's process where no network can be reached (`EnableNetworkIsolation`).
pub(crate) async fn launch_without_network(cloud: &Cloud, job: Job) -> ApiResult<Running> {
    start(cloud, job, false).await
}

async fn start(cloud: &Cloud, job: Job, network: bool) -> ApiResult<Running> {
    let isolation = process::isolation(cloud).await?;
    let ready = &job.prepared.0;
    let program_directory = match &isolation {
        Isolation::Namespace(_) => PathBuf::from("/opt"),
        Isolation::Directory(reason) if !network => {
            return Err(ApiError::not_implemented(format_args!(
                "network isolation on this machine: {reason}"
            )));
        }
        Isolation::Directory(reason) => {
            refuse_literal_mount(&ready.opt, &job.command, reason)?;
            ready.opt.clone()
        }
    };
    let scratch = process::scratch(&job.base_dir)?;
    let mut environment = job.prepared.environment();
    let path = environment.get("PATH").map_or(IMAGE_PATH, String::as_str);
    let path = ready.packages.search_path(path, &program_directory);
    if let Some(imports) = environment.remove("PYTHONPATH") {
        let imports = ready.packages.search_path(&imports, &program_directory);
        if !imports.is_empty() {
            environment.insert("PYTHONPATH".to_owned(), imports.join(":"));
        }
    }
    let command = placed(job.command, &program_directory);
    let path: Vec<String> = std::iter::once(ready.venv.bin().display().to_string())
        .chain(path)
        .collect();
    environment
        .entry("PYTHONUNBUFFERED".to_owned())
        .or_insert_with(|| "1".to_owned());
    environment.extend(job.environment);
    environment.insert("PATH".to_owned(), path.join(":"));
    environment.extend(cloud_environment(cloud, &scratch));
    if matches!(isolation, Isolation::Directory(_)) {
        environment.insert(
            "SAGEMAKER_BASE_DIR".to_owned(),
            job.base_dir.display().to_string(),
        );
    }
    let working = match job.prepared.section()["WorkingDir"].as_str() {
        Some(directory) => match Path::new(directory).strip_prefix("/opt") {
            Ok(rest) => program_directory.join(rest),
            Err(_) => PathBuf::from("/"),
        },
        None => PathBuf::from("/"),
    };
    let mut notes = vec![match &isolation {
        Isolation::Namespace(_) => format!(
            "host runtime: a process of this machine with a private {MOUNT}, Python {}",
            ready.venv.version
        ),
        Isolation::Directory(reason) => format!(
            "host runtime: a process of this machine, SAGEMAKER_BASE_DIR={} instead of {MOUNT} ({reason}), Python {}",
            job.base_dir.display(),
            ready.venv.version
        ),
    }];
    let level = match isolation {
        Isolation::Namespace(level) => level,
        Isolation::Directory(_) => IsolationLevel::Nothing,
    };
    notes.extend(level.gap().map(str::to_owned));
    notes.extend(ready.notes.iter().cloned());
    say_what_runs(cloud, &job.log_group, &job.log_stream, &notes, &ready.uri)?;
    let spec = Spec {
        level,
        network,
        view: View::Job {
            base_dir: job.base_dir,
            opt: ready.opt.clone(),
        },
        scratch: scratch.clone(),
        hide: user_credentials(&cloud.settings().host),
        command,
        environment,
        working_directory: working,
        parent: std::process::id(),
    };
    process::spawn(&spec, process::to_log(cloud, job.log_group, job.log_stream)).await
}

/// A command whose program is named by its place in the image (`/opt/…`), where the image's /opt
/// lies elsewhere.
fn placed(mut command: Vec<String>, opt: &Path) -> Vec<String> {
    if let Some(program) = command.first_mut()
        && let Ok(rest) = Path::new(program.as_str()).strip_prefix("/opt")
    {
        *program = opt.join(rest).display().to_string();
    }
    command
}

/// The first lines of a job's log say what runs it.
fn say_what_runs(
    cloud: &Cloud,
    group: &str,
    stream: &str,
    notes: &[String],
    uri: &str,
) -> ApiResult<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    let lines: Vec<(i64, String)> = std::iter::once(format!("image {uri}"))
        .chain(notes.iter().cloned())
        .map(|note| (now, format!("[mlops] {note}")))
        .collect();
    super::logs::append(cloud, group, stream, &lines)
}

/// What every process gets: this cloud's endpoint, credentials that are worth nothing anywhere
/// else, and a HOME of its own.
fn cloud_environment(cloud: &Cloud, scratch: &Path) -> BTreeMap<String, String> {
    let (access_key, secret_key) = match cloud.credentials() {
        Credentials::Any => ("local", "local"),
        Credentials::Required {
            access_key,
            secret_key,
        } => (access_key.as_str(), secret_key.as_str()),
    };
    let text = |path: PathBuf| path.display().to_string();
    [
        ("AWS_ENDPOINT_URL", cloud.endpoint().to_owned()),
        ("AWS_ACCESS_KEY_ID", access_key.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret_key.to_owned()),
        ("AWS_REGION", cloud.region().to_owned()),
        ("AWS_DEFAULT_REGION", cloud.region().to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("HOME", text(scratch.join("home"))),
        ("TMPDIR", text(scratch.join("tmp"))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The directories in which the user's credentials lie, by HOME and by the password database.
fn user_credentials(host: &Host) -> Vec<PathBuf> {
    let listed = nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map(|user| user.dir);
    let mut found: Vec<PathBuf> = [(host.home)(), listed]
        .into_iter()
        .flatten()
        .map(|home| home.join(".aws"))
        // With this key a job could make a state directory that is taken for the user's own.
        .chain((host.secrets)())
        .filter(|directory| directory.is_dir())
        .collect();
    found.dedup();
    found
}

/// Without a mount namespace there is no /opt/ml. A program that spells it, in files that never
/// mention `SAGEMAKER_BASE_DIR`, would read and write the wrong place.
fn refuse_literal_mount(opt: &Path, command: &[String], reason: &str) -> ApiResult<()> {
    let Some(program) = command.first() else {
        return Ok(());
    };
    let Some(directory) = Directory::open(opt, "/opt")?.subdirectory("program".as_ref())? else {
        return Ok(());
    };
    // Through no link: an image's could lead to a device that never ends.
    let has = |name: &OsStr, text: &str| {
        let mut bytes = Vec::new();
        let read = directory
            .file(Path::new(name))
            .ok()
            .flatten()
            .map(|file| file.take(LARGEST_SCRIPT).read_to_end(&mut bytes));
        matches!(read, Some(Ok(_)))
            && bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
    };
    let name = Path::new(program).file_name().unwrap_or_default();
    if !has(name, MOUNT) {
        return Ok(());
    }
    let aware = std::fs::read_dir(opt.join("program"))?
        .filter_map(Result::ok)
        .any(|entry| has(&entry.file_name(), "SAGEMAKER_BASE_DIR"));
    if aware {
        return Ok(());
    }
    Err(ApiError::not_implemented(format_args!(
        "a private {MOUNT} on this machine ({reason}), and the program `{program}` spells {MOUNT}: \
         let it honour SAGEMAKER_BASE_DIR"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_point_is_found_where_the_image_lies() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let entry: Vec<String> = words(&["/opt/mlops/bin/mlops", "/opt/x"]);
        let state = Path::new("/state/image/opt");
        assert_eq!(
            placed(entry.clone(), state),
            ["/state/image/opt/mlops/bin/mlops", "/opt/x"]
        );
        assert_eq!(placed(entry.clone(), Path::new("/opt")), entry);
        assert_eq!(placed(words(&["train"]), state), ["train"]);
    }

    #[test]
    fn a_program_that_needs_the_literal_mount_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::create_dir(&program).unwrap();
        std::fs::write(program.join("train"), "open('/opt/ml/model/x', 'w')").unwrap();
        let command = ["train".to_owned()];
        let error = refuse_literal_mount(directory.path(), &command, "EPERM").unwrap_err();
        assert!(error.message.contains("`train`"), "{error}");
        std::fs::write(program.join("paths.py"), "os.environ['SAGEMAKER_BASE_DIR']").unwrap();
        refuse_literal_mount(directory.path(), &command, "EPERM").unwrap();
    }
}
