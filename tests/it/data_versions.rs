//! Versions of data sets: unchanged files are not uploaded, versions are restored byte for byte,
//! and impossible requests are reported.

use aws_sdk_s3::Client;
use mlops::aws::datasets;
use snapbox::str;

use crate::data::{BUCKET, bytes_of, clients, data, pull, push_to};
use crate::sandbox::Sandbox;

/// Returns the number of versions of all objects in the bucket.
async fn written(client: &Client) -> usize {
    let page = client.list_object_versions().bucket(BUCKET).send().await;
    page.unwrap().versions().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_content_decides_what_is_uploaded() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    sandbox.write("d/a.csv", "one");
    sandbox.write("d/big.bin", bytes_of(9 << 20));
    let first = push_to(&sandbox, "d");
    assert_eq!(first["uploaded"], 2);
    assert_eq!(written(&clients.s3).await, 3);
    for name in ["d/a.csv", "d/big.bin"] {
        let file = std::fs::File::options()
            .write(true)
            .open(sandbox.path().join(name))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let second = push_to(&sandbox, "d");
    assert_eq!(second["unchanged"], true);
    assert_eq!(second["version"], first["version"]);
    assert_eq!(second["uploaded_bytes"], 0);
    assert_eq!(written(&clients.s3).await, 3, "nothing was written");

    // The same size and time, but different bytes.
    sandbox.write("d/a.csv", "two");
    let mut bytes = bytes_of(9 << 20);
    bytes[8 << 20] ^= 1;
    sandbox.write("d/big.bin", bytes);
    let third = push_to(&sandbox, "d");
    assert_eq!(third["uploaded"], 2);
    assert_eq!(third["uploaded_bytes"], (9 << 20) + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_names_and_bytes_are_preserved() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    let files: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        (".hidden/.leading", b"x".to_vec()),
        ("with space+plus%20.csv", b"1".to_vec()),
        ("new\nline\ttab", b"2".to_vec()),
        ("\u{fc}n\u{ef}/\u{65e5}\u{672c}", b"3".to_vec()),
        ("a&b<c>'d'\"e\".csv", vec![0, 255, 13, 10]),
        ("just.one.part.more", bytes_of((8 << 20) + 1)),
    ];
    for (name, bytes) in &files {
        sandbox.write(&format!("d/{name}"), bytes);
    }
    let pushed = push_to(&sandbox, "d");
    assert_eq!(pushed["files"], 7);
    let pulled = pull(&sandbox, &["flights"]);
    assert_eq!(pulled["fetched"], 7);
    assert_eq!(pulled["directory"], "flights");
    for (name, bytes) in &files {
        let found = std::fs::read(sandbox.path().join("flights").join(name)).unwrap();
        assert!(found == *bytes, "{name}");
    }
    assert_eq!(data(&sandbox, &["verify", "flights"])["files"], 7);

    // The snapshot for a run has the same names.
    let dataset = "flights".parse().unwrap();
    let version = datasets::latest(&clients.s3, BUCKET, &dataset)
        .await
        .unwrap()
        .unwrap();
    datasets::snapshot(&clients.s3, BUCKET, &version, &|_| {})
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_keeps_correct_files_and_asks_before_replacing_others() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    sandbox.write("d/a.csv", "one");
    sandbox.write("d/s/b.csv", "two");
    push_to(&sandbox, "d");
    sandbox.write("d/a.csv", "new");
    push_to(&sandbox, "d");

    sandbox.write("out/s/b.csv", "two");
    sandbox.write("out/a.csv", "my own work");
    sandbox.write("out/notes.txt", "mine");
    let args = [
        "--local",
        "data",
        "pull",
        "flights@previous",
        "out",
        "--bucket",
        BUCKET,
    ];
    sandbox.mlops(args).code(2).stderr(str![[r#"
error: a.csv in out would be overwritten: the version has different content. Continue? There is no terminal to ask on
hint: pass --yes to continue without asking
hint: or pull into an empty directory

"#]]);
    let read = |path: &str| std::fs::read_to_string(sandbox.path().join(path)).unwrap();
    assert_eq!(read("out/a.csv"), "my own work");

    let pulled = pull(&sandbox, &["flights@previous", "out"]);
    assert_eq!(read("out/a.csv"), "one");
    assert_eq!(read("out/notes.txt"), "mine");
    assert_eq!(
        (&pulled["kept"], &pulled["fetched"], &pulled["others"]),
        (&1.into(), &1.into(), &1.into())
    );
    let again = pull(&sandbox, &["flights@previous", "out"]);
    assert_eq!(again["fetched_bytes"], 0);
    assert_eq!(pull(&sandbox, &["flights", "out"])["fetched"], 1);
    assert_eq!(read("out/a.csv"), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_deleted_from_s3_are_named() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    sandbox.write("d/a.csv", "one");
    sandbox.write("d/b.csv", "two");
    push_to(&sandbox, "d");
    let version = datasets::latest(&clients.s3, BUCKET, &"flights".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let lost = &version.manifest.files[0];
    clients
        .s3
        .delete_object()
        .bucket(BUCKET)
        .key(&lost.key)
        .version_id(&lost.version_id)
        .send()
        .await
        .unwrap();
    for command in ["verify", "pull"] {
        let args = ["--local", "data", command, "flights", "--bucket", BUCKET];
        let found = sandbox
            .mlops(args.into_iter().chain(["--output", "json"]))
            .code(3)
            .json();
        let expected = serde_json::json!([{
            "path": "a.csv",
            "problem": format!("version {} was deleted", lost.version_id),
        }]);
        assert_eq!(found["problems"], expected);
    }
    let out = sandbox.path().join("flights");
    assert_eq!(std::fs::read_to_string(out.join("b.csv")).unwrap(), "two");
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 1);

    // The next push uploads it again, although no file has changed.
    let repaired = push_to(&sandbox, "d");
    assert_eq!(repaired["unchanged"], false);
    assert_eq!(repaired["uploaded"], 1);
    assert_eq!(data(&sandbox, &["verify", "flights"])["files"], 2);
    let again = push_to(&sandbox, "d");
    assert_eq!(again["unchanged"], true);
    assert_eq!(again["version"], repaired["version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_manifest_is_not_a_concurrent_push() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    sandbox.write("d/a.csv", "one");
    sandbox.write("d/b.csv", "two");
    push_to(&sandbox, "d");
    std::fs::remove_file(sandbox.path().join("d/b.csv")).unwrap();
    // Two writes of the same manifest, as when a response is lost and the SDK retries.
    let dataset = "flights".parse().unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let files = datasets::gather(&sandbox.path().join("d")).unwrap();
    let push = || datasets::push(&clients.s3, BUCKET, &dataset, &files, now, &|_| {});
    let (one, two) = tokio::join!(push(), push());
    assert_eq!(one.unwrap().version.id, two.unwrap().version.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_markers_are_not_versions() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    let push = |text: &str| {
        sandbox.write("d/a.csv", text);
        push_to(&sandbox, "d")["version"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (first, second) = (push("one"), push("two"));
    for _ in 0..2 {
        let delete = clients.s3.delete_object().bucket(BUCKET);
        let key = "datasets/flights/manifest.json";
        delete.key(key).send().await.unwrap();
    }
    let third = push("three");
    let dataset = "flights".parse().unwrap();
    for (word, expected) in [("latest", &third), ("previous", &second)] {
        let found = datasets::resolve(&clients.s3, BUCKET, &dataset, word).await;
        assert_eq!(found.unwrap().id, *expected, "{word}");
    }
    for (limit, expected) in [(2, &[&third, &second][..]), (3, &[&third, &second, &first])] {
        let listed = datasets::versions(&clients.s3, BUCKET, &dataset, Some(limit), 0).await;
        let listed = listed.unwrap();
        let ids: Vec<&String> = listed.versions.iter().map(|version| &version.id).collect();
        assert_eq!(ids, expected);
        assert_eq!(listed.more, limit < 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_points_outside_the_directory_is_rejected() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    for path in ["../escaped", "/tmp/escaped"] {
        let key = format!("datasets/flights/{path}");
        let put = |key: &str, body: String| {
            let request = clients.s3.put_object().bucket(BUCKET).key(key);
            request.body(body.into_bytes().into()).send()
        };
        let object = put(&key, "x".to_owned()).await.unwrap();
        let manifest = serde_json::json!({
            "schema": 1,
            "dataset": "flights",
            "created": "2026-01-01T00:00:00Z",
            "files": [{
                "path": path,
                "key": key,
                "version_id": object.version_id,
                "size": 1,
                "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            }],
        });
        put("datasets/flights/manifest.json", manifest.to_string())
            .await
            .unwrap();
        let args = [
            "--local", "data", "pull", "flights", "out", "--bucket", BUCKET,
        ];
        let run = sandbox.mlops(args).code(1);
        assert!(
            run.stderr.contains("that no push creates"),
            "{}",
            run.stderr
        );
        assert!(!sandbox.path().join("escaped").exists());
        assert!(!std::path::Path::new("/tmp/escaped").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_are_compared() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    for (path, bytes) in [("a.csv", "1"), ("b.csv", "22"), ("c.csv", "333")] {
        sandbox.write(&format!("d/{path}"), bytes);
    }
    let first = push_to(&sandbox, "d");
    std::fs::remove_file(sandbox.path().join("d/a.csv")).unwrap();
    sandbox.write("d/b.csv", "2222");
    sandbox.write("d/new/e.csv", "5");
    let second = push_to(&sandbox, "d");

    let id = first["version"].as_str().unwrap();
    let found = data(&sandbox, &["diff", &format!("flights@{id}"), "latest"]);
    assert_eq!(found["before"]["version"], first["version"]);
    assert_eq!(found["after"]["version"], second["version"]);
    assert_eq!(
        found["added"],
        serde_json::json!([{"path": "new/e.csv", "bytes": 1}])
    );
    assert_eq!(
        found["removed"],
        serde_json::json!([{"path": "a.csv", "bytes": 1}])
    );
    assert_eq!(
        found["changed"],
        serde_json::json!([{"path": "b.csv", "before": 2, "after": 4}])
    );
    assert_eq!(found["unchanged"], 1);
    let args = [
        "--local",
        "data",
        "diff",
        "flights@previous",
        "--bucket",
        BUCKET,
    ];
    sandbox.mlops(args).success().stdout(str![[r#"
before  flights@[..]  3 files, 6 B
after   flights@[..]  3 files, 8 B
CHANGE   FILE       SIZE
added    new/e.csv  1 B
removed  a.csv      1 B
changed  b.csv      2 B -> 4 B
1 added, 1 removed, 1 changed, 1 the same

"#]]);
    let args = [
        "--local",
        "data",
        "diff",
        "flights@nonsense",
        "--bucket",
        BUCKET,
    ];
    let run = sandbox.mlops(args).code(1);
    assert!(
        run.stderr.contains("has no version nonsense"),
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_versions_are_listed_with_their_contents() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    let mut ids = Vec::new();
    for index in 0..23 {
        sandbox.write("d/a.csv", format!("{index}"));
        ids.push(push_to(&sandbox, "d")["version"].clone());
    }
    ids.reverse();
    let listed = data(&sandbox, &["versions", "flights"]);
    let versions = listed["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 20);
    assert_eq!(listed["more"], true);
    assert_eq!(versions[0]["latest"], true);

    let listed = data(&sandbox, &["versions", "flights", "--all"]);
    let versions = listed["versions"].as_array().unwrap();
    let found: Vec<_> = versions.iter().map(|row| row["version"].clone()).collect();
    assert_eq!(found, ids);
    assert_eq!(listed["more"], false);
    assert_eq!(versions[19]["files"], 1);
    assert_eq!(versions[20]["files"], serde_json::Value::Null);
    let args = [
        "--local", "data", "versions", "flights", "--limit", "2", "--bucket", BUCKET,
    ];
    sandbox.mlops(args).success().stdout(str![[r#"
VERSION                           PUSHED                  FILES       SIZE
[..]        1        2 B
[..]        1        2 B
There are older versions: pass --limit NUMBER or --all

"#]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_versions_is_refused_before_anything_is_sent() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    clients
        .s3
        .create_bucket()
        .bucket("plain")
        .send()
        .await
        .unwrap();
    sandbox.write("d/a.csv", "one");
    sandbox
        .mlops(["--local", "data", "push", "d", "x", "--bucket", "plain"])
        .code(1)
        .stderr(str![[r#"
Reading d
Pushing x
error: versioning is not enabled for the bucket plain, but data sets require it

"#]]);
    let found = clients.s3.list_objects_v2().bucket("plain").send().await;
    assert_eq!(found.unwrap().contents().len(), 0);
}

#[test]
fn an_unreadable_file_is_detected_before_anything_is_uploaded() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    sandbox.write("d/a.csv", "one");
    let path = sandbox.path().join("d/a.csv");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        // The superuser can read everything.
        return;
    }
    let run = sandbox.mlops(["--local", "data", "push", "d", "x"]).code(1);
    assert!(run.stderr.contains("cannot read"), "{}", run.stderr);
}
