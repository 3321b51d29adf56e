//! Environment variables that are read, and those that are passed on unchanged.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_runtime::env_config::source;
use aws_types::os_shim_internal::{Env, Fs};
use futures::FutureExt;
use mlops_core::network::CaBundle;

/// Every environment variable that `mlops` reads, with its meaning (docs/config.md).
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "AWS_PROFILE",
        "the profile of the AWS configuration (flag --profile)",
    ),
    (
        "AWS_REGION",
        "the region (flag --region); AWS_DEFAULT_REGION is read after it",
    ),
    (
        "AWS_ENDPOINT_URL",
        "the endpoint for all services (flag --endpoint-url)",
    ),
    (
        "AWS_CA_BUNDLE",
        "a PEM file with the only certificates to trust; overrides `ca_bundle` in the AWS configuration",
    ),
    (
        "HTTPS_PROXY",
        "the proxy for HTTPS requests; also HTTP_PROXY, ALL_PROXY and NO_PROXY, and all of them in lower case",
    ),
    ("MLOPS_LOCAL", "1 means --local"),
    ("MLOPS_OUTPUT", "human or json (flag --output)"),
    (
        "MLOPS_CACHE_DIR",
        "the cache of virtual environments and layers [default: $XDG_CACHE_HOME/mlops or ~/.cache/mlops]",
    ),
    (
        "DOCKER_CONFIG",
        "the directory of Docker's config.json, with registry logins [default: ~/.docker]",
    ),
    (
        "REGISTRY_AUTH_FILE",
        "podman's registry logins [default: $XDG_RUNTIME_DIR/containers/auth.json]",
    ),
    (
        "XDG_STATE_HOME",
        "the parent directory of the key that binds a local cloud's state to you [default: ~/.local/state]",
    ),
    (
        "MLOPS_LOCAL_FAULT",
        "a fault that the local cloud injects into itself, for tests",
    ),
    ("MLOPS_NOW", "a fixed time in RFC 3339, for tests"),
    (
        "MLOPS_PYTHON",
        "the Python interpreter of the host runtime [default: python3 on PATH]",
    ),
    (
        "SPARK_HOME",
        "the Spark installation for `mlops validate --on spark` [default: spark-submit on PATH, or pyspark]",
    ),
    (
        "JAVA_HOME",
        "the Java installation for Spark [default: java on PATH]",
    ),
    (
        "SPARK_LOCAL_IP",
        "Spark's address on this machine [default: 127.0.0.1]",
    ),
    (
        "CODEBUILD_BUILD_ID",
        "the build in which the command runs; CodeBuild sets it, and `mlops train` records it with the run",
    ),
    ("NO_COLOR", "any value disables color (flag --color)"),
    (
        "AWS_LAMBDA_RUNTIME_API",
        "the address of the Runtime API, when this program runs as a Lambda function",
    ),
];

/// Variables passed to installers of Python packages: locations of programs and certificates,
/// access to an index, and the installer's own options.
const FOR_INSTALLERS: &[&str] = &[
    "PATH",
    "LANG",
    "LC_*",
    "TMPDIR",
    "PIP_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Further variables passed to the local cloud's server.
const FOR_THE_SERVER: &[&str] = &[
    "HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "MLOPS_*",
    "AWS_CA_BUNDLE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
];

/// Returns the environment for a server in the background. It does not contain the user's
/// credentials, because jobs run as the same user.
pub fn server_environment() -> Vec<(OsString, OsString)> {
    let mut found = chosen(&[FOR_INSTALLERS, FOR_THE_SERVER].concat());
    // The server does not read the user's AWS configuration, which can contain credentials.
    if let Some(bundle) = ca_bundle() {
        found.retain(|(name, _)| name != CA_BUNDLE);
        found.push((CA_BUNDLE.into(), bundle.path.into()));
    }
    found
}

/// Returns the environment for installers of Python packages, which run the packages' own code. It
/// does not contain HOME. pip receives the CA bundle unless it has its own setting.
pub fn installer_environment(bundle: Option<&CaBundle>) -> Vec<(OsString, OsString)> {
    let mut found = chosen(FOR_INSTALLERS);
    if !found.iter().any(|(name, _)| name == PIP_SETTINGS) {
        found.extend(pip_settings());
    }
    let own = ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    if let Some(bundle) = bundle
        && !found
            .iter()
            .any(|(name, _)| own.iter().any(|own| name == own))
    {
        found.push(("PIP_CERT".into(), bundle.path.clone().into()));
    }
    found
}

const PIP_SETTINGS: &str = "PIP_CONFIG_FILE";

/// Returns the user's pip.conf, which may name the only reachable index. pip would search for it in
/// HOME, which it does not receive.
fn pip_settings() -> Option<(OsString, OsString)> {
    let home = env::home_dir()?;
    [".config/pip/pip.conf", ".pip/pip.conf"]
        .into_iter()
        .map(|file| home.join(file))
        .find(|file| file.is_file())
        .map(|file| (PIP_SETTINGS.into(), file.into()))
}

const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// Returns the file with the only certificates to trust, from `AWS_CA_BUNDLE` or `AWS_PROFILE`.
pub fn ca_bundle() -> Option<CaBundle> {
    ca_bundle_of(None)
}

/// Like `ca_bundle`, but a flag may select the profile. As in botocore, the variable takes
/// precedence.
pub(super) fn ca_bundle_of(profile: Option<&str>) -> Option<CaBundle> {
    if let Some(path) = env::var_os(CA_BUNDLE).filter(|path| !path.is_empty()) {
        return Some(CaBundle {
            path: path.into(),
            setting: CA_BUNDLE.to_owned(),
        });
    }
    let files = EnvConfigFiles::default();
    // The loader reads local files, so its future is ready immediately.
    let mut source = source::load(&Env::real(), &Fs::real(), &files)
        .now_or_never()?
        .ok()?;
    if let Some(profile) = profile {
        source.profile = profile.to_owned().into();
    }
    // A configuration that cannot be parsed is reported when its credentials are needed.
    let sections = EnvConfigSections::parse(source).ok()?;
    let path = sections.get("ca_bundle").filter(|path| !path.is_empty())?;
    Some(CaBundle {
        path: in_home(path),
        setting: format!(
            "ca_bundle of the AWS profile `{}`",
            sections.selected_profile()
        ),
    })
}

/// Expands `~/` to the home directory.
fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(path).to_owned(),
    }
}

/// Returns the fault that tests inject into a local cloud (see `Host::fault`).
#[cfg(feature = "local")]
pub(super) fn local_fault() -> Option<String> {
    env::var_os("MLOPS_LOCAL_FAULT")?.into_string().ok()
}

/// Returns the variables with these names; `X_*` matches every name that starts with `X_`.
fn chosen(names: &[&str]) -> Vec<(OsString, OsString)> {
    env::vars_os()
        .filter(|(found, _)| {
            names.iter().any(|name| match name.strip_suffix('*') {
                Some(prefix) => found.as_encoded_bytes().starts_with(prefix.as_bytes()),
                None => found == name,
            })
        })
        .collect()
}

/// Returns `NO_PROXY` extended by this machine, if a proxy is set that clients would use for
/// loopback.
pub fn no_proxy() -> Option<String> {
    let find = |names: &[&str]| {
        let values = chosen(names).into_iter();
        let mut values = values.filter_map(|(_, value)| value.into_string().ok());
        values.find(|value| !value.is_empty())
    };
    find(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?;
    let direct = find(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let mut hosts = direct.split(',').map(str::trim);
    if hosts.any(|host| matches!(host, "127.0.0.1" | "*")) {
        None
    } else if direct.is_empty() {
        Some("127.0.0.1".to_owned())
    } else {
        Some(format!("{direct},127.0.0.1"))
    }
}

/// Returns the names of the variables that redirect single services away from `AWS_ENDPOINT_URL`.
pub fn endpoint_overrides() -> Vec<String> {
    let found = chosen(&["AWS_ENDPOINT_URL_*"]).into_iter();
    found
        .filter_map(|(name, _)| name.into_string().ok())
        .collect()
}

/// The variables of the analyzer's container contract (docs/analyzer.md).
const ANALYZER: &[&str] = &[
    "MLOPS_MONITOR",
    "MLOPS_MONITOR_CAPTURE",
    "MLOPS_MONITOR_DELAY",
    "MLOPS_MONITOR_ENDPOINT",
    "MLOPS_MONITOR_HOURS",
    "MLOPS_MONITOR_MINIMUM",
    "MLOPS_MONITOR_RESULTS",
    "MLOPS_MONITOR_TIME",
    "SAGEMAKER_BASE_DIR",
    "analysis_type",
    "baseline_constraints",
    "baseline_statistics",
    "dataset_format",
    "dataset_source",
    "end_time",
    "ground_truth_attribute",
    "inference_attribute",
    "output_path",
    "post_analytics_processor_script",
    "probability_attribute",
    "probability_threshold_attribute",
    "problem_type",
    "publish_cloudwatch_metrics",
    "record_preprocessor_script",
    "sagemaker_endpoint_name",
    "sagemaker_monitoring_schedule_name",
    "start_time",
];

/// The parameters that a Model Monitor job passes to its container.
pub fn analyzer_environment() -> BTreeMap<String, String> {
    chosen(ANALYZER)
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
