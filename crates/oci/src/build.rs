//! Builds an image without a container engine: a base, the layer of Python packages, and the layer
//! of the program. In this order, a change of the program replaces only the last layer.
//!
//! SageMaker starts a container with its command (`IMAGE train`, `IMAGE serve`, or that of a
//! pipeline's step), so the image has no entry point: /opt/program comes first in PATH.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use mlops_core::names::PythonVersion;
use serde_json::{Map, Value, json};

use super::base::Base;
use super::dependencies::{self, Dependencies};
use super::layer::{self, Parts};
use super::{Image, program};

/// The label with the Python version of the packages, such as `3.12`.
pub const PYTHON: &str = "mlops.python";

/// OCI's annotations of a base image.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// The contents of an image.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The directory with `program/` and requirements.txt.
    pub directory: &'a Path,
    /// The git commit, or a marker for a dirty tree.
    pub revision: &'a str,
    /// The layer of the packages, and their Python version.
    pub dependencies: Option<(Dependencies, PythonVersion)>,
}

/// Builds an image on a base. The same inputs give the same digest.
///
/// # Errors
/// Those of [`program::build`].
pub fn layers(base: Base, contents: Contents<'_>) -> Result<Image> {
    let (program, scratch) = program::layer(
        &contents.directory.join("program"),
        &contents.directory.join("requirements.txt"),
    )?;
    let python = contents
        .dependencies
        .as_ref()
        .map(|(_, python)| python.clone());
    let mut own = Vec::new();
    if let Some((dependencies, _)) = contents.dependencies {
        own.push(("packages", dependencies.layer));
    }
    own.push(("program", program));
    let configuration = configuration(&base, contents.revision, python.as_ref(), &own)?;
    let mut annotations = BTreeMap::new();
    if let Some(digest) = &base.digest {
        // The path of a layout on this machine is not recorded in the image.
        if !base.name.starts_with("oci:") {
            annotations.insert(BASE_NAME.to_owned(), base.name.clone());
        }
        annotations.insert(BASE_DIGEST.to_owned(), digest.to_string());
    }
    annotations.insert(program::REVISION.to_owned(), contents.revision.to_owned());
    let mut layers = base.layers;
    layers.extend(own.into_iter().map(|(_, layer)| layer));
    layer::assemble(Parts {
        layers,
        configuration,
        annotations,
        base: Some(base.name),
        scratch: vec![scratch],
    })
}

/// Returns the base's configuration with the program's additions.
fn configuration(
    base: &Base,
    revision: &str,
    python: Option<&PythonVersion>,
    own: &[(&str, layer::Layer)],
) -> Result<Value> {
    let mut whole = Map::new();
    // Without `created`, because the same inputs must produce the same bytes on any day.
    for key in ["architecture", "os", "os.version", "variant", "author"] {
        if let Some(value) = base.configuration.get(key) {
            whole.insert(key.to_owned(), value.clone());
        }
    }
    let mut config = base.configuration["config"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for key in [
        "Entrypoint",
        "Cmd",
        "OnBuild",
        "Image",
        "Hostname",
        "ArgsEscaped",
    ] {
        config.shift_remove(key);
    }
    let mut variables: Vec<String> = config
        .get("Env")
        .cloned()
        .map(serde_json::from_value)
        .transpose()
        .context("the base's environment is not a list")?
        .unwrap_or_default();
    let mut path = vec![format!("/{}", program::DIRECTORY)];
    if python.is_some() {
        path.push(format!("/{}/bin", dependencies::DIRECTORY));
        let packages = format!("/{}", dependencies::DIRECTORY);
        put_first(&mut variables, "PYTHONPATH", &packages, None);
    }
    put_first(
        &mut variables,
        "PATH",
        &path.join(":"),
        Some(program::SYSTEM_PATH),
    );
    if base.variable("PYTHONUNBUFFERED").is_none() {
        variables.push("PYTHONUNBUFFERED=1".to_owned());
    }
    config.insert("Env".to_owned(), json!(variables));
    config.insert(
        "WorkingDir".to_owned(),
        json!(format!("/{}", program::DIRECTORY)),
    );
    let mut labels = config
        .get("Labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    labels.insert(program::REVISION.to_owned(), json!(revision));
    // The base may have been built by this program, too.
    labels.shift_remove(PYTHON);
    if let Some(python) = python {
        labels.insert(PYTHON.to_owned(), json!(python));
    }
    config.insert("Labels".to_owned(), Value::Object(labels));
    whole.insert("config".to_owned(), Value::Object(config));
    let history = base.configuration["history"].as_array();
    // A history describes either every layer or none.
    if history.is_some() || base.layers.is_empty() {
        let mut history = history.cloned().unwrap_or_default();
        for (what, _) in own {
            history.push(json!({ "created_by": format!("mlops image build: {what}") }));
        }
        whole.insert("history".to_owned(), Value::Array(history));
    }
    Ok(Value::Object(whole))
}

/// Prepends directories to a variable.
fn put_first(variables: &mut Vec<String>, name: &str, first: &str, otherwise: Option<&str>) {
    let prefix = format!("{name}=");
    let found = variables
        .iter_mut()
        .find(|variable| variable.starts_with(&prefix));
    match found {
        Some(variable) if variable.len() > prefix.len() => {
            *variable = format!("{prefix}{first}:{}", &variable[prefix.len()..]);
        }
        Some(variable) => *variable = format!("{prefix}{first}"),
        None => variables.push(match otherwise {
            Some(rest) => format!("{prefix}{first}:{rest}"),
            None => format!("{prefix}{first}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Blob, Content, Digest, Manifest};
    use super::*;
    use crate::layout;
    use mlops_core::names::Platform;
    use std::path::PathBuf;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::create_dir(&program).unwrap();
        std::fs::write(program.join("train"), "#!/usr/bin/env python3\n").unwrap();
        directory
    }

    fn build(base: Base) -> Result<Image> {
        layers(
            base,
            Contents {
                directory: directory().path(),
                revision: COMMIT,
                dependencies: None,
            },
        )
    }

    fn parts(image: &Image) -> (Value, Value) {
        let manifest = &image.root;
        let config = manifest.blobs.last().unwrap();
        let Content::Bytes(bytes) = &config.content else {
            panic!("a configuration is small");
        };
        (
            serde_json::from_slice(&manifest.bytes).unwrap(),
            serde_json::from_slice(bytes).unwrap(),
        )
    }

    /// An image of one layer with this configuration, as a registry stores it.
    fn image(config: &Value) -> Image {
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": Digest::of(&config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": Digest::of(b"layer"), "size": 5}],
        })
        .to_string()
        .into_bytes();
        Image::new(Manifest {
            digest: Digest::of(&manifest),
            media_type: "application/vnd.docker.distribution.manifest.v2+json".to_owned(),
            bytes: manifest,
            blobs: vec![Blob::of(config), Blob::of(b"layer".to_vec())],
        })
    }

    fn python_base(more: &Value) -> Value {
        let mut config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {
                "Env": ["PATH=/usr/local/bin:/bin", "PYTHON_VERSION=3.12.7", "LANG=C"],
                "Cmd": ["python3"], "Entrypoint": ["tini"], "User": "app",
                "Labels": {"z": "1", "a": "2"},
            },
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"tar")]},
            "history": [{"created_by": "somebody"}],
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    #[test]
    fn the_bases_settings_are_kept_and_the_program_comes_first() {
        let below = image(&python_base(&json!({})));
        let base = Base::of(&below, "example.com/python:3.12", Platform::Amd64).unwrap();
        assert_eq!(base.python().unwrap().as_str(), "3.12");
        let built = build(base).unwrap();
        let (manifest, config) = parts(&built);
        assert_eq!(config["config"]["User"], "app");
        assert_eq!(
            config["config"]["Env"],
            json!([
                "PATH=/opt/program:/usr/local/bin:/bin",
                "PYTHON_VERSION=3.12.7",
                "LANG=C",
                "PYTHONUNBUFFERED=1"
            ])
        );
        for gone in ["Cmd", "Entrypoint"] {
            assert!(config["config"].get(gone).is_none(), "{gone}");
        }
        assert!(config.get("created").is_none());
        assert_eq!(config["config"]["Labels"]["a"], "2");
        assert_eq!(config["config"]["Labels"][program::REVISION], COMMIT);
        assert_eq!(config["rootfs"]["diff_ids"][0], json!(Digest::of(b"tar")));
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        assert_eq!(config["history"].as_array().unwrap().len(), 2);
        assert_eq!(
            manifest["annotations"][BASE_NAME],
            "example.com/python:3.12"
        );
        assert_eq!(manifest["annotations"][BASE_DIGEST], json!(below.digest()));
        // Docker's types become OCI's; the bytes are the same.
        assert_eq!(
            manifest["layers"][0],
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest::of(b"layer"), "size": 5})
        );
    }

    #[test]
    fn a_base_for_another_platform_is_refused() {
        let error = Base::of(&image(&python_base(&json!({}))), "x", Platform::Arm64).unwrap_err();
        assert!(format!("{error:#}").contains("linux/amd64"), "{error:#}");
        let lying = json!({"rootfs": {"type": "layers", "diff_ids": []}});
        let error = Base::of(&image(&python_base(&lying)), "x", Platform::Amd64).unwrap_err();
        assert!(format!("{error:#}").contains("lists 0"), "{error:#}");
    }

    #[test]
    fn the_same_inputs_give_the_same_image_in_a_layout_too() {
        let first = build(Base::scratch(Platform::Amd64)).unwrap();
        for _ in 0..8 {
            // A map without a fixed order would cause occasional differences.
            let again = build(Base::scratch(Platform::Amd64)).unwrap();
            assert_eq!(again.digest(), first.digest());
        }
        let (_, config) = parts(&first);
        assert_eq!(config["config"]["WorkingDir"], "/opt/program");
        let saved = tempfile::tempdir().unwrap();
        let into: PathBuf = saved.path().join("image");
        super::super::save::save(&first, &into).unwrap();
        assert_eq!(layout::read(&into).unwrap().digest(), first.digest());
        // A saved image can serve as a base.
        let base = Base::from_layout(&into, "oci:image", Platform::Amd64).unwrap();
        let (_, config) = parts(&build(base).unwrap());
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    }
}
