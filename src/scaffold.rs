//! The project that `mlops init` creates: a working example, as plain files.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::ProjectName;

use crate::config::FILE;

macro_rules! files {
    ($($path:literal from $source:literal $mode:ident),* $(,)?) => {
        &[$((
            $path,
            include_bytes!(concat!("scaffold/files/", $source)).as_slice(),
            stringify!($mode).len() == "program".len(),
        )),*]
    };
}

/// Path, bytes, and whether the file is executable. Use `file` and `program` to create entries.
const FILES: &[(&str, &[u8], bool)] = files![
    ".github/workflows/mlops.yml" from "github/workflows/mlops.yml" file,
    ".gitignore" from "gitignore" file,
    ".gitlab-ci.yml" from "gitlab-ci.yml" file,
    "README.md" from "README.md" file,
    "baseline/README.md" from "baseline/README.md" file,
    "buildspecs/image.yml" from "buildspecs/image.yml" file,
    "buildspecs/ml.yml" from "buildspecs/ml.yml" file,
    "ci/test.sh" from "ci/test.sh" program,
    "ci/train.sh" from "ci/train.sh" program,
    "data/README.md" from "data/README.md" file,
    "data/good.csv" from "data/good.csv" file,
    "data/production/july.csv" from "data/production/july.csv" file,
    "data/spoiled.csv" from "data/spoiled.csv" file,
    "data/train/flights.csv" from "data/train/flights.csv" file,
    "image/Dockerfile" from "image/Dockerfile" file,
    "image/program/evaluate" from "image/program/evaluate" program,
    "image/program/flights.py" from "image/program/flights.py" file,
    "image/program/preprocess" from "image/program/preprocess" program,
    "image/program/serve" from "image/program/serve" program,
    "image/program/train" from "image/program/train" program,
    "image/requirements.txt" from "image/requirements.txt" file,
    "pipeline.json" from "pipeline.json" file,
    "samples/row.csv" from "samples/row.csv" file,
    "tests/test_program.py" from "tests/test_program.py" file,
];

/// Returns `mlops.toml` of a new project.
fn project_file(name: &ProjectName, account: &str, region: &str, local: bool) -> String {
    let local = if local {
        "\n\
         # Commands use the local cloud; pass --local=false to use AWS.\n\
         local = true\n"
    } else {
        ""
    };
    format!(
        "# See docs/config.md of mlops for all keys.\n\
         name = \"{name}\"\n\
         \n\
         # Commands that change something refuse any other account and region.\n\
         account = \"{account}\"\n\
         region = \"{region}\"\n\
         {local}\
         \n\
         [deploy]\n\
         instance_type = \"ml.m5.large\"\n\
         # Sent to the endpoint once after each promotion.\n\
         sample = \"samples/row.csv\"\n"
    )
}

/// Fails (exit 2) if the directory already contains a file of the project.
pub fn check(directory: &Path) -> Result<()> {
    let taken: Vec<&str> = paths()
        .filter(|path| directory.join(path).symlink_metadata().is_ok())
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} already contains {}, and existing files are not overwritten",
        directory.display(),
        taken.join(", ")
    )))
    .hint("use an empty directory, or move these files away")
}

/// Returns the files of a project. `mlops.toml` is last: if it exists, so do the others.
fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _, _)| *path).chain([FILE])
}

/// Writes the project to `directory` and returns the files' paths in it. Never overwrites files.
/// `local` makes its commands use the local cloud.
pub fn write(
    directory: &Path,
    name: &ProjectName,
    account: &str,
    region: &str,
    local: bool,
) -> Result<Vec<PathBuf>> {
    let toml = project_file(name, account, region, local);
    let files = FILES
        .iter()
        .copied()
        .chain([(FILE, toml.as_bytes(), false)]);
    for (path, bytes, program) in files {
        write_file(&directory.join(path), bytes, program)
            .with_context(|| format!("cannot write {path}"))?;
    }
    Ok(paths().map(PathBuf::from).collect())
}

fn write_file(path: &Path, bytes: &[u8], program: bool) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if program { 0o755 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = program;
    let mut file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::usage("it already exists, and is not overwritten"));
        }
        opened => opened?,
    };
    file.write_all(bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scaffold_file_is_written() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scaffold/files");
        let mut pending = vec![root.clone()];
        let mut found = Vec::new();
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                    found.push(if name.starts_with("git") {
                        format!(".{name}")
                    } else {
                        name.to_owned()
                    });
                }
            }
        }
        found.sort();
        let listed: Vec<&str> = FILES.iter().map(|(path, _, _)| *path).collect();
        assert_eq!(listed, found);
    }

    #[test]
    fn the_scaffold_is_a_project_and_is_not_written_twice() {
        let directory = tempfile::tempdir().unwrap();
        let name: ProjectName = "flights".parse().unwrap();
        check(directory.path()).unwrap();
        let files = write(directory.path(), &name, "000000000000", "us-east-1", true).unwrap();
        assert_eq!(files.len(), FILES.len() + 1);

        let text = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        let file: crate::config::ProjectFile = toml::from_str(&text).unwrap();
        assert_eq!(file.name, name);
        assert!(file.local.enabled);
        let sample = file.deploy.sample.unwrap();
        assert!(directory.path().join(sample).is_file());
        assert!(directory.path().join(file.pipeline.definition).is_file());

        let error = check(directory.path()).unwrap_err();
        assert_eq!(
            mlops_core::error::exit(&error),
            mlops_core::error::Exit::Usage
        );
        std::fs::write(directory.path().join(FILE), "mine").unwrap();
        assert!(write(directory.path(), &name, "1", "x", false).is_err());
        let kept = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(kept, "mine");
    }

    #[cfg(unix)]
    #[test]
    fn programs_are_executable() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let name = "flights".parse().unwrap();
        write(directory.path(), &name, "000000000000", "us-east-1", false).unwrap();
        let mode = |path: &str| {
            let metadata = std::fs::metadata(directory.path().join(path)).unwrap();
            metadata.permissions().mode() & 0o111
        };
        for program in ["preprocess", "train", "evaluate", "serve"] {
            assert_ne!(mode(&format!("image/program/{program}")), 0, "{program}");
        }
        assert_ne!(mode("ci/test.sh"), 0);
        assert_eq!(mode("image/program/flights.py"), 0);
    }
}
