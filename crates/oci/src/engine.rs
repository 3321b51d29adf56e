//! Builds the Dockerfile with an installed container engine, into an OCI layout.
//!
//! Tested with buildah. docker and podman are unverified: no machine of this project has them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mlops_core::error::Hint;
use mlops_core::names::Platform;
use tokio::process::Command;

use super::{layout, process, save};

/// Time limit for an engine to respond to a probe.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker, with buildx.
    Docker,
    /// podman.
    Podman,
    /// buildah, which needs neither a daemon nor privileges.
    Buildah,
}

/// A build.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// The directory with the Dockerfile and the files that it copies.
    pub directory: &'a Path,
    /// The platform of the image.
    pub platform: Platform,
    /// Its labels.
    pub labels: &'a [(String, String)],
}

impl Engine {
    /// All engines, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Buildah];

    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    /// Returns whether it can build. For Docker, the client is not sufficient: its daemon must
    /// respond.
    pub async fn is_running(self, program: &Path) -> bool {
        let mut command = Command::new(program);
        match self {
            Self::Docker => command.args(["version", "--format", "{{.Server.Version}}"]),
            Self::Podman => command.args(["info", "--format", "{{.Version.Version}}"]),
            Self::Buildah => command.arg("--version"),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let run = tokio::time::timeout(PATIENCE, command.status()).await;
        matches!(run, Ok(Ok(status)) if status.success())
    }
}

/// Builds the Dockerfile into the layout directory `output`, which is replaced.
///
/// # Errors
/// There is no Dockerfile, or the engine fails; the error contains its last lines of output.
pub async fn build(
    engine: Engine,
    program: &Path,
    recipe: &Recipe<'_>,
    output: &Path,
    heard: &mut (dyn FnMut(&str) + Send),
) -> Result<()> {
    save::check(output)?;
    let (staged, new) = save::stage(output)?;
    let scratch = staged.path();
    let name = engine.name();
    let what = format!("build the Dockerfile with {name}");
    let mut steps = steps(engine, program, recipe, scratch, &new);
    let last = steps.pop();
    for step in &mut steps {
        process::run(step, &what, heard)
            .await
            .hint(advice(engine))?;
    }
    if let Some(mut last) = last {
        // buildah and podman write the id of the built image to this file.
        if engine != Engine::Docker {
            let id = std::fs::read_to_string(scratch.join("id"))
                .with_context(|| format!("{name} did not report the id of the image"))?;
            last.arg(id.trim());
            if engine == Engine::Buildah {
                last.arg(destination(&new));
            }
        }
        let exported = process::run(&mut last, &what, heard).await;
        exported.hint(advice(engine))?;
    }
    layout::read(&new).with_context(|| format!("{name} did not write a valid image"))?;
    save::publish(output, &staged)
}

/// Returns the commands that build and export. The last one lacks the image's id, which the first
/// one determines.
fn steps(
    engine: Engine,
    program: &Path,
    recipe: &Recipe<'_>,
    scratch: &Path,
    new: &Path,
) -> Vec<Command> {
    let command = || {
        let mut command = Command::new(program);
        command.current_dir(recipe.directory);
        command
    };
    let mut build = command();
    match engine {
        Engine::Docker => build.args(["buildx", "build", "--progress", "plain"]),
        Engine::Podman => build.args(["build", "--format", "oci"]),
        // The only isolation that needs neither privileges nor a container runtime.
        Engine::Buildah => build.args(["build", "--format", "oci", "--isolation", "chroot"]),
    };
    build.args(["--platform", recipe.platform.as_str()]);
    for (name, value) in recipe.labels {
        build.arg("--label").arg(format!("{name}={value}"));
    }
    if engine == Engine::Docker {
        build
            // Attestations are images of the platform unknown/unknown, which SageMaker rejects.
            .args(["--provenance", "false", "--output"])
            .arg(format!("type=oci,tar=false,dest={}", new.display()))
            .arg(".");
        return vec![build];
    }
    build.arg("--iidfile").arg(scratch.join("id")).arg(".");
    let mut write = command();
    if engine == Engine::Podman {
        write
            .args(["save", "--format", "oci-dir", "--output"])
            .arg(new);
    } else {
        write.arg("push");
    }
    vec![build, write]
}

fn destination(new: &Path) -> PathBuf {
    let mut text = std::ffi::OsString::from("oci:");
    text.push(new);
    text.into()
}

fn advice(engine: Engine) -> &'static str {
    match engine {
        Engine::Docker => {
            "before version 28, Docker's default builder cannot write an OCI layout: run `docker buildx \
             create --use`, or --builder layers"
        }
        Engine::Podman | Engine::Buildah => {
            "fix the Dockerfile, or build without an engine: --builder layers"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let words = command.as_std().get_args();
        words
            .map(|word| word.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn each_engine_gets_its_own_words() {
        let labels = [("a".to_owned(), "b".to_owned())];
        let recipe = Recipe {
            directory: Path::new("/project/image"),
            platform: Platform::Arm64,
            labels: &labels,
        };
        let text = |engine: Engine| {
            steps(
                engine,
                Path::new("x"),
                &recipe,
                Path::new("/s"),
                Path::new("/s/new"),
            )
            .iter()
            .map(words)
            .collect::<Vec<_>>()
        };
        assert_eq!(
            text(Engine::Docker),
            [
                "buildx build --progress plain --platform linux/arm64 --label a=b --provenance false --output type=oci,tar=false,dest=/s/new ."
            ]
        );
        assert_eq!(
            text(Engine::Podman),
            [
                "build --format oci --platform linux/arm64 --label a=b --iidfile /s/id .",
                "save --format oci-dir --output /s/new"
            ]
        );
        assert_eq!(
            text(Engine::Buildah)[0],
            "build --format oci --isolation chroot --platform linux/arm64 --label a=b --iidfile /s/id ."
        );
    }

    #[tokio::test]
    async fn a_missing_engine_does_not_respond() {
        assert!(
            !Engine::Docker
                .is_running(Path::new("/nowhere/docker"))
                .await
        );
        assert!(!Engine::Docker.is_running(Path::new("false")).await);
        assert!(Engine::Buildah.is_running(Path::new("true")).await);
    }
}
