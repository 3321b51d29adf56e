//! The project that `mlops init` creates: a working example, as plain files.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::ProjectName;

use crate::config::{CodeProvider, CodeSource, FILE, NetworkAccess};

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
    "buildspecs/report.yml" from "buildspecs/report.yml" file,
    "buildspecs/train.yml" from "buildspecs/train.yml" file,
    "buildspecs/validate.yml" from "buildspecs/validate.yml" file,
    "ci/pipeline.sh" from "ci/pipeline.sh" program,
    "ci/promote.sh" from "ci/promote.sh" program,
    "ci/sign-in.sh" from "ci/sign-in.sh" program,
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

/// The files of the repository for exploration: path and text, in which `PROJECT_NAME` is the project.
const EXPLORATION: [(&str, &str); 4] = [
    (".gitignore", include_str!("scaffold/eda/gitignore")),
    (
        "01-the-data.ipynb",
        include_str!("scaffold/eda/01-the-data.ipynb"),
    ),
    (
        "02-production.ipynb",
        include_str!("scaffold/eda/02-production.ipynb"),
    ),
    ("README.md", include_str!("scaffold/eda/README.md")),
];

/// Returns the files of the repository for exploration: path and bytes.
pub fn exploration(name: &ProjectName, example: bool) -> Vec<(&'static str, Vec<u8>)> {
    let start: &[(&str, &str)] = if example {
        &EXPLORATION
    } else {
        &[(".gitignore", include_str!("scaffold/eda/gitignore"))]
    };
    start
        .iter()
        .copied()
        .map(|(path, text)| {
            (
                path,
                text.replace("PROJECT_NAME", name.as_str()).into_bytes(),
            )
        })
        .collect()
}

/// A project to write.
#[derive(Debug, Clone, Copy)]
pub struct NewProject<'a> {
    /// Its name.
    pub name: &'a ProjectName,
    /// Its account.
    pub account: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Whether its commands use the local cloud.
    pub local: bool,
    /// How its notebooks and jobs reach other networks.
    pub network: NetworkAccess,
    /// Where its git repositories are.
    pub source: CodeSource,
    /// Their provider, if they are not in CodeCommit.
    pub provider: Option<CodeProvider>,
    /// Whether its pipelines start by themselves.
    pub delivery: bool,
    /// Whether to write the example.
    pub example: bool,
}

/// The files of a project without the example, apart from `mlops.toml`.
const EMPTY: [&str; 5] = [
    ".gitignore",
    "buildspecs/image.yml",
    "buildspecs/report.yml",
    "buildspecs/train.yml",
    "buildspecs/validate.yml",
];

/// Returns which files are missing that the builds of `[delivery]` run.
pub fn missing_buildspecs(root: &Path) -> Vec<&'static str> {
    let needed = EMPTY
        .into_iter()
        .filter(|path| path.starts_with("buildspecs/"));
    needed.filter(|path| !root.join(path).exists()).collect()
}

/// Writes some of the project's files.
pub fn write_some(root: &Path, wanted: &[&str]) -> Result<()> {
    for (path, bytes, program) in FILES.iter().filter(|(path, ..)| wanted.contains(path)) {
        write_file(&root.join(path), bytes, *program)
            .with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// A file that only the example has.
const OF_EXAMPLE: &str = "image/program/flights.py";

/// Returns whether the project in this directory started as the example.
pub fn has_example(root: &Path) -> bool {
    root.join(OF_EXAMPLE).is_file()
}

/// The base of images that builds make.
const BASE: &str = "\n\
    # Builds have no Docker: they put the packages and the program on this image.\n\
    [image]\n\
    base = \"public.ecr.aws/docker/library/python:3.12-slim\"\n";

/// Returns the section `[delivery]` of `mlops.toml`.
pub fn delivery_section(develop: &str) -> String {
    format!(
        "# A push to one of these branches builds an image, and the image trains a model version.\n\
         [delivery]\n\
         branches = [\"{develop}\"]\n"
    )
}

/// Returns `mlops.toml` of a new project.
fn project_file(new: &NewProject<'_>) -> String {
    let NewProject {
        name,
        account,
        region,
        local,
        network,
        source,
        provider,
        delivery,
        example,
    } = *new;
    let local = if local {
        "\n\
         # Commands use the local cloud; pass --local=false to use AWS.\n\
         local = true\n"
    } else {
        ""
    };
    let network = network.as_str();
    let source = match source {
        CodeSource::Codecommit => String::new(),
        CodeSource::Codeconnections => format!(
            "source = \"codeconnections\"\nprovider = \"{}\"\n",
            provider.unwrap_or_default().as_str().to_ascii_lowercase()
        ),
    };
    let delivery = if delivery {
        format!(
            "\n{}{}",
            delivery_section("develop"),
            if new.local { "" } else { BASE }
        )
    } else {
        String::new()
    };
    let sample = if example {
        "# Sent to the endpoint once after each promotion.\n\
         sample = \"samples/row.csv\"\n"
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
         [architecture]\n\
         # How notebooks and jobs reach other networks: nat, endpoints or both.\n\
         network = \"{network}\"\n\
         {source}\
         {delivery}\
         \n\
         [deploy]\n\
         instance_type = \"ml.m5.large\"\n\
         {sample}"
    )
}

/// Fails (exit 2) if the directory already contains a file of the project.
pub fn check(directory: &Path, example: bool) -> Result<()> {
    let taken: Vec<&str> = paths(example)
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

/// Returns the files of a project: path, bytes, and whether the file is executable.
fn files<'a>(example: bool) -> impl Iterator<Item = (&'static str, &'a [u8], bool)> {
    let files = FILES.iter().copied();
    files.filter(move |(path, ..)| example || EMPTY.contains(path))
}

/// Returns the paths of a project's files. `mlops.toml` is last: if it exists, so do the others.
fn paths(example: bool) -> impl Iterator<Item = &'static str> {
    files(example).map(|(path, ..)| path).chain([FILE])
}

/// Writes the project to `directory` and returns the files' paths in it. Never overwrites files.
pub fn write(directory: &Path, new: &NewProject<'_>) -> Result<Vec<PathBuf>> {
    let toml = project_file(new);
    let files = files(new.example).chain([(FILE, toml.as_bytes(), false)]);
    for (path, bytes, program) in files {
        write_file(&directory.join(path), bytes, program)
            .with_context(|| format!("cannot write {path}"))?;
    }
    Ok(paths(new.example).map(PathBuf::from).collect())
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

    fn new(name: &ProjectName, example: bool) -> NewProject<'_> {
        NewProject {
            name,
            account: "000000000000",
            region: "us-east-1",
            local: true,
            network: NetworkAccess::Both,
            source: CodeSource::Codeconnections,
            provider: Some(CodeProvider::Gitlab),
            delivery: false,
            example,
        }
    }

    #[test]
    fn an_empty_project_has_no_example() {
        let directory = tempfile::tempdir().unwrap();
        let name: ProjectName = "flights".parse().unwrap();
        let files = write(directory.path(), &new(&name, false)).unwrap();
        assert_eq!(files.len(), EMPTY.len() + 1);
        assert!(!has_example(directory.path()));
        let text = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        let file: crate::config::ProjectFile = toml::from_str(&text).unwrap();
        assert_eq!(file.deploy.sample, None);
        assert_eq!(file.architecture.network, NetworkAccess::Both);
        assert_eq!(file.architecture.source, CodeSource::Codeconnections);
        assert_eq!(file.architecture.provider, CodeProvider::Gitlab);
    }

    #[test]
    fn notebooks_are_json_without_output_and_name_the_project() {
        let name: ProjectName = "churn".parse().unwrap();
        for (path, bytes) in exploration(&name, true) {
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains("PROJECT_NAME"), "{path}");
            if Path::new(path)
                .extension()
                .is_some_and(|end| end == "ipynb")
            {
                let notebook: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(notebook["nbformat"], 4);
                for cell in notebook["cells"].as_array().unwrap() {
                    let outputs = cell["outputs"].as_array();
                    assert!(outputs.is_none_or(Vec::is_empty), "{path}");
                }
                assert!(text.contains("PROJECT = \\\"churn\\\""), "{path}");
            }
        }
        assert_eq!(exploration(&name, false).len(), 1);
    }

    #[test]
    fn the_scaffold_is_a_project_and_is_not_written_twice() {
        let directory = tempfile::tempdir().unwrap();
        let name: ProjectName = "flights".parse().unwrap();
        check(directory.path(), true).unwrap();
        let files = write(directory.path(), &new(&name, true)).unwrap();
        assert!(has_example(directory.path()));
        assert_eq!(files.len(), FILES.len() + 1);

        let text = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        let file: crate::config::ProjectFile = toml::from_str(&text).unwrap();
        assert_eq!(file.name, name);
        assert!(file.local.enabled);
        let sample = file.deploy.sample.unwrap();
        assert!(directory.path().join(sample).is_file());
        assert!(directory.path().join(file.pipeline.definition).is_file());

        let error = check(directory.path(), true).unwrap_err();
        assert_eq!(
            mlops_core::error::exit(&error),
            mlops_core::error::Exit::Usage
        );
        std::fs::write(directory.path().join(FILE), "mine").unwrap();
        assert!(write(directory.path(), &new(&name, true)).is_err());
        let kept = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(kept, "mine");
    }

    #[cfg(unix)]
    #[test]
    fn programs_are_executable() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let name = "flights".parse().unwrap();
        write(directory.path(), &new(&name, true)).unwrap();
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
