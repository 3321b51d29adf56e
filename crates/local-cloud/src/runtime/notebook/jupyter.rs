//! JupyterLab of a notebook instance: installed once per machine, started on the first presigned URL.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use super::{Machine, Start};
use crate::api::{ApiError, ApiResult};
use crate::runtime::venv;
use crate::{Cloud, clock};

/// The packages of the shared environment, with all their dependencies.
pub(super) const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The name of the program, and of its log stream (AWS: `NAME/jupyter.log`).
const NAME: &str = "jupyter.log";

/// Time for JupyterLab to start on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Time between two checks of a starting JupyterLab.
const INTERVAL: Duration = Duration::from_millis(50);

/// The names of the kernel: of Jupyter itself, and of AWS's images.
const KERNELS: [&str; 2] = ["python3", "conda_python3"];

/// A running JupyterLab.
#[derive(Debug)]
pub(crate) struct Jupyter {
    port: u16,
    /// Signs presigned URLs.
    key: [u8; 32],
    /// The token for programs.
    token: String,
    client: reqwest::Client,
    is_watched: AtomicBool,
}

/// Writes JupyterLab's configuration to the directory of the machine's tools. `kernels` is where the
/// environment of kernels will be.
pub(super) fn write_files(tools: &Path, kernels: &Path) -> ApiResult<()> {
    std::fs::write(
        tools.join("start_jupyter.py"),
        include_str!("start_jupyter.py"),
    )?;
    std::fs::write(
        tools.join("jupyter_config.py"),
        include_str!("jupyter_config.py"),
    )?;
    let python = kernels.join("bin/python").display().to_string();
    let kernel = json!({
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    });
    for name in KERNELS {
        let directory = tools.join("share/jupyter/kernels").join(name);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("kernel.json"), kernel.to_string())?;
    }
    // Asks whether to fetch news from elsewhere.
    let page =
        json!({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}});
    std::fs::create_dir_all(tools.join("etc/jupyter/labconfig"))?;
    std::fs::write(
        tools.join("etc/jupyter/labconfig/page_config.json"),
        page.to_string(),
    )?;
    Ok(())
}

impl Machine {
    /// Installs JupyterLab if necessary, starts it, and waits until it answers. It opens in a directory
    /// of the volume.
    pub(crate) async fn start_jupyter(&self, cloud: &Cloud, directory: &str) -> ApiResult<Jupyter> {
        let requirements = cloud.directory().join("notebooks/requirements.txt");
        std::fs::write(&requirements, REQUIREMENTS)?;
        let shared = venv::prepare(cloud.settings(), Some(&requirements)).await?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(ApiError::internal)?;
        let random = || *uuid::Uuid::new_v4().as_bytes();
        let mut key = [0; 32];
        key[..16].copy_from_slice(&random());
        key[16..].copy_from_slice(&random());
        let jupyter = Jupyter {
            port,
            key,
            token: hex::encode(random()),
            client,
            is_watched: AtomicBool::new(false),
        };
        let volume = self.places.home.join("SageMaker");
        let settings = json!({
            "port": port,
            "key": hex::encode(key),
            "token": jupyter.token,
            "root": volume,
            "preferred": directory,
        });
        let tools = &self.places.tools;
        let text = |path: std::path::PathBuf| path.display().to_string();
        let mut environment = self.environment_of("ec2-user", &self.places.home);
        environment.extend(
            [
                ("MLOPS_JUPYTER", settings.to_string()),
                ("MLOPS_KERNELS", text(self.places.kernels())),
                ("JUPYTER_CONFIG_PATH", text(tools.join("etc/jupyter"))),
                ("JUPYTER_PATH", text(tools.join("share/jupyter"))),
                (
                    "PYTHONPYCACHEPREFIX",
                    text(self.places.temporary.join("pycache")),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let start = tools.join("start_jupyter.py");
        self.request(&Start {
            name: NAME.to_owned(),
            superuser: false,
            command: vec![text(shared.bin().join("python3")), text(start)],
            environment,
            working_directory: volume,
            limit: None,
        })?;
        let answers = async {
            while jupyter.status().await.is_none() {
                clock::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = answers => Ok(jupyter),
            ended = self.ended(NAME) => {
                let ended = ended?;
                Err(failure(&format!("JupyterLab ended with exit code {}", ended.code), &ended.tail))
            }
            () = clock::sleep(START_LIMIT) => Err(failure("JupyterLab did not start in time", &[])),
        }
    }

    /// True if JupyterLab was started and has ended.
    pub(crate) fn jupyter_has_ended(&self) -> bool {
        self.programs.borrow().ended.contains_key(NAME)
    }
}

fn failure(what: &str, tail: &[String]) -> ApiError {
    ApiError::internal(format_args!("{what}: {}", tail.join("\n")))
}

/// A response of `/api/status`.
#[derive(Debug, Deserialize)]
struct Status {
    /// The last request or the last message of a kernel.
    last_activity: jiff::Timestamp,
    /// Browser tabs that are connected to kernels.
    connections: u64,
}

impl Jupyter {
    /// A URL that opens JupyterLab for a session, during `lifetime`.
    pub(crate) fn url(&self, session: Duration, lifetime: Duration) -> String {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let expires = clock::now().as_second().saturating_add(lifetime);
        let nonce = uuid::Uuid::new_v4().simple();
        let signed = format!("{expires}.{}.{nonce}", session.as_secs());
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key)
            .expect("HMAC takes a key of any length");
        mac.update(signed.as_bytes());
        let mac = hex::encode(mac.finalize().into_bytes());
        format!(
            "http://127.0.0.1:{}/login?authToken={signed}.{mac}",
            self.port
        )
    }

    /// True for the first call only: its caller watches whether it is in use.
    pub(crate) fn is_first_watch(&self) -> bool {
        !self.is_watched.swap(true, Ordering::Relaxed)
    }

    /// True if it was used in the last `quiet` time, or a browser tab is connected to a kernel.
    pub(crate) async fn is_in_use(&self, quiet: Duration) -> bool {
        self.status().await.is_some_and(|status| {
            let since = clock::now().duration_since(status.last_activity);
            status.connections > 0 || since.unsigned_abs() < quiet
        })
    }

    async fn status(&self) -> Option<Status> {
        let url = format!("http://127.0.0.1:{}/api/status", self.port);
        let authorization = format!("token {}", self.token);
        let request = self.client.get(url).header("authorization", authorization);
        let answer = request.send().await.ok()?;
        let text = answer.error_for_status().ok()?.text().await.ok()?;
        serde_json::from_str(&text).ok()
    }
}
