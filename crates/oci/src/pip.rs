//! Runs pip, using a suitable Python. pip may run a package's own code, so it receives neither the
//! user's environment nor HOME.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::PythonVersion;
use rustix::fs::OFlags;
use serde::Deserialize;
use tokio::process::Command;

use super::process;

/// A Python on this machine, and the environment for its installers.
#[derive(Debug, Clone)]
pub struct Installer {
    /// Path of the program.
    pub python: PathBuf,
    /// Variables such as `PIP_INDEX_URL`.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory for pip's download cache, and for a virtual environment if one is necessary.
    pub cache: PathBuf,
}

/// The properties that a Python reports.
#[derive(Debug, Clone, Deserialize)]
pub struct Python {
    /// Such as `3.11.7`.
    pub version: String,
    /// The resolved path; the path of a shim is not sufficient.
    pub executable: PathBuf,
    /// The version of its pip; `None` if it has none (Debian without python3-pip).
    pip: Option<String>,
    /// `Linux`, `Darwin`, …
    pub system: String,
    /// `x86_64`, `aarch64`, …
    pub machine: String,
}

impl Python {
    /// Returns the version as written in wheel tags.
    pub fn minor(&self) -> Option<PythonVersion> {
        let mut parts = self.version.split('.');
        format!("{}.{}", parts.next()?, parts.next()?).parse().ok()
    }

    /// Returns the version of its pip.
    pub(super) fn pip(&self) -> &str {
        self.pip.as_deref().unwrap_or_default()
    }
}

/// Inspects a Python. If it has no pip, creates a virtual environment with pip in the cache.
///
/// # Errors
/// It does not start, or has neither pip nor venv.
pub async fn inspect(installer: &Installer) -> Result<Python> {
    let own = describe(&installer.python).await?;
    if own.pip.is_some() {
        return Ok(own);
    }
    let directory = installer.cache.join(format!("pip-{}", own.version));
    let python = directory.join("bin/python3");
    if !python.exists() {
        let home = tempfile::tempdir().context("cannot create a temporary directory")?;
        let mut venv = command(
            &own.executable,
            &installer.environment,
            home.path(),
            &installer.cache.join("pip"),
        );
        venv.args(["-m", "venv", "--clear"]).arg(&directory);
        process::run(
            &mut venv,
            "create a virtual environment for pip",
            &mut |_| {},
        )
        .await
        .hint("install python3-venv or python3-pip")?;
    }
    let with_pip = describe(&python).await?;
    if with_pip.pip.is_none() {
        return Err(anyhow!("{} has no pip", python.display()))
            .hint(format!("remove {} and retry", directory.display()));
    }
    Ok(with_pip)
}

async fn describe(python: &Path) -> Result<Python> {
    const QUESTION: &str = "
import json, platform, sys
from importlib import metadata
try:
    pip = metadata.version('pip')
except metadata.PackageNotFoundError:
    pip = None
print(json.dumps({
    'version': '%d.%d.%d' % sys.version_info[:3], 'executable': sys.executable, 'pip': pip,
    'system': platform.system(), 'machine': platform.machine(),
}))";
    let advice = "install Python 3.9 or newer, or set MLOPS_PYTHON to one";
    let output = Command::new(python)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot start the Python `{}`", python.display()))
        .hint(advice)?;
    if !output.status.success() {
        return Err(anyhow!(
            "the Python `{}` does not work ({}): {}",
            python.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
        .hint(advice);
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{}` is not a working Python interpreter", python.display()))
        .hint(advice)
}

/// A command prepared by [`prepare`].
pub(super) fn command(
    program: &Path,
    environment: &[(OsString, OsString)],
    home: &Path,
    downloads: &Path,
) -> Command {
    let mut command = Command::new(program);
    prepare(&mut command, environment, home, downloads);
    command
}

/// Gives a command the installers' environment, its own HOME and a download cache.
pub fn prepare(
    command: &mut Command,
    environment: &[(OsString, OsString)],
    home: &Path,
    downloads: &Path,
) {
    command
        .env_clear()
        .env("PIP_CACHE_DIR", downloads)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("HOME", home)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
}

/// Maximum size in bytes of a log; protects against a file that never ends.
const MAX_LOG: u64 = 1 << 20;

/// Reads the last [`MAX_LOG`] bytes of a log. Code of the installed packages can replace the file,
/// so symbolic links are not followed and only a regular file is read.
pub fn log_tail(path: &Path) -> Option<String> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits();
    let mut file = File::options()
        .read(true)
        .custom_flags(i32::try_from(flags).ok()?)
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(MAX_LOG)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The cause of pip's failed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkProblem {
    /// A proxy that rejects requests or is unreachable.
    Proxy,
    /// An untrusted certificate, or a server without TLS.
    Tls,
    /// A certificate bundle that cannot be read.
    Bundle,
}

impl NetworkProblem {
    /// Classifies a line of pip's output. The phrases are those of pip's vendored urllib3 and
    /// requests, and of Python's `ssl`.
    pub(crate) fn of(line: &str) -> Option<Self> {
        let has = |signs: &[&str]| signs.iter().any(|sign| line.contains(sign));
        if has(&[
            "TLS CA certificate bundle",
            "Could not find the TLS certificate",
        ]) {
            Some(Self::Bundle)
        } else if has(&["ProxyError", "connect to proxy", "Tunnel connection failed"]) {
            Some(Self::Proxy)
        } else if has(&[
            "SSLError",
            "SSLCertVerificationError",
            "CERTIFICATE_VERIFY_FAILED",
        ]) || line.contains("problem confirming the ssl certificate")
        {
            Some(Self::Tls)
        } else {
            None
        }
    }

    /// Finds the first problem in a file that pip wrote for `--log`. Without retries, pip reports
    /// it nowhere else.
    pub fn in_log(path: &Path) -> Option<Self> {
        log_tail(path)?.lines().find_map(Self::of)
    }

    /// Returns the setting to change. `environment` is pip's.
    pub fn hint(self, environment: &[(OsString, OsString)]) -> String {
        // In order of precedence: requests prefers its own variables to pip's options.
        let bundle = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"]
            .iter()
            .find_map(|name| environment.iter().find(|(found, _)| found == name))
            .map(|(name, path)| (name.display(), path.display()));
        // AWS_CA_BUNDLE is passed to pip as PIP_CERT.
        match (self, bundle) {
            (Self::Proxy, _) => "pip cannot connect through the proxy: check HTTPS_PROXY and \
                HTTP_PROXY (with a login: http://USER:PASSWORD@HOST:PORT), and list hosts \
                that need no proxy in NO_PROXY"
                .to_owned(),
            (Self::Tls, Some((name, path))) => format!(
                "pip trusts only the certificates in {path} ({name}; AWS_CA_BUNDLE if that is \
                 not set): add the issuer of the index's or proxy's certificate to that file"
            ),
            (Self::Tls, None) => "a corporate proxy may intercept TLS: set AWS_CA_BUNDLE (or \
                PIP_CERT, for pip alone) to a PEM file with its certificate"
                .to_owned(),
            (Self::Bundle, bundle) => {
                let path = bundle.map(|(name, path)| format!(" ({name} is {path})"));
                format!(
                    "set AWS_CA_BUNDLE, or PIP_CERT for pip alone, to an existing PEM file{}",
                    path.unwrap_or_default()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of pip 23 and 25.
    #[test]
    fn failures_to_reach_the_index_name_the_setting() {
        let retrying = |error: &str| {
            format!(
                "WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, \
                 status=None)) after connection broken by '{error}': /simple/numpy/"
            )
        };
        for (line, trouble, setting) in [
            (
                retrying(
                    "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] \
                     certificate verify failed: unable to get local issuer certificate'))",
                ),
                NetworkProblem::Tls,
                "AWS_CA_BUNDLE",
            ),
            (
                retrying("SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number'))"),
                NetworkProblem::Tls,
                "PIP_CERT",
            ),
            (
                retrying(
                    "ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407'))",
                ),
                NetworkProblem::Proxy,
                "HTTPS_PROXY",
            ),
            (
                "ERROR: Could not install packages due to an OSError: Could not find a suitable TLS CA \
                 certificate bundle, invalid path: /nowhere.pem"
                    .to_owned(),
                NetworkProblem::Bundle,
                "existing PEM file",
            ),
        ] {
            let found = NetworkProblem::of(&line);
            assert_eq!(found, Some(trouble), "{line}");
            assert!(trouble.hint(&[]).contains(setting), "{line}");
        }
        let none = "ERROR: No matching distribution found for numpy==99";
        assert_eq!(NetworkProblem::of(none), None);
        let environment = [("PIP_CERT".into(), "/etc/corp.pem".into())];
        assert!(
            NetworkProblem::Tls
                .hint(&environment)
                .contains("/etc/corp.pem (PIP_CERT")
        );
    }

    #[test]
    fn a_log_that_a_package_replaced_is_neither_waited_for_nor_read_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("pip.log");
        let text = format!("{}\nERROR: SSLError\n", "x".repeat(3 << 20));
        std::fs::write(&log, text).unwrap();
        assert!(log_tail(&log).unwrap().len() <= 1 << 20);
        assert_eq!(NetworkProblem::in_log(&log), Some(NetworkProblem::Tls));
        std::fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &log).unwrap();
        assert_eq!(log_tail(&log), None);
        std::fs::remove_file(&log).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&log).status();
        assert!(made.unwrap().success());
        assert_eq!(log_tail(&log), None);
    }
}
