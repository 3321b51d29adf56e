//! Archives and layouts as builders write them, and malformed ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::{Blob, Content, Digest};

mod layouts;

/// A layer's tar archive.
fn layer(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, name, bytes);
    archive.into_inner().unwrap()
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of `docker save` with these layers: the bytes in the archive, and the uncompressed
/// ones.
fn saved(layers: &[(&[u8], &[u8])], tags: &[&str]) -> tar::Builder<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut names = Vec::new();
    let mut diff_ids = Vec::new();
    for (index, (stored, plain)) in layers.iter().enumerate() {
        let name = format!("{index}/layer.tar");
        add(&mut archive, &name, stored);
        names.push(name);
        diff_ids.push(Digest::of(plain));
    }
    let config = json!({"architecture": "amd64", "os": "linux",
        "config": {"Labels": {"org.opencontainers.image.base.name": "python:3.12"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string();
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    add(&mut archive, &name, config.as_bytes());
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": names}]);
    add(
        &mut archive,
        "manifest.json",
        manifest.to_string().as_bytes(),
    );
    archive
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn open_file(path: &Path) -> Result<Source> {
    open(path.to_str().unwrap())
}

fn draft(path: &Path) -> Draft {
    match open_file(path).unwrap() {
        Source::Draft(draft) => draft,
        Source::Ready(_) => panic!("a manifest is known"),
    }
}

fn refusal(path: &Path) -> String {
    format!("{:#}", open_file(path).unwrap_err())
}

fn content(blob: &Blob) -> Vec<u8> {
    match &blob.content {
        Content::Bytes(bytes) => bytes.clone(),
        Content::File { path, offset } => {
            let offset = usize::try_from(*offset).unwrap();
            let size = usize::try_from(blob.size).unwrap();
            std::fs::read(path).unwrap()[offset..offset + size].to_vec()
        }
        Content::Extents(extents) => {
            let mut bytes = Vec::new();
            extents.reader().unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        }
    }
}

fn compress_all(draft: &Draft, compression: Compression) -> Result<Vec<Blob>> {
    let options = Options { compression };
    (0..draft.layers().len())
        .map(|index| draft.compress(index, options, &|_| {}))
        .collect()
}

#[test]
fn layers_are_compressed_once_and_described() {
    let files = Files::new();
    let (first, second) = (layer("a", &[b'a'; 5000]), layer("b", b"b"));
    let (stored, packed) = (gzip(&second), zstd::encode_all(&second[..], 1).unwrap());
    let archive = saved(
        &[(&first, &first), (&stored, &second), (&packed, &second)],
        &["img:v1"],
    );
    let path = files.write("image.tar", &archive.into_inner().unwrap());
    for (compression, kind, kept) in [
        (Compression::Gzip, "gzip", 1),
        (Compression::Zstd, "zstd", 2),
    ] {
        let draft = draft(&path);
        assert_eq!(draft.layers()[0], first.len() as u64);
        let told = std::cell::Cell::new(0);
        let count = |bytes| told.set(told.get() + bytes);
        let mut blobs = Vec::new();
        for index in 0..3 {
            told.set(0);
            let blob = draft
                .compress(index, Options { compression }, &count)
                .unwrap();
            assert_eq!(told.get(), draft.layers()[index]);
            assert_eq!(blob.digest, Digest::of(&content(&blob)));
            let plain: &[u8] = if index == 0 { &first } else { &second };
            let mut found = Vec::new();
            let bytes = content(&blob);
            match compression {
                Compression::Gzip => MultiGzDecoder::new(&bytes[..]).read_to_end(&mut found),
                Compression::Zstd => zstd::Decoder::new(&bytes[..])
                    .unwrap()
                    .read_to_end(&mut found),
            }
            .unwrap();
            assert!(found == plain, "{index}");
            let in_archive = matches!(&blob.content, Content::File { path: at, .. } if *at == path);
            assert_eq!(in_archive, index == kept, "{index}");
            blobs.push(blob);
        }
        let image = draft.finish(blobs).unwrap();
        assert_eq!(image.base.as_deref(), Some("python:3.12"));
        let manifest = &image.root;
        assert_eq!(manifest.digest, Digest::of(&manifest.bytes));
        let parsed: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        for (layer, blob) in parsed["layers"]
            .as_array()
            .unwrap()
            .iter()
            .zip(&manifest.blobs)
        {
            let media_type = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
            assert_eq!(layer["mediaType"], media_type);
            assert_eq!(layer["digest"], json!(blob.digest));
            assert_eq!(layer["size"], blob.size);
            assert!(!content(blob).is_empty());
        }
        let config = manifest.blobs.last().unwrap();
        assert_eq!(
            parsed["config"]["digest"],
            json!(Digest::of(&content(config)))
        );
    }
}

#[test]
fn a_layer_that_does_not_match_the_configuration_is_rejected() {
    let files = Files::new();
    let (right, wrong) = (layer("a", b"a"), layer("a", b"b"));
    let damaged = gzip(&right);
    for (stored, message) in [
        (&wrong[..], "has the digest"),
        (&gzip(&wrong)[..], "has the digest"),
        (&damaged[..damaged.len() - 9], "cannot be decompressed"),
    ] {
        let archive = saved(&[(&right, &right), (stored, &right)], &[]);
        let draft = draft(&files.write("image.tar", &archive.into_inner().unwrap()));
        let error = format!("{:#}", compress_all(&draft, Compression::Gzip).unwrap_err());
        assert!(error.contains("1/layer.tar"), "{error}");
        assert!(error.contains(message), "{error}");
        // For zstd, it is decompressed and compressed again.
        assert!(compress_all(&draft, Compression::Zstd).is_err());
        assert!(draft.finish(Vec::new()).is_err());
    }
}

#[test]
fn one_of_several_images_is_selected() {
    let files = Files::new();
    let (first, second) = (layer("a", b"a"), layer("b", b"b"));
    let mut archive = tar::Builder::new(Vec::new());
    let mut manifest = Vec::new();
    for (index, (bytes, tag)) in [(&first, "img:v1"), (&second, "host/other:latest")]
        .iter()
        .enumerate()
    {
        let config = json!({"rootfs": {"diff_ids": [Digest::of(bytes)]}}).to_string();
        add(&mut archive, &format!("{index}.json"), config.as_bytes());
        add(&mut archive, &format!("{index}.tar"), bytes);
        manifest.push(json!({"Config": format!("{index}.json"), "RepoTags": [tag], "Layers": [format!("{index}.tar")]}));
    }
    add(
        &mut archive,
        "manifest.json",
        json!(manifest).to_string().as_bytes(),
    );
    let path = files.write("two.tar", &archive.into_inner().unwrap());
    let error = open_file(&path).unwrap_err();
    assert!(
        error.to_string().contains("contains 2 images, not one"),
        "{error}"
    );
    assert!(mlops_core::error::hints(&error)[0].contains("img:v1, host/other:latest"));
    let path = path.to_str().unwrap();
    for name in ["img:v1", "v1", "host/other", "host/other:latest"] {
        for text in [
            format!("{path}:{name}"),
            format!("docker-archive:{path}:{name}"),
        ] {
            let Source::Draft(draft) = open(&text).unwrap() else {
                panic!("{text}");
            };
            compress_all(&draft, Compression::Gzip).unwrap();
        }
    }
    let error = open(&format!("{path}:v2")).unwrap_err();
    assert!(
        error.to_string().contains("contains 0 images `v2`"),
        "{error}"
    );
}

/// An OCI layout of one layer, as files by name.
fn layout(layer: &[u8], media_type: &str, names: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        files.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
        digest
    };
    let config = json!({"rootfs": {"diff_ids": [Digest::of(layer)]}}).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": media_type, "digest": blob(layer), "size": layer.len()}],
    })
    .to_string();
    let digest = blob(manifest.as_bytes());
    let described: Vec<_> = names
        .iter()
        .map(|name| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest,
                "size": manifest.len(), "annotations": {"org.opencontainers.image.ref.name": name}})
        })
        .collect();
    let index = json!({"schemaVersion": 2, "manifests": described}).to_string();
    files.push(("index.json".to_owned(), index.into_bytes()));
    files.push((
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    ));
    files
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        add(&mut archive, name, bytes);
    }
    archive.into_inner().unwrap()
}

const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn a_layout_in_an_archive_is_read_in_place() {
    let files = Files::new();
    let blob = gzip(&layer("a", b"a"));
    let archive = tar_of(&layout(&blob, GZIP_LAYER, &["v1"]));
    let plain = files.write("oci.tar", &archive);
    let packed = files.write("oci.tar.gz", &gzip(&archive));
    let mut digests = Vec::new();
    for path in [&plain, &packed] {
        let Source::Ready(image) = open_file(path).unwrap() else {
            panic!("it has a manifest");
        };
        for blob in &image.root.blobs {
            assert_eq!(Digest::of(&content(blob)), blob.digest);
        }
        digests.push(image.digest());
    }
    assert_eq!(digests[0], digests[1]);
    let text = format!("oci-archive:{}:v1", plain.display());
    assert!(matches!(open(&text).unwrap(), Source::Ready(_)));
    let error = open(&format!("{}:v2", plain.display())).unwrap_err();
    assert!(
        error.to_string().contains("contains 0 images `v2`"),
        "{error}"
    );
}

#[test]
fn dockers_newer_archive_keeps_a_manifest_of_compressed_layers_only() {
    let files = Files::new();
    let plain = layer("a", b"a");
    for (blob, media_type, ready) in [
        (gzip(&plain), GZIP_LAYER, true),
        (
            plain.clone(),
            "application/vnd.oci.image.layer.v1.tar",
            false,
        ),
    ] {
        let mut all = layout(&blob, media_type, &["v1"]);
        let config = json!({"rootfs": {"diff_ids": [Digest::of(&plain)]}}).to_string();
        all.push(("config.json".to_owned(), config.into_bytes()));
        let name = format!("blobs/sha256/{}", Digest::of(&blob).hex());
        let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": [name]}]);
        all.push((
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        ));
        let path = files.write("new.tar", &tar_of(&all));
        match open_file(&path).unwrap() {
            Source::Ready(_) => assert!(ready),
            Source::Draft(draft) => {
                assert!(!ready);
                compress_all(&draft, Compression::Gzip).unwrap();
            }
        }
    }
}

#[test]
fn sources_without_an_image_are_rejected() {
    let files = Files::new();
    let good = layer("a", b"a");
    let manifest = |manifest: &serde_json::Value| {
        let mut archive = tar::Builder::new(Vec::new());
        add(
            &mut archive,
            "c.json",
            json!({"rootfs": {"diff_ids": [Digest::of(b"")]}})
                .to_string()
                .as_bytes(),
        );
        add(
            &mut archive,
            "wrong.json",
            br#"{"rootfs": {"diff_ids": ["sha256:../x"]}}"#,
        );
        add(&mut archive, "a.tar", &good);
        add(&mut archive, "xz.tar", b"\xfd7zXZ\0 and so on");
        add(
            &mut archive,
            "manifest.json",
            manifest.to_string().as_bytes(),
        );
        archive.into_inner().unwrap()
    };
    let one = |config: &str, layers: &[&str]| {
        manifest(&json!([{"Config": config, "RepoTags": [], "Layers": layers}]))
    };
    let many: Vec<&str> = vec!["a.tar"; 2];
    let mut renamed = saved(&[], &[]).into_inner().unwrap();
    let at = renamed.windows(4).position(|four| four == b"amd6").unwrap();
    renamed[at] = b'A';
    let mut large = tar::Builder::new(Vec::new());
    add(&mut large, "manifest.json", &vec![b' '; (4 << 20) + 1]);
    for (bytes, message) in [
        (Vec::new(), "is empty"),
        (b"not a tar".to_vec(), "not a tar archive"),
        (layer("x", b"x"), "does not contain an image"),
        (gzip(b"not a tar"), "not a tar archive"),
        (gzip(&good)[..30].to_vec(), "cannot decompress"),
        (manifest(&json!({"Config": 1})), "cannot read manifest.json"),
        (manifest(&json!([])), "contains 0 images"),
        (one("../c.json", &[]), "outside of the archive"),
        (one("/etc/passwd", &[]), "outside of the archive"),
        (one("none.json", &[]), "has no file"),
        (one("a.tar", &[]), "cannot read the configuration"),
        (
            one("c.json", &many),
            "contains 2 layers, but its configuration lists 1",
        ),
        (
            one("c.json", &["../../layer.tar"]),
            "outside of the archive",
        ),
        (one("wrong.json", &["a.tar"]), "is not a digest"),
        (one("c.json", &["gone.tar"]), "has no file"),
        (one("c.json", &["xz.tar"]), "compressed with xz"),
        (renamed, "has the digest"),
        (large.into_inner().unwrap(), "the limit is"),
    ] {
        let error = refusal(&files.write("image.tar", &bytes));
        assert!(error.contains(message), "{message}: {error}");
    }
    let config = json!({"rootfs": {"diff_ids": vec![Digest::of(b""); 1001]}}).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "c.json", config.as_bytes());
    let layers = vec!["a.tar"; 1001];
    let manifest = json!([{"Config": "c.json", "RepoTags": [], "Layers": layers}]).to_string();
    add(&mut archive, "manifest.json", manifest.as_bytes());
    let error = refusal(&files.write("image.tar", &archive.into_inner().unwrap()));
    assert!(error.contains("more than 1000 layers"), "{error}");
}

#[test]
fn a_path_takes_precedence_over_a_name() {
    let files = Files::new();
    let path = files.write("image.tar", b"x");
    let path = path.to_str().unwrap();
    let both: &[&str] = &["docker", "podman"];
    assert_eq!(parse_name(path).unwrap(), SourceName::File(path, None));
    for text in [format!("{path}:a:b"), format!("docker-archive:{path}:a:b")] {
        assert_eq!(
            parse_name(&text).unwrap(),
            SourceName::File(path, Some("a:b"))
        );
    }
    assert_eq!(
        parse_name("img:v1").unwrap(),
        SourceName::Store("img:v1", both)
    );
    assert_eq!(
        parse_name("docker-daemon:img:v1").unwrap(),
        SourceName::Store("img:v1", &["docker"])
    );
    assert_eq!(
        parse_name("containers-storage:img").unwrap(),
        SourceName::Store("img", &["podman"])
    );
    for text in [
        "/none",
        "./none",
        "none.tar",
        "none.tar:v1",
        "oci:none",
        "docker-archive:none",
    ] {
        let error = parse_name(text).unwrap_err();
        assert!(
            error.to_string().contains("no file or directory"),
            "{error}"
        );
        assert_eq!(
            mlops_core::error::exit(&error),
            mlops_core::error::Exit::Usage
        );
    }
}
