//! The project: the contents of `mlops.toml`, and the files that it names.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{BranchName, DatasetName, ImageTag, ProjectName};
use serde::{Deserialize, Serialize};

use super::FILE;
use super::deploy::DeploySection;
use super::origin::{Origin, lines};
use super::problem::toml_problem;
use super::sections::{
    ArchitectureSection, Branches, CodeSource, DataSection, DeliverySection, ImageSection,
    LocalSection, MonitorSection, PipelineSection, RetrainSection, ValidateSection,
};

/// The contents of `mlops.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectFile {
    /// The project's name: the prefix of all its resources.
    pub name: ProjectName,
    /// The account it belongs to; commands that change something refuse any other.
    pub account: String,
    /// The region it belongs to.
    pub region: String,
    /// What `mlops init` deploys.
    #[serde(default)]
    pub architecture: ArchitectureSection,
    /// The roles of branches.
    #[serde(default)]
    pub branches: Branches,
    /// The pipelines that start by themselves; none without the section.
    pub delivery: Option<DeliverySection>,
    /// The container image.
    #[serde(default)]
    pub image: ImageSection,
    /// The training data.
    #[serde(default)]
    pub data: DataSection,
    /// The ML pipeline.
    #[serde(default)]
    pub pipeline: PipelineSection,
    /// The endpoint.
    #[serde(default)]
    pub deploy: DeploySection,
    /// Production monitoring.
    #[serde(default)]
    pub monitor: MonitorSection,
    /// Retraining.
    #[serde(default)]
    pub retrain: RetrainSection,
    /// Data validation.
    #[serde(default)]
    pub validate: ValidateSection,
    /// The local cloud.
    #[serde(default)]
    pub local: LocalSection,
}

impl ProjectFile {
    /// Checks what the types do not enforce: ranges, and paths that stay inside the project.
    fn check(&self) -> Result<(), String> {
        self.deploy.check()?;
        self.check_delivery()?;
        // The limits of the parameters in retraining.yaml.
        for (key, value, most) in [
            ("cool_down_hours", self.retrain.cool_down_hours, 8760),
            ("maximum_per_day", self.retrain.maximum_per_day, 100),
        ] {
            if value > most {
                return Err(format!("retrain.{key} is at most {most}"));
            }
        }
        self.check_monitor()?;
        if let Some(layout) = self
            .image
            .base
            .as_ref()
            .and_then(|base| base.strip_prefix("oci:"))
            && !is_inside(Path::new(layout))
        {
            return Err("image.base must be a path inside the project after `oci:`".to_owned());
        }
        let paths = [
            ("image.directory", Some(&self.image.directory)),
            ("pipeline.definition", Some(&self.pipeline.definition)),
            ("deploy.sample", self.deploy.sample.as_ref()),
            ("monitor.baseline", Some(&self.monitor.baseline)),
        ];
        for (key, path) in paths {
            if path.is_some_and(|path| !is_inside(path)) {
                return Err(format!("{key} must be a path inside the project"));
            }
        }
        Ok(())
    }
}

/// Maximum length of a rule's name (`PutRule`), which consists of project, `-image-` and the branch's image tag.
const LONGEST_RULE: usize = 64;

/// Maximum delay of labels, in hours: 90 days.
const LONGEST_DELAY: u32 = 2160;

impl ProjectFile {
    /// Returns the branches whose pushes start pipelines.
    pub fn delivered(&self) -> Vec<BranchName> {
        match &self.delivery {
            None => Vec::new(),
            Some(delivery) => match &delivery.branches {
                Some(branches) => branches.clone(),
                None => vec![self.branches.develop.clone()],
            },
        }
    }

    /// Checks a branch of `[delivery]`.
    fn check_branch(&self, branch: &BranchName) -> Result<(), String> {
        let wrong = |why: String| Err(format!("delivery.branches: `{branch}` {why}"));
        if *branch == self.branches.production {
            return wrong(
                "is the production branch, which takes only what was promoted".to_owned(),
            );
        }
        let tag = branch.tag();
        if tag.parse::<ImageTag>().is_err() {
            return wrong("cannot be used as an image tag".to_owned());
        }
        let name = format!("{}-image-{tag}", self.name);
        if let Some(over) = name.len().checked_sub(LONGEST_RULE + 1) {
            return wrong(format!("is too long by {} characters", over + 1));
        }
        // The patterns of ImageTagMutabilityExclusionFilters in registry.yaml.
        if *branch != self.branches.develop && !tag.contains(['-', '_', '.']) {
            return wrong(
                "needs a `/`, `-`, `_` or `.`: the tags of other branches do not move in the image repository"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The limits of the parameters in monitoring.yaml.
    fn check_monitor(&self) -> Result<(), String> {
        let monitor = &self.monitor;
        let periods = u64::from(monitor.alarm_periods);
        for (key, value, most) in [
            ("minimum_records", monitor.minimum_records, u64::MAX),
            ("every_hours", monitor.every_hours.into(), 24),
            ("alarm_periods", periods, 7),
            ("alarm_datapoints", monitor.alarm_datapoints.into(), periods),
        ] {
            if value == 0 || value > most {
                return Err(format!("monitor.{key} must be between 1 and {most}"));
            }
        }
        let Some(quality) = &monitor.model_quality else {
            return Ok(());
        };
        let wrong = |text: String| Err(format!("monitor.model_quality: {text}"));
        if let Err(error) = quality.settings() {
            return wrong(error);
        }
        if quality.delay_hours > LONGEST_DELAY {
            return wrong(format!("delay_hours is at most {LONGEST_DELAY}"));
        }
        let attributes = quality.variables();
        // They become a part of JSON in monitoring.yaml, where `<` begins a name of the scheduler.
        let special = |c: char| c.is_control() || "\"\\<".contains(c);
        match attributes
            .iter()
            .find(|(_, text)| text.contains(special) || text.len() > 128)
        {
            Some((name, _)) => wrong(format!(
                "{name} has a quote, a backslash, a `<` or a control character, or is longer than 128"
            )),
            None => Ok(()),
        }
    }

    fn check_delivery(&self) -> Result<(), String> {
        let Some(delivery) = &self.delivery else {
            return Ok(());
        };
        if self.architecture.source != CodeSource::Codecommit {
            return Err(
                "[delivery] needs repositories in CodeCommit: pipelines of other sources are not \
                 supported, so start the commands in the provider's own CI (docs/ci.md)"
                    .to_owned(),
            );
        }
        let mut suffixes = BTreeMap::new();
        for branch in self.delivered() {
            self.check_branch(&branch)?;
            if let Some(other) = suffixes.insert(branch.stack_suffix(), branch.clone()) {
                return Err(format!(
                    "delivery.branches: the stacks of `{other}` and `{branch}` would have the same name"
                ));
            }
        }
        if let Some(email) = &delivery.email
            && !email.contains('@')
        {
            return Err(format!(
                "delivery.email: `{email}` is not an e-mail address"
            ));
        }
        if let Some(webhook) = &delivery.webhook
            && !webhook.starts_with("https://")
        {
            return Err("delivery.webhook must begin with https://".to_owned());
        }
        Ok(())
    }
}

/// Returns whether a path stays below the directory that it is relative to.
fn is_inside(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A project on disk.
#[derive(Debug, Clone)]
pub struct Project {
    /// The directory of `mlops.toml`.
    pub root: PathBuf,
    /// Its contents.
    pub file: ProjectFile,
}

impl Project {
    /// Resolves a path of `mlops.toml`, which is relative to the project's directory.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns the data set that `train` uses.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the rule of one name includes the other's"
    )]
    pub fn dataset(&self) -> DatasetName {
        self.file.data.name.clone().unwrap_or_else(|| {
            self.file
                .name
                .as_str()
                .parse()
                .expect("every project name is a data set name")
        })
    }

    /// Reads a file of the project that `mlops.toml` names, at most `limit` bytes. A repository can
    /// contain anything at that path; reading a FIFO or a device would never end.
    ///
    /// # Errors
    /// The path is not a file of the project, the file is larger, or it cannot be read.
    pub fn read_file(&self, relative: &Path, limit: u64) -> Result<Vec<u8>> {
        let path = self.path(relative);
        let shown = path.display();
        let doing = || format!("cannot read {shown}");
        let path = self.inside(&path, doing)?;
        let found = std::fs::metadata(&path).with_context(doing)?;
        if !found.is_file() {
            return Err(Failure::usage(format!("{shown} is not a file")));
        }
        if found.len() > limit {
            return Err(Failure::usage(format!(
                "{shown} has {} bytes; the limit is {limit}",
                found.len()
            )));
        }
        std::fs::read(&path).with_context(doing)
    }

    /// Resolves an existing path. A link in a repository must not lead to a file of this machine.
    fn inside(&self, path: &Path, doing: impl Fn() -> String) -> Result<PathBuf> {
        let (real, root) = (path.canonicalize(), self.root.canonicalize());
        let (real, root) = (real.with_context(&doing)?, root.with_context(&doing)?);
        if real.starts_with(root) {
            Ok(real)
        } else {
            Err(Failure::usage(format!(
                "{} leads out of the project",
                path.display()
            )))
        }
    }

    /// Returns a directory of the project that `mlops.toml` names, and creates it if necessary.
    ///
    /// # Errors
    /// It cannot be created, or a link leads out of the project.
    pub fn directory(&self, relative: &Path) -> Result<PathBuf> {
        let path = self.path(relative);
        let shown = path.display();
        let doing = || format!("cannot create {shown}");
        // The deepest part that exists decides where the rest would be.
        let existing = path.ancestors().find(|it| it.exists());
        self.inside(existing.unwrap_or(&self.root), doing)?;
        std::fs::create_dir_all(&path).with_context(doing)?;
        Ok(path)
    }

    /// Returns the origin of each value of `mlops.toml`, by its path (`deploy.instance_type`).
    ///
    /// # Errors
    /// The file was removed in the meantime.
    pub fn origins(&self) -> Result<BTreeMap<String, Origin>> {
        let path = self.path(Path::new(FILE));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let found = lines(&text).into_iter();
        Ok(found
            .map(|(path, line)| (path, Origin::File { line }))
            .collect())
    }

    /// Returns the project with `section` at the end of its `mlops.toml`, and the file's new text. Writes nothing.
    ///
    /// # Errors
    /// The file cannot be read, or the new one is not valid.
    pub fn with_section(&self, section: &str) -> Result<(Self, String)> {
        let path = self.path(Path::new(FILE));
        let mut text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(section);
        Ok((Self::parse(&self.root, text.as_bytes())?, text))
    }

    /// Reads `mlops.toml` in `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(root, &bytes)
    }

    fn parse(root: &Path, bytes: &[u8]) -> Result<Self> {
        let file = toml::from_slice(bytes)
            .map_err(|error| toml_problem(bytes, &error))
            .and_then(|file: ProjectFile| file.check().map(|()| file))
            .map_err(|error| Failure::usage(format!("{}: {error}", root.join(FILE).display())))
            .hint("see docs/config.md for all keys")?;
        Ok(Self {
            root: root.to_owned(),
            file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProjectFile, toml::de::Error> {
        toml::from_str(text)
    }

    const MINIMAL: &str =
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n";

    #[test]
    fn a_section_is_added_at_the_end() {
        let root = tempfile::tempdir().unwrap();
        let text = format!("{MINIMAL}\n[deploy]\nbake_seconds = 60");
        std::fs::write(root.path().join(FILE), &text).unwrap();
        let project = Project::read(root.path()).unwrap();
        let (extended, written) = project.with_section("\n[delivery]\n").unwrap();
        assert_eq!(written, format!("{text}\n\n[delivery]\n"));
        assert!(extended.file.delivery.is_some());
        assert_eq!(extended.file.deploy.bake_seconds, 60);
        // The file itself is not changed, and a second section of the same name is not valid.
        assert!(Project::read(root.path()).unwrap().file.delivery.is_none());
        assert!(project.with_section("\n[deploy]\n").is_err());
    }

    #[test]
    fn a_file_of_the_project_does_not_lead_out_of_it() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("keys"), "secret").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("row.csv"), "1").unwrap();
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, root.path().join(name)).unwrap();
        };
        link(&outside.path().join("keys"), "out.csv");
        link(Path::new("row.csv"), "in.csv");
        link(outside.path(), "folder");
        let project = Project {
            root: root.path().to_owned(),
            file: parse(MINIMAL).unwrap(),
        };
        let read = |name: &str| project.read_file(Path::new(name), 100);
        assert_eq!(read("row.csv").unwrap(), b"1");
        assert_eq!(read("in.csv").unwrap(), b"1");
        for name in ["out.csv", "folder/keys"] {
            let error = read(name).unwrap_err();
            assert!(
                error.to_string().contains("leads out of the project"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_minimal_project_has_defaults() {
        let file = parse(MINIMAL).unwrap();
        assert_eq!(file.branches.develop.as_str(), "develop");
        assert_eq!(file.pipeline.definition, Path::new("pipeline.json"));
        assert_eq!(file.deploy.capture_percent, 100);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for bad in [
            "[deploy]\ncapture_percent = 101\n",
            "[deploy]\ninstance_count = 0\n",
            "[image]\ndirectory = \"/etc\"\n",
            "[monitor]\nbaseline = \"../elsewhere\"\n",
            "[image]\nbase = \"oci:../elsewhere\"\n",
        ] {
            let file = parse(&format!("{MINIMAL}{bad}")).unwrap();
            assert!(file.check().is_err(), "{bad}");
        }
        assert!(parse(MINIMAL).unwrap().check().is_ok());
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = parse(&format!("{MINIMAL}[deploy]\ninstance_typ = \"x\"\n")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("instance_typ") && text.contains("instance_type"),
            "{text}"
        );
    }

    /// Issue 8, 5.2.
    #[test]
    fn local_is_a_switch_or_a_table() {
        let local = |text: &str| parse(&format!("{MINIMAL}{text}")).map(|file| file.local.enabled);
        assert!(!local("").unwrap());
        assert!(local("local = true\n").unwrap());
        assert!(!local("local = false\n").unwrap());
        assert!(local("[local]\nenabled = true\nruntime = \"host\"\n").unwrap());
        assert!(!local("[local]\nruntime = \"host\"\n").unwrap());
        assert!(local("local = \"yes\"\n").is_err());
        let error = local("[local]\nruntim = \"host\"\n").unwrap_err();
        assert!(error.to_string().contains("runtime"), "{error}");

        // The output of `mlops config show` can be parsed again.
        let shown = toml::to_string(&parse(&format!("{MINIMAL}local = true\n")).unwrap()).unwrap();
        assert!(toml::from_str::<ProjectFile>(&shown).unwrap().local.enabled);
    }

    #[test]
    fn profile_and_endpoint_never_come_from_the_project() {
        assert!(parse(&format!("{MINIMAL}profile = \"x\"\n")).is_err());
        assert!(parse(&format!("{MINIMAL}endpoint_url = \"http://x\"\n")).is_err());
    }

    #[test]
    fn delivery_is_refused_before_it_cannot_work() {
        let read = |architecture: &str, delivery: &str| {
            let text = format!(
                "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n\
                 {architecture}[delivery]\n{delivery}\n"
            );
            toml::from_str::<ProjectFile>(&text).unwrap()
        };
        for good in [
            "",
            "branches = []",
            "branches = [\"develop\", \"feature/x\", \"a.b\"]",
            "email = \"a@example.org\"\nwebhook = \"https://example.org/x\"",
        ] {
            assert_eq!(read("", good).check(), Ok(()), "{good}");
        }
        let long = format!("branches = [\"feature/{}\"]", "x".repeat(60));
        for (delivery, part) in [
            ("branches = [\"main\"]", "is the production branch"),
            ("branches = [\"a+b/c\"]", "cannot be used as an image tag"),
            (long.as_str(), "is too long by"),
            ("branches = [\"trees\"]", "needs a `/`"),
            ("branches = [\"a/b\", \"a-b\"]", "would have the same name"),
            ("branches = [\"a_b\", \"a.b\"]", "would have the same name"),
            ("email = \"nobody\"", "is not an e-mail address"),
            (
                "webhook = \"http://example.org\"",
                "must begin with https://",
            ),
        ] {
            let error = read("", delivery).check().unwrap_err();
            assert!(error.contains(part), "{delivery}: {error}");
        }
        let other = "[architecture]\nsource = \"codeconnections\"\n";
        let error = read(other, "").check().unwrap_err();
        assert!(
            error.contains("needs repositories in CodeCommit"),
            "{error}"
        );
        let develop = read("", "").delivered();
        assert_eq!(develop[0].as_str(), "develop");
    }
}
