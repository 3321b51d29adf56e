//! `mlops image push SOURCE`: archives and the local store, pushed to the local cloud's registry.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use sha2::Digest;

use crate::faulty_registry::{Action, FaultyRegistry, basic, ecr};
use crate::sandbox::{Run, Sandbox};

/// Starts a local cloud with the repository `team/flights`, and logs in to it.
struct Cloud {
    sandbox: Sandbox,
    registry: FaultyRegistry,
}

impl Cloud {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let start = ["local", "start", "--detach", "--port", "0"];
        sandbox.mlops(start).success();
        let status = sandbox.mlops(["local", "status", "--output", "json"]);
        let endpoint = status.success().json()["endpoint"].clone();
        let endpoint = endpoint.as_str().unwrap().to_owned();
        let input = json!({"repositoryName": "team/flights"}).to_string();
        ecr(&endpoint, "CreateRepository", &input);
        let registry = FaultyRegistry::new(&endpoint, |_| Action::Pass);
        let config = json!({"auths": {&registry.address: {"auth": basic()}}});
        sandbox.write("../home/.docker/config.json", config.to_string());
        Self { sandbox, registry }
    }

    fn push(&self, source: &str, more: &[&str]) -> Run {
        let to = format!("{}/team/flights:v1", self.registry.address);
        let fixed = ["image", "push", source, "--to", &to, "--plain-http"];
        let output = ["--output", "json"];
        self.sandbox.mlops(fixed.iter().chain(&output).chain(more))
    }

    /// Returns the registry's image under the tag, if any.
    fn manifest(&self) -> Option<Value> {
        let (status, body) = self.registry.ask("GET", "/v2/team/flights/manifests/v1");
        (status == 200).then(|| serde_json::from_slice(&body).unwrap())
    }

    fn blob(&self, of: &Value) -> Vec<u8> {
        let digest = of["digest"].as_str().unwrap();
        let path = format!("/v2/team/flights/blobs/{digest}");
        let (status, body) = self.registry.ask("GET", &path);
        assert_eq!(status, 200, "{digest}");
        assert_eq!(digest_of(&body), digest);
        assert_eq!(of["size"], body.len());
        body
    }

    /// Returns the registry's layers, decompressed.
    fn layers(&self, kind: &str) -> Vec<Vec<u8>> {
        let manifest = self.manifest().unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| {
                let media_type = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
                assert_eq!(layer["mediaType"], media_type);
                let bytes = self.blob(layer);
                let mut plain = Vec::new();
                match kind {
                    "gzip" => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain),
                    _ => zstd::Decoder::new(&bytes[..])
                        .unwrap()
                        .read_to_end(&mut plain),
                }
                .unwrap();
                plain
            })
            .collect()
    }
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}

/// Returns layers of more than one block: text, and noise surrounded by text.
fn layers() -> Vec<Vec<u8>> {
    let text: Vec<u8> = (0..50_000)
        .flat_map(|line| format!("this is line {line}\n").into_bytes())
        .collect();
    let mut noise = vec![0; 1 << 20];
    let mut state = 88_172_645_463_325_252_u64;
    for chunk in noise.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    [text, noise]
        .iter()
        .map(|bytes| {
            let mut archive = tar::Builder::new(Vec::new());
            add(&mut archive, "first", b"a");
            add(&mut archive, "file", bytes);
            archive.into_inner().unwrap()
        })
        .collect()
}

/// Returns layers in the format of `docker save`.
fn saved(layers: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut names = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        names.push(format!("{index}/layer.tar"));
        add(&mut archive, &names[index], layer);
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    add(&mut archive, "config.json", config.to_string().as_bytes());
    let manifest = json!([{"Config": "config.json", "RepoTags": ["img:v1"], "Layers": names}]);
    add(
        &mut archive,
        "manifest.json",
        manifest.to_string().as_bytes(),
    );
    archive.into_inner().unwrap()
}

#[test]
fn a_docker_archive_is_compressed_and_pushed() {
    let cloud = Cloud::new();
    let layers = layers();
    cloud.sandbox.write("image.tar", saved(&layers));
    let pushed = cloud.push("image.tar", &[]).success().json();
    assert!(cloud.layers("gzip") == layers);
    let manifest = cloud.manifest().unwrap();
    let config: Value = serde_json::from_slice(&cloud.blob(&manifest["config"])).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], digest_of(&layers[0]));
    let sizes = manifest["layers"].as_array().unwrap().iter();
    let sizes: Vec<u64> = sizes.map(|layer| layer["size"].as_u64().unwrap()).collect();
    assert!(sizes[0] < layers[0].len() as u64 / 3, "{sizes:?}");
    let noise = layers[1].len() as u64;
    assert!(
        sizes[1] > noise - 5000 && sizes[1] < noise + 5000,
        "{sizes:?}"
    );

    let again = cloud
        .push("docker-archive:image.tar:img:v1", &[])
        .success()
        .json();
    assert_eq!(again["digest"], pushed["digest"]);
    assert_eq!(again["sent"], 0, "{again}");
    assert_eq!(again["saved"], again["size"]);

    let zstd = cloud
        .push("image.tar", &["--compression", "zstd"])
        .success()
        .json();
    assert_ne!(zstd["digest"], pushed["digest"]);
    assert!(cloud.layers("zstd") == layers);
}

#[test]
fn an_image_of_the_local_store_is_saved_and_pushed() {
    let mut cloud = Cloud::new();
    let layers = layers();
    cloud.sandbox.write("image.tar", saved(&layers));
    let archive = cloud.sandbox.path().join("image.tar");
    let engine = |cloud: &Cloud, name: &str, script: &str| {
        let path = format!("bin/{name}");
        cloud.sandbox.write(&path, format!("#!/bin/sh\n{script}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(cloud.sandbox.path().join(path), mode).unwrap();
    };
    let bin = cloud.sandbox.path().join("bin");
    let none = cloud.sandbox.path().join("none");
    std::fs::create_dir(&none).unwrap();
    cloud.sandbox.set("PATH", none.to_str().unwrap());
    let refused = cloud.push("team/img:v1", &[]).code(1);
    assert!(
        refused.stderr.contains("docker or podman is not installed"),
        "{}",
        refused.stderr
    );
    cloud
        .sandbox
        .set("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    let write = format!(
        "test \"$*\" = 'save team/img:v1' || exit 7\nexec cat {}",
        archive.display()
    );
    engine(&cloud, "docker", &write);
    cloud.push("team/img:v1", &[]).success();
    assert!(cloud.layers("gzip") == layers);

    engine(
        &cloud,
        "docker",
        "echo 'Cannot connect to the Docker daemon' >&2\nexit 1",
    );
    let write = format!(
        "test \"$*\" = 'save --format docker-archive team/img:v1' || exit 7\nexec cat {}",
        archive.display()
    );
    engine(&cloud, "podman", &write);
    cloud.push("team/img:v1", &[]).success();
    let refused = cloud.push("docker-daemon:team/img:v1", &[]).code(1);
    assert!(
        refused
            .stderr
            .contains("Cannot connect to the Docker daemon"),
        "{}",
        refused.stderr
    );
    let refused = cloud.push("--", &[]).code(2);
    assert!(!refused.stderr.is_empty());
    engine(&cloud, "docker", "head -c 5000 ../work/image.tar");
    let refused = cloud.push("team/img:v1", &[]).code(1);
    assert!(refused.stderr.contains("truncated"), "{}", refused.stderr);
}

#[test]
fn invalid_sources_are_not_pushed() {
    let cloud = Cloud::new();
    let layers = layers();
    let good = saved(&layers);
    let mut corrupted = good.clone();
    corrupted[2000] ^= 1;
    let mut evil = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..12].copy_from_slice(b"../../escape");
    header.set_size(1);
    header.set_cksum();
    evil.append(&header, &b"x"[..]).unwrap();
    for (bytes, message) in [
        (corrupted, "0/layer.tar"),
        (good[..good.len() / 2].to_vec(), "truncated"),
        (evil.into_inner().unwrap(), "outside of it"),
        (Vec::new(), "is empty"),
        (b"hello".to_vec(), "not a tar archive"),
    ] {
        cloud.sandbox.write("image.tar", bytes);
        let refused = cloud.push("image.tar", &[]).code(1);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        assert!(refused.stdout.is_empty(), "{}", refused.stdout);
        assert!(cloud.manifest().is_none(), "{message}: there is a tag");
    }
    assert_eq!(cloud.registry.count("PUT", "/manifests/"), 0);
    let refused = cloud.push("nothing.tar", &[]).code(2);
    assert!(
        refused.stderr.contains("no file or directory"),
        "{}",
        refused.stderr
    );
}
