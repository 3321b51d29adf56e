//! Reads logins stored by Docker or podman: configuration files and credential helpers.
//!
//! Formats: docker/cli, `config.json`; containers-auth.json(5); docker-credential-helpers, `get`.
//! A secret is never part of an error or of an argument list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mlops_core::error::Hint;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::Login;
use super::reference::{DOCKER_HUB, ImageReference};

/// The key of Docker Hub in a configuration file.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Time limit of a credential helper; some ask the user.
const HELPER_TIMEOUT: Duration = Duration::from_mins(2);

/// Locations of logins.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Configuration files; the first with an entry for the registry wins. Missing files are
    /// skipped.
    pub files: Vec<PathBuf>,
    /// The directories with `docker-credential-*`.
    pub search_path: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// The output of a helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    username: String,
    secret: String,
}

impl Credentials {
    /// Returns the login for an image's registry; [`Login::Anonymous`] if no file has one.
    ///
    /// # Errors
    ///
    /// A file that cannot be parsed, or a helper that fails, by name.
    pub async fn login(&self, of: &ImageReference) -> Result<Login> {
        for path in &self.files {
            let text = match std::fs::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
            };
            // serde's own message would quote the file, which contains secrets.
            let file: File = serde_json::from_slice(&text).map_err(|error| {
                anyhow!(
                    "{} is not a Docker configuration file: line {}, column {}",
                    path.display(),
                    error.line(),
                    error.column()
                )
            })?;
            if let Some(login) = self.login_of(&file, path, of).await? {
                return Ok(login);
            }
        }
        Ok(Login::Anonymous)
    }

    async fn login_of(
        &self,
        file: &File,
        path: &Path,
        of: &ImageReference,
    ) -> Result<Option<Login>> {
        let keys = keys(of);
        let server = if of.host == DOCKER_HUB {
            DOCKER_HUB_KEY
        } else {
            &of.host
        };
        let own = keys.iter().find_map(|key| file.helpers.get(key));
        let helper = own.or((!file.store.is_empty()).then_some(&file.store));
        if let Some(helper) = helper
            && let Some(login) = self.run_helper(helper, server).await?
        {
            return Ok(Some(login));
        }
        keys.iter()
            .find_map(|key| file.auths.get(key))
            .map(|entry| read(entry, path, of))
            .transpose()
            .map(Option::flatten)
    }

    /// Runs a credential helper; `None` if it has no login for the server.
    async fn run_helper(&self, name: &str, server: &str) -> Result<Option<Login>> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(plain) {
            bail!(
                "`{name}` in the Docker configuration file is not a valid name of a credential helper"
            );
        }
        let program = format!("docker-credential-{name}");
        let path = self
            .search_path
            .iter()
            .map(|directory| directory.join(&program))
            .find(|path| path.is_file())
            .ok_or_else(|| anyhow!("{program} is not on PATH"))
            .hint("install the credential helper that the Docker configuration file names, or run `docker login`")?;
        let run = async {
            let mut child = tokio::process::Command::new(&path)
                .arg("get")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A helper that does not read its input fails with an exit code.
                let _ = stdin.write_all(server.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(HELPER_TIMEOUT, run)
            .await
            .map_err(|_| anyhow!("{program} does not respond"))?
            .with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            // docker-credential-helpers: the message of errCredentialsNotFound, on stdout.
            if String::from_utf8_lossy(&output.stdout).contains("credentials not found") {
                return Ok(None);
            }
            bail!("{program} has no login for {server}: {}", output.status);
        }
        let secret: Secret = serde_json::from_slice(&output.stdout)
            .map_err(|_| anyhow!("{program} returned an invalid login"))?;
        if secret.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(if secret.username == "<token>" {
            Login::Identity(secret.secret)
        } else {
            Login::basic(&secret.username, &secret.secret)
        }))
    }
}

/// Returns the keys of a registry in a file, most specific first. podman also uses
/// `HOST/NAMESPACE/REPOSITORY` and its parents.
fn keys(of: &ImageReference) -> Vec<String> {
    let mut keys = Vec::new();
    let mut repository = of.repository.as_str();
    loop {
        keys.push(format!("{}/{repository}", of.host));
        match repository.rsplit_once('/') {
            Some((parent, _)) => repository = parent,
            None => break,
        }
    }
    let hosts: &[&str] = if of.host == DOCKER_HUB {
        keys.push(DOCKER_HUB_KEY.to_owned());
        &[DOCKER_HUB, "index.docker.io", "registry-1.docker.io"]
    } else {
        &[&of.host]
    };
    for host in hosts {
        for scheme in ["", "https://", "http://"] {
            for path in ["", "/", "/v1/", "/v2/", "/v1", "/v2"] {
                keys.push(format!("{scheme}{host}{path}"));
            }
        }
    }
    keys
}

fn read(entry: &Entry, path: &Path, of: &ImageReference) -> Result<Option<Login>> {
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login::Identity(entry.identitytoken.clone())));
    }
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Login::Bearer(entry.registrytoken.clone())));
    }
    if !entry.auth.is_empty() {
        let text = STANDARD
            .decode(&entry.auth)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.as_deref().unwrap_or_default();
        let (user, password) = text.split_once(':').ok_or_else(|| {
            anyhow!(
                "the login for {} in {} is not the base64 of USER:PASSWORD",
                of.host,
                path.display()
            )
        })?;
        return Ok(Some(Login::basic(user, password.trim_end_matches('\0'))));
    }
    if !entry.username.is_empty() {
        return Ok(Some(Login::basic(&entry.username, &entry.password)));
    }
    // `docker login` with a credential store leaves an empty entry behind.
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn login(config: &str, reference: &str) -> Result<Login> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, config).unwrap();
        let helper = directory.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread server\ncase $server in\n\
             r.example) echo '{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"helped\"}';;\n\
             t.example) echo '{\"Username\":\"<token>\",\"Secret\":\"refresh\"}';;\n\
             bad.example) exit 3;;\n\
             *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n";
        // Written by another process: this one may be forking, and a file that is open for writing
        // cannot be executed.
        let source = directory.path().join("helper.sh");
        std::fs::write(&source, script).unwrap();
        let installed = std::process::Command::new("install")
            .arg("-m755")
            .args([&source, &helper])
            .status();
        assert!(installed.unwrap().success());
        let credentials = Credentials {
            files: vec![directory.path().join("missing.json"), file],
            search_path: vec![directory.path().to_owned()],
        };
        credentials.login(&reference.parse().unwrap()).await
    }

    fn basic(user: &str, password: &str) -> String {
        STANDARD.encode(format!("{user}:{password}"))
    }

    #[track_caller]
    fn assert_basic(login: &Login, user: &str, password: &str) {
        assert!(
            matches!(login, Login::Basic(found) if *found == basic(user, password)),
            "{login:?}"
        );
    }

    #[tokio::test]
    async fn logins_of_files() {
        let auth = basic("me", "a:b");
        for key in [
            "r.example",
            "https://r.example",
            "https://r.example/v1/",
            "r.example/team",
        ] {
            let config = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#);
            assert_basic(
                &login(&config, "r.example/team/x").await.unwrap(),
                "me",
                "a:b",
            );
            let other = login(&config, "s.example/team/x").await.unwrap();
            assert!(matches!(other, Login::Anonymous));
        }
        let hub = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}}}}}}"#);
        assert_basic(&login(&hub, "python").await.unwrap(), "me", "a:b");
        let named = r#"{"auths":{"r.example":{"username":"u","password":"p"}}}"#;
        assert_basic(&login(named, "r.example/x").await.unwrap(), "u", "p");
        let token = r#"{"auths":{"r.example":{"identitytoken":"t","auth":"eA=="}}}"#;
        assert!(
            matches!(login(token, "r.example/x").await.unwrap(), Login::Identity(t) if t == "t")
        );
    }

    #[tokio::test]
    async fn logins_of_helpers() {
        let auth = basic("file", "p");
        let config = format!(
            r#"{{"credsStore":"test","auths":{{"r.example":{{}},"other.example":{{"auth":"{auth}"}}}}}}"#
        );
        assert_basic(&login(&config, "r.example/x").await.unwrap(), "u", "helped");
        assert!(matches!(
            login(&config, "t.example/x").await.unwrap(),
            Login::Identity(_)
        ));
        // The store has none: use the file's own.
        assert_basic(
            &login(&config, "other.example/x").await.unwrap(),
            "file",
            "p",
        );
        let error = login(&config, "bad.example/x").await.unwrap_err();
        assert!(
            error.to_string().contains("docker-credential-test"),
            "{error}"
        );
        let config = r#"{"credHelpers":{"r.example":"../evil"}}"#;
        assert!(login(config, "r.example/x").await.is_err());
        let config = r#"{"credHelpers":{"r.example":"gone"}}"#;
        let error = login(config, "r.example/x").await.unwrap_err();
        assert!(error.to_string().contains("not on PATH"), "{error}");
    }

    #[tokio::test]
    async fn errors_contain_no_secrets() {
        for config in [
            r#"{"auths":{"r.example":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":{"r.example":{"auth":"se!cret"}}}"#,
            r#"{"auths":"secret"}"#,
        ] {
            let error = format!("{:#}", login(config, "r.example/x").await.unwrap_err());
            assert!(
                !error.contains("secret") && !error.contains("c2VjcmV0"),
                "{error}"
            );
            assert!(error.contains("config.json"), "{error}");
        }
    }
}
