//! Which image of a layout is selected, and which of its parts are pushed.

use super::*;

/// Writes the files of a layout into a directory.
fn unpacked(files: &Files, all: Vec<(String, Vec<u8>)>) {
    for (name, bytes) in all {
        let path = files.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Changes index.json of a layout.
fn edit_index(all: &mut [(String, Vec<u8>)], edit: impl FnOnce(&mut serde_json::Value)) {
    let (_, bytes) = all
        .iter_mut()
        .find(|(name, _)| name == "index.json")
        .unwrap();
    let mut index = serde_json::from_slice(bytes).unwrap();
    edit(&mut index);
    *bytes = index.to_string().into_bytes();
}

#[test]
fn a_tag_selects_an_image_of_a_layout_directory() {
    let files = Files::new();
    let mut both = layout(b"layer", GZIP_LAYER, &["v1"]);
    let other = layout(b"other", GZIP_LAYER, &["v2"]);
    let (_, index) = other.iter().find(|(name, _)| name == "index.json").unwrap();
    let index: serde_json::Value = serde_json::from_slice(index).unwrap();
    edit_index(&mut both, |all| {
        let all = all["manifests"].as_array_mut().unwrap();
        all.push(index["manifests"][0].clone());
    });
    both.extend(
        other
            .into_iter()
            .filter(|(name, _)| name.starts_with("blobs/")),
    );
    unpacked(&files, both);
    let error = open_file(files.0.path()).unwrap_err();
    assert!(
        error.to_string().contains("contains 2 images, not one"),
        "{error}"
    );
    assert!(mlops_core::error::hints(&error)[0].contains("v1, v2"));
    for text in ["", "oci:"] {
        let text = format!("{text}{}:v2", files.0.path().display());
        assert!(matches!(open(&text).unwrap(), Source::Ready(_)));
    }
}

/// Issue 8, 4.5: case oci-two-names-one-image.
#[test]
fn a_layout_that_names_one_image_twice_has_one_image() {
    let files = Files::new();
    unpacked(&files, layout(b"layer", GZIP_LAYER, &["1.0", "latest"]));
    for name in ["", ":1.0", ":latest"] {
        let text = format!("{}{name}", files.0.path().display());
        assert!(matches!(open(&text).unwrap(), Source::Ready(_)), "{name}");
    }
}

/// Issue 8, 4.5: case docker-archive-short-name, for archives and layouts.
#[test]
fn a_short_name_finds_the_image_of_the_full_name() {
    let files = Files::new();
    let plain = layer("a", b"a");
    let archive = saved(&[(&plain, &plain)], &["docker.io/team/app:1"]);
    let path = files.write("image.tar", &archive.into_inner().unwrap());
    for name in ["team/app:1", "docker.io/team/app:1", "1"] {
        let text = format!("docker-archive:{}:{name}", path.display());
        assert!(matches!(open(&text).unwrap(), Source::Draft(_)), "{name}");
    }
    let error = open(&format!("docker-archive:{}:app:1", path.display())).unwrap_err();
    assert!(
        error.to_string().contains("contains 0 images `app:1`"),
        "{error}"
    );

    // containerd's exports: the tag in OCI's annotation, the whole name in its own.
    let mut all = layout(b"layer", GZIP_LAYER, &["1"]);
    edit_index(&mut all, |index| {
        index["manifests"][0]["annotations"]["io.containerd.image.name"] =
            json!("docker.io/team/app:1");
    });
    unpacked(&files, all);
    for name in ["team/app:1", "docker.io/team/app:1", "1"] {
        let text = format!("{}:{name}", files.0.path().display());
        assert!(matches!(open(&text).unwrap(), Source::Ready(_)), "{name}");
    }
}

/// Puts another descriptor before the layer of a layout's only manifest.
fn with_layer(layer: &serde_json::Value) -> Vec<(String, Vec<u8>)> {
    let mut all = layout(b"layer", GZIP_LAYER, &["v1"]);
    let at = |all: &[(String, Vec<u8>)], part: &[u8]| {
        all.iter()
            .position(|(_, bytes)| bytes.windows(part.len()).any(|found| found == part))
            .unwrap()
    };
    let found = at(&all, b"\"schemaVersion\":2,\"config\"");
    let (_, bytes) = all.remove(found);
    let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let layers = manifest["layers"].as_array_mut().unwrap();
    layers.insert(0, layer.clone());
    let manifest = manifest.to_string().into_bytes();
    let digest = Digest::of(&manifest);
    edit_index(&mut all, |index| {
        index["manifests"][0]["digest"] = json!(digest);
        index["manifests"][0]["size"] = json!(manifest.len());
    });
    all.push((format!("blobs/sha256/{}", digest.hex()), manifest));
    all
}

/// Issue 8, 4.5: case oci-foreign-layer.
#[test]
fn layers_that_must_not_be_distributed_are_skipped() {
    let absent = format!("sha256:{}", "a".repeat(64));
    let url = json!(["https://example.com/layer"]);
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let files = Files::new();
        let foreign = json!({"mediaType": media_type, "digest": absent, "size": 1000, "urls": url});
        unpacked(&files, with_layer(&foreign));
        let source = open_file(files.0.path()).unwrap();
        assert!(source.notes()[0].contains(&absent), "{:?}", source.notes());
        let Source::Ready(image) = source else {
            panic!("it has a manifest");
        };
        assert_eq!(image.root.blobs.len(), 2, "{media_type}");
    }
    // Without a URL, or with an ordinary type, the layer is missing.
    for part in [
        json!({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": absent, "size": 1}),
        json!({"mediaType": GZIP_LAYER, "digest": absent, "size": 1, "urls": url}),
    ] {
        let files = Files::new();
        unpacked(&files, with_layer(&part));
        assert!(refusal(files.0.path()).contains("cannot read"));
    }
}

#[test]
fn bytes_in_a_descriptor_need_no_file() {
    let digest = Digest::of(b"{}");
    let part =
        |data: &str| json!({"mediaType": GZIP_LAYER, "digest": digest, "size": 2, "data": data});
    let files = Files::new();
    unpacked(&files, with_layer(&part("e30=")));
    let Source::Ready(image) = open_file(files.0.path()).unwrap() else {
        panic!("it has a manifest");
    };
    assert_eq!(content(&image.root.blobs[0]), b"{}");
    let files = Files::new();
    unpacked(&files, with_layer(&part("e2E=")));
    assert!(refusal(files.0.path()).contains("has the digest"));
}

/// Issue 8, 4.5: containerd and Docker export an index with the images of some platforms only.
#[test]
fn an_index_with_a_single_available_image_is_that_image() {
    let absent = format!("sha256:{}", "a".repeat(64));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let arm = json!({"mediaType": kind, "digest": absent, "size": 500, "platform": {"os": "linux", "architecture": "arm64"}});
    let exported = |children: &dyn Fn(serde_json::Value) -> Vec<serde_json::Value>| {
        let mut all = layout(b"layer", GZIP_LAYER, &["v1"]);
        let mut nested = Vec::new();
        edit_index(&mut all, |index| {
            let mut one = index["manifests"][0].clone();
            one["platform"] = json!({"os": "linux", "architecture": "amd64"});
            let inner = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": children(one)});
            nested = inner.to_string().into_bytes();
            index["manifests"] = json!([{"mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": Digest::of(&nested), "size": nested.len()}]);
        });
        all.push((
            format!("blobs/sha256/{}", Digest::of(&nested).hex()),
            nested,
        ));
        let files = Files::new();
        unpacked(&files, all);
        files
    };
    let attestation = json!({"mediaType": kind, "digest": Digest::of(b"attestation"), "size": 500,
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
    let files = exported(&|one| vec![arm.clone(), one, attestation.clone()]);
    let source = open_file(files.0.path()).unwrap();
    assert!(
        source.notes()[0].contains("linux/amd64"),
        "{:?}",
        source.notes()
    );
    let Source::Ready(image) = source else {
        panic!("it has a manifest");
    };
    assert!(image.members.is_empty());
    assert_eq!(image.root.media_type, kind);

    let files = exported(&|_| vec![arm.clone()]);
    assert!(refusal(files.0.path()).contains("contains 0 of the 1 images"));
    let files = exported(&|one| vec![one]);
    let Source::Ready(image) = open_file(files.0.path()).unwrap() else {
        panic!("it has a manifest");
    };
    assert_eq!(image.members.len(), 1);
}
