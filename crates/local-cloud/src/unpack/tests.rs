use super::*;

use tar::{Builder, Header};

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size);
    header
}

fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &Path, body: &[u8]) {
    let mut header = header(kind, body.len() as u64);
    builder.append_data(&mut header, path, body).unwrap();
}

fn unpack(root: &Path, archive: &[u8]) -> ApiResult<()> {
    let directory = Directory::open(root, "x")?;
    let mut unpacker = Unpacker::new(&directory, "archive", 1 << 20);
    entries(archive, |entry| {
        let path = unpacker.place(&entry.path()?)?;
        unpacker.entry(&path, entry)
    })
}

/// The number of resolved path components would be the measure, but the kernel does not report it.
/// Instead, each level has files, and the test would take hours if the cost of an entry grew with
/// the square of its depth.
fn nested(levels: usize) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut path = PathBuf::new();
    for _ in 0..levels {
        path.push("d");
        append(&mut builder, EntryType::Directory, &path, b"");
        for name in ["a", "b", "c"] {
            append(&mut builder, EntryType::Regular, &path.join(name), b"x");
        }
    }
    builder.into_inner().unwrap()
}

// Issue 8, 1.6
#[test]
fn a_deep_archive_is_unpacked_and_one_that_is_too_deep_is_named() {
    let at = tempfile::tempdir().unwrap();
    let root = at.path().join("root");
    std::fs::create_dir(&root).unwrap();
    unpack(&root, &nested(1500)).unwrap();
    let directory = Directory::open(&root, "x").unwrap();
    let mut deepest: PathBuf = std::iter::repeat_n("d", 1500).collect();
    deepest.push("c");
    assert!(directory.file(&deepest).unwrap().is_some());
    beneath::remove(&root).unwrap();

    std::fs::create_dir(&root).unwrap();
    let error = unpack(&root, &nested(2500)).unwrap_err();
    assert!(
        error.message.contains("the longest is 4096 bytes"),
        "{error}"
    );
    beneath::remove(&root).unwrap();
    assert!(!root.exists());
}

// Issue 8, 1.5 and 1.6: a long name is read into memory.
#[test]
fn a_header_that_would_fill_the_memory_is_refused() {
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
    ] {
        let at = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(Vec::new());
        append(
            &mut builder,
            EntryType::Regular,
            Path::new("big"),
            &vec![b'x'; 3 << 19],
        );
        let body = vec![b'a'; 2 << 20];
        let mut long = header(kind, body.len() as u64);
        long.set_path("long").unwrap();
        long.set_cksum();
        builder.append(&long, &body[..]).unwrap();
        append(&mut builder, EntryType::Regular, Path::new("last"), b"x");
        let archive = builder.into_inner().unwrap();
        let directory = Directory::open(at.path(), "x").unwrap();
        let mut unpacker = Unpacker::new(&directory, "archive", u64::MAX);
        for read in [true, false] {
            let error = entries(&archive[..], |entry| {
                let path = unpacker.place(&entry.path()?)?;
                if read {
                    unpacker.entry(&path, entry)?;
                }
                Ok(())
            })
            .unwrap_err();
            assert!(error.message.contains("more than 1048576 bytes"), "{error}");
        }
    }
}

#[test]
fn an_entry_replaces_an_existing_file() {
    let at = tempfile::tempdir().unwrap();
    let outside = at.path().join("outside");
    let root = at.path().join("root");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir(&outside).unwrap();
    let directory = Directory::open(&root, "x").unwrap();
    let mut unpacker = Unpacker::new(&directory, "archive", 100);
    let file = |unpacker: &mut Unpacker<'_>, path: &str, text: &str| {
        unpacker.file(Path::new(path), 0o644, None, false, &mut text.as_bytes())
    };
    // A file replaces a directory, a directory a link, a link a directory.
    unpacker.directory(Path::new("a"), 0o000).unwrap();
    file(&mut unpacker, "a/x", "1").unwrap();
    file(&mut unpacker, "a", "2").unwrap();
    unpacker.symbolic_link(Path::new("b"), &outside).unwrap();
    assert!(file(&mut unpacker, "b/x", "3").is_err());
    unpacker.directory(Path::new("b"), 0o755).unwrap();
    file(&mut unpacker, "b/x", "4").unwrap();
    unpacker
        .symbolic_link(Path::new("b"), Path::new("c"))
        .unwrap();
    unpacker.directory(Path::new("c"), 0o755).unwrap();
    file(&mut unpacker, "b/y", "5").unwrap();
    unpacker
        .hard_link(Path::new("d"), Path::new("b/y"))
        .unwrap();
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(
        (text("a"), text("c/y"), text("d")),
        ("2".into(), "5".into(), "5".into())
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(file(&mut unpacker, "e", &"x".repeat(101)).is_err());
}
