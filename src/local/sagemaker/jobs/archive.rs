//! `model.tar.gz` and `output.tar.gz`.

use std::fs::File;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header, HeaderMode};

/// Writes a directory's contents, without the directory itself. The same contents make the same
/// bytes: sorted, with no times and no owners. Links are kept as links.
pub(super) fn write(directory: &Path, archive: &Path) -> std::io::Result<()> {
    let encoder = GzEncoder::new(File::create(archive)?, Compression::fast());
    let mut builder = Builder::new(encoder);
    builder.mode(HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    add(&mut builder, directory, Path::new(""))?;
    builder.into_inner()?.finish()?;
    Ok(())
}

fn add(
    builder: &mut Builder<GzEncoder<File>>,
    root: &Path,
    relative: &Path,
) -> std::io::Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(root.join(relative))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let relative = relative.join(name);
        let path = root.join(&relative);
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            builder.append_dir(&relative, &path)?;
            add(builder, root, &relative)?;
        } else if metadata.is_symlink() {
            let mut header = Header::new_gnu();
            header.set_metadata_in_mode(&metadata, HeaderMode::Deterministic);
            builder.append_link(&mut header, &relative, std::fs::read_link(&path)?)?;
        } else if metadata.is_file() {
            builder.append_path_with_name(&path, &relative)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_contents_make_the_same_bytes() {
        let at = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let directory = at.path().join(name);
            std::fs::create_dir_all(directory.join("sub")).unwrap();
            std::fs::write(directory.join("model.joblib"), "weights").unwrap();
            std::fs::write(directory.join("sub/a"), "a").unwrap();
            std::os::unix::fs::symlink("model.joblib", directory.join("latest")).unwrap();
            let archive = at.path().join(format!("{name}.tar.gz"));
            write(&directory, &archive).unwrap();
            std::fs::read(archive).unwrap()
        };
        let first = make("one");
        assert_eq!(first, make("two"));
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(first.as_slice()));
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["latest", "model.joblib", "sub", "sub/a"]);
    }
}
