//! Runs programs of images as processes of this machine (the `host` runtime).
//!
//! ```text
//! prepare: layers ── image ──> <state>/images/<digest>/opt    requirements.txt ── venv ──> <cache>/venvs/<hash>
//!          (an image with its own Python packages needs no requirements.txt: packages)
//! launch:  process (a thread of the server) ── spawns ──> `mlops job-process SPEC` = enter
//!          enter: namespaces, private /opt, own /proc, parent-death signal ── exec ──> the program
//!          process: its output, line by line ──> CloudWatch Logs
//! ```
//!
//! If the kernel allows a mount namespace, the program finds its files under /opt/ml and
//! /opt/program as in SageMaker. Otherwise `SAGEMAKER_BASE_DIR` names the directory of the job, and
//! a program that uses /opt/ml literally and never `SAGEMAKER_BASE_DIR` is refused by name.

use crate::host::Host;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::beneath::Directory;
use super::cloud::caller::Caller;
use super::sts::ServiceSession;
use super::{Cloud, beneath, unpack};

mod build;
mod enter;
mod function;
mod image;
mod notebook;
mod packages;
mod process;
mod venv;

pub(crate) use build::{BuildSpec, build_root, launch_build};
pub(super) use enter::exec;
pub(crate) use function::{FunctionSpec, Program, TASK_ROOT, launch_function};
pub(crate) use notebook::{Jupyter, LOG_GROUP, Machine, MachineSpec, Outcome, Run, Script};
pub(crate) use process::Running;

use enter::{IsolationLevel, SandboxSpec, View};
use packages::Packages;

/// PATH for an image that does not set one.
const IMAGE_PATH: &str =
    "/opt/program:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Maximum size of a program that is searched for the paths that it uses, in bytes; larger programs
/// are compiled, and name paths in other ways.
const MAX_SCRIPT: u64 = 16 << 20;

/// Path of a job's files in the container.
pub(crate) const MOUNT: &str = "/opt/ml";

/// An image that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct PreparedImage(Arc<ImageParts>);

#[derive(Debug)]
struct ImageParts {
    uri: String,
    /// The files of the image under /opt.
    opt: PathBuf,
    venv: venv::Venv,
    packages: Packages,
    config: Value,
    notes: Vec<String>,
}

/// A program of an image to run.
#[derive(Debug)]
pub(crate) struct ContainerSpec {
    /// The image.
    pub(crate) image: PreparedImage,
    /// The directory that becomes /opt/ml; a directory next to it holds HOME and TMPDIR.
    pub(crate) base_dir: PathBuf,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Environment variables in addition to those of the image.
    pub(crate) environment: BTreeMap<String, String>,
    /// The session of its role.
    pub(crate) session: Arc<ServiceSession>,
    /// Log group of its output.
    pub(crate) log_group: String,
    /// Log stream in that group.
    pub(crate) log_stream: String,
}

/// The isolation that this kernel allows.
#[derive(Debug, Clone)]
enum Isolation {
    /// The program sees a private /opt.
    Namespace(IsolationLevel),
    /// The program sees the /opt of the machine, for this reason.
    Directory(String),
}

impl PreparedImage {
    /// The `Entrypoint` or `Cmd` of the image.
    pub(crate) fn words(&self, member: &str) -> Vec<String> {
        serde_json::from_value(self.section()[member].clone()).unwrap_or_default()
    }

    /// The configuration of the image (OCI: `config.config`).
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

/// Removes images that a killed server unpacked only in part, and files that could not be removed
/// before. Failures do not prevent the start.
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

/// Prepares an image to run, on behalf of the role that pulls it: unpacks its files and installs its Python
/// dependencies. Both are cached, so a second call takes milliseconds.
pub(crate) async fn prepare(
    cloud: &Cloud,
    role: &Caller,
    image_uri: &str,
) -> ApiResult<PreparedImage> {
    let own = super::ecr::analyzer::stand_in(cloud, image_uri).await?;
    let resolve = || super::ecr::images::resolve(cloud, own.as_deref().unwrap_or(image_uri));
    let mut found = resolve()?;
    if own.is_none() {
        super::ecr::images::may_pull(cloud, role, &found.repository)?;
    }
    // Keeps the layers readable even if the image is deleted in the meantime.
    let is_leased = |layer: &super::ecr::images::Layer| {
        let hex = layer.digest.trim_start_matches("sha256:");
        cloud.blobs().touch(hex)
    };
    if !found.layers.iter().all(is_leased) {
        found = resolve()?;
    }
    let layers: Vec<_> = found
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
            for (_, hex, _) in &layers {
                super::ecr::blobs::require_sound(&blobs, hex)?;
            }
        }
        let layers: Vec<_> = layers
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
        Packages::Bundled => None,
        Packages::Incompatible(why) => {
            notes.push(why.clone());
            packages::requirements(&opt)?
        }
        Packages::Absent => packages::requirements(&opt)?,
    };
    let venv = venv::prepare(settings, requirements.as_deref()).await?;
    if let Some(took) = venv.created_in {
        notes.push(format!(
            "created the virtual environment in {:.1} s; it is cached in {}",
            took.as_secs_f64(),
            venv.directory.display()
        ));
    }
    Ok(PreparedImage(Arc::new(ImageParts {
        uri: image_uri.to_owned(),
        opt,
        venv,
        packages,
        config: found.config,
        notes,
    })))
}

/// Starts a program.
pub(crate) async fn launch(cloud: &Cloud, container: ContainerSpec) -> ApiResult<Running> {
    start(cloud, container, true).await
}

/// Starts a program without network access (`EnableNetworkIsolation`).
pub(crate) async fn launch_without_network(
    cloud: &Cloud,
    container: ContainerSpec,
) -> ApiResult<Running> {
    start(cloud, container, false).await
}

async fn start(cloud: &Cloud, container: ContainerSpec, network: bool) -> ApiResult<Running> {
    let isolation = process::isolation(cloud).await?;
    let image = &container.image.0;
    let program_directory = match &isolation {
        Isolation::Namespace(_) => PathBuf::from("/opt"),
        Isolation::Directory(reason) if !network => {
            return Err(ApiError::not_implemented(format_args!(
                "network isolation on this machine: {reason}"
            )));
        }
        Isolation::Directory(reason) => {
            refuse_literal_mount(&image.opt, &container.command, reason)?;
            image.opt.clone()
        }
    };
    let scratch = process::scratch(&container.base_dir)?;
    let mut environment = container.image.environment();
    let path = environment.get("PATH").map_or(IMAGE_PATH, String::as_str);
    let path = image.packages.search_path(path, &program_directory);
    if let Some(imports) = environment.remove("PYTHONPATH") {
        let imports = image.packages.search_path(&imports, &program_directory);
        if !imports.is_empty() {
            environment.insert("PYTHONPATH".to_owned(), imports.join(":"));
        }
    }
    let command = relocate(container.command, &program_directory);
    let path: Vec<String> = std::iter::once(image.venv.bin().display().to_string())
        .chain(path)
        .collect();
    environment
        .entry("PYTHONUNBUFFERED".to_owned())
        .or_insert_with(|| "1".to_owned());
    environment.extend(container.environment);
    environment.insert("PATH".to_owned(), path.join(":"));
    environment.extend(cloud_environment(cloud, &scratch, &container.session));
    if matches!(isolation, Isolation::Directory(_)) {
        environment.insert(
            "SAGEMAKER_BASE_DIR".to_owned(),
            container.base_dir.display().to_string(),
        );
    }
    let working = match container.image.section()["WorkingDir"].as_str() {
        Some(directory) => match Path::new(directory).strip_prefix("/opt") {
            Ok(rest) => program_directory.join(rest),
            Err(_) => PathBuf::from("/"),
        },
        None => PathBuf::from("/"),
    };
    let mut notes = vec![match &isolation {
        Isolation::Namespace(_) => format!(
            "host runtime: a process of this machine with a private {MOUNT}, Python {}",
            image.venv.version
        ),
        Isolation::Directory(reason) => format!(
            "host runtime: a process of this machine, SAGEMAKER_BASE_DIR={} instead of {MOUNT} ({reason}), Python {}",
            container.base_dir.display(),
            image.venv.version
        ),
    }];
    let level = match isolation {
        Isolation::Namespace(level) => level,
        Isolation::Directory(_) => IsolationLevel::Nothing,
    };
    notes.extend(level.gap().map(str::to_owned));
    notes.extend(image.notes.iter().cloned());
    let role = container.session.caller();
    log_preamble(
        cloud,
        &role,
        &container.log_group,
        &container.log_stream,
        &notes,
        &image.uri,
    )?;
    let spec = SandboxSpec {
        level,
        network,
        view: View::Job {
            base_dir: container.base_dir,
            opt: image.opt.clone(),
        },
        scratch: scratch.clone(),
        hide: user_credentials(&cloud.settings().host),
        command,
        environment,
        working_directory: working,
        parent: std::process::id(),
        supervised: false,
    };
    process::spawn(
        &spec,
        process::to_log(cloud, role, container.log_group, container.log_stream),
    )
    .await
}

/// Replaces /opt in the path of a command's program with the directory of the image's /opt.
fn relocate(mut command: Vec<String>, opt: &Path) -> Vec<String> {
    if let Some(program) = command.first_mut()
        && let Ok(rest) = Path::new(program.as_str()).strip_prefix("/opt")
    {
        *program = opt.join(rest).display().to_string();
    }
    command
}

/// Writes the first lines of a log, which describe the image and the isolation.
fn log_preamble(
    cloud: &Cloud,
    role: &Caller,
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
    super::logs::append(cloud, role, group, stream, &lines)
}

/// The environment of every process: the endpoint of this cloud, the credentials of its role's session, and a
/// private HOME.
fn cloud_environment(
    cloud: &Cloud,
    scratch: &Path,
    session: &ServiceSession,
) -> BTreeMap<String, String> {
    let text = |path: PathBuf| path.display().to_string();
    [
        ("AWS_ENDPOINT_URL", cloud.endpoint().to_owned()),
        ("AWS_REGION", cloud.region().to_owned()),
        ("AWS_DEFAULT_REGION", cloud.region().to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("HOME", text(scratch.join("home"))),
        ("TMPDIR", text(scratch.join("tmp"))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .chain(session.environment())
    .collect()
}

/// The directories of the user's credentials, by HOME and by the password database.
fn user_credentials(host: &Host) -> Vec<PathBuf> {
    let listed = nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map(|user| user.dir);
    let mut found: Vec<PathBuf> = [(host.home)(), listed]
        .into_iter()
        .flatten()
        .map(|home| home.join(".aws"))
        // With this key, a job could forge a state directory of the user.
        .chain((host.secrets)())
        .filter(|directory| directory.is_dir())
        .collect();
    found.dedup();
    found
}

/// Refuses a program that uses /opt/ml literally, in files that never mention `SAGEMAKER_BASE_DIR`:
/// without a mount namespace there is no /opt/ml, and it would use the wrong files.
fn refuse_literal_mount(opt: &Path, command: &[String], reason: &str) -> ApiResult<()> {
    let Some(program) = command.first() else {
        return Ok(());
    };
    let Some(directory) = Directory::open(opt, "/opt")?.subdirectory("program".as_ref())? else {
        return Ok(());
    };
    // Follows no link: a link of an image could lead to a device that never ends.
    let has = |name: &OsStr, text: &str| {
        let mut bytes = Vec::new();
        let read = directory
            .file(Path::new(name))
            .ok()
            .flatten()
            .map(|file| file.take(MAX_SCRIPT).read_to_end(&mut bytes));
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
        "a private {MOUNT} on this machine ({reason}); the program `{program}` uses {MOUNT} literally: \
         change it to use SAGEMAKER_BASE_DIR"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_point_is_found_below_the_image_directory() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let entry: Vec<String> = words(&["/opt/mlops/bin/mlops", "/opt/x"]);
        let state = Path::new("/state/image/opt");
        assert_eq!(
            relocate(entry.clone(), state),
            ["/state/image/opt/mlops/bin/mlops", "/opt/x"]
        );
        assert_eq!(relocate(entry.clone(), Path::new("/opt")), entry);
        assert_eq!(relocate(words(&["train"]), state), ["train"]);
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
