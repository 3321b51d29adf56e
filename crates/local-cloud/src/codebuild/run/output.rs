//! `UPLOAD_ARTIFACTS`: reports, artifacts and the cache.

use std::collections::BTreeMap;

use super::super::artifacts::{self, Definition, Output};
use super::super::buildspec::ArtifactSpec;
use super::super::records::{BuildArtifacts, BuildRecord};
use super::super::{cache, reports};
use super::commands::Outcome;
use super::download::{Prepared, has_cache};
use super::{Break, Run};

/// An artifact definition with evaluated texts.
fn definition(spec: &ArtifactSpec, outcome: &Outcome) -> Definition {
    let one = |text: &Option<String>| text.as_ref().map(|text| outcome.evaluated(text));
    let many = |texts: &[String]| texts.iter().map(|text| outcome.evaluated(text)).collect();
    Definition {
        spec: ArtifactSpec {
            files: many(&spec.files),
            name: one(&spec.name),
            base_directory: one(&spec.base_directory),
            exclude_paths: many(&spec.exclude_paths),
            s3_prefix: one(&spec.s3_prefix),
            ..spec.clone()
        },
    }
}

/// The primary artifact and the secondary ones.
type Uploaded = (Option<BuildArtifacts>, Vec<BuildArtifacts>);

/// Uploads everything that the settings of the build name.
fn upload(
    record: &BuildRecord,
    output: &Output<'_>,
    primary: Option<&Definition>,
    secondary: &BTreeMap<String, Definition>,
) -> Result<Uploaded, Break> {
    if let Some(part) = &record.pipeline {
        let mut uploaded = Vec::new();
        for one in &part.outputs {
            let found = artifacts::of_output(one, part.outputs.len() == 1, primary, secondary)?;
            uploaded.push(output.upload_to_pipeline(one, found)?);
        }
        let mut uploaded = uploaded.into_iter();
        return Ok((uploaded.next(), uploaded.collect()));
    }
    let settings = &record.settings;
    let main = match settings.artifacts.kind.as_str() {
        "S3" => {
            let found = primary.filter(|definition| !definition.spec.files.is_empty());
            let found = found.ok_or_else(|| {
                Break::client("No artifacts are defined in the buildspec, but the project has artifacts of type S3")
            })?;
            Some(output.upload(&settings.artifacts, found)?)
        }
        _ => None,
    };
    let mut others = Vec::new();
    for one in &settings.secondary_artifacts {
        let identifier = one.artifact_identifier.as_deref().unwrap_or_default();
        let found = secondary.get(identifier).ok_or_else(|| {
            Break::client(format!(
                "no definition for secondary artifact {identifier} in the buildspec"
            ))
        })?;
        others.push(output.upload(one, found)?);
    }
    Ok((main, others))
}

impl Run {
    /// Stores the reports, uploads the artifacts, and saves the cache.
    pub(super) async fn upload(
        &mut self,
        build: &Prepared,
        outcome: &Outcome,
    ) -> Result<(), Break> {
        self.reports(build, outcome).await?;
        let primary = build
            .spec
            .artifacts
            .as_ref()
            .map(|spec| definition(spec, outcome));
        let secondary: BTreeMap<String, Definition> = build
            .spec
            .secondary_artifacts
            .iter()
            .map(|(name, spec)| (name.clone(), definition(spec, outcome)))
            .collect();
        let record = self.record.clone();
        let (cloud, role, log) = (
            self.cloud.clone(),
            build.session.caller(),
            build.log.clone(),
        );
        let (root, layout, uuid) = (
            build.root.clone(),
            build.layout.clone(),
            self.uuid().to_owned(),
        );
        let (primary, others) = self
            .blocking(move |interrupt| {
                let output = Output {
                    cloud: &cloud,
                    role,
                    root: &root,
                    layout: &layout,
                    log: &log,
                    interrupt,
                    build: record.build.arn.clone(),
                    uuid,
                    encryption_key: record.settings.encryption_key.clone(),
                };
                upload(&record, &output, primary.as_ref(), &secondary)
            })
            .await?;
        if primary.is_some() || !others.is_empty() {
            self.progress
                .set(|build| {
                    if primary.is_some() {
                        build.artifacts.clone_from(&primary);
                    }
                    build.secondary_artifacts.clone_from(&others);
                })
                .await?;
        }
        if !outcome.has_failed {
            self.save_cache(build, outcome).await?;
        }
        Ok(())
    }

    async fn reports(&mut self, build: &Prepared, outcome: &Outcome) -> Result<(), Break> {
        if build.spec.reports.is_empty() {
            return Ok(());
        }
        let mut specs = build.spec.reports.clone();
        for spec in &mut specs {
            for text in spec.files.iter_mut().chain(&mut spec.base_directory) {
                *text = outcome.evaluated(text);
            }
        }
        let (cloud, role, log) = (
            self.cloud.clone(),
            build.session.caller(),
            build.log.clone(),
        );
        let (root, layout) = (build.root.clone(), build.layout.clone());
        let record = self.record.build.clone();
        let arns = self
            .blocking(move |interrupt| {
                let results = reports::Results {
                    cloud: &cloud,
                    role: &role,
                    root: &root,
                    layout: &layout,
                    log: &log,
                    interrupt: &interrupt,
                };
                Ok(results.store(&record, &specs)?)
            })
            .await?;
        self.progress
            .set(|build| build.report_arns.clone_from(&arns))
            .await?;
        Ok(())
    }

    async fn save_cache(&mut self, build: &Prepared, outcome: &Outcome) -> Result<(), Break> {
        if !has_cache(self) || build.spec.cache_paths.is_empty() {
            return Ok(());
        }
        let paths: Vec<String> = build
            .spec
            .cache_paths
            .iter()
            .map(|text| outcome.evaluated(text))
            .collect();
        let (cloud, log) = (self.cloud.clone(), build.log.clone());
        let (root, layout) = (build.root.clone(), build.layout.clone());
        let (project, id) = (self.record.settings.name.clone(), self.record.cache.clone());
        self.blocking(move |interrupt| {
            let of = (project.as_str(), id.as_str());
            let saved = cache::save(&cloud, of, &paths, (&root, &layout), &log, &interrupt);
            match saved {
                Ok(Some(count)) => {
                    log.container(&format!("Saved {count} file(s) in the local cache"));
                }
                Ok(None) => {
                    log.container("The local cache was not saved: the project was deleted");
                }
                // As on AWS, a build does not fail because of its cache.
                Err(error) => {
                    log.container(&format!("The local cache was not saved: {}", error.message));
                }
            }
            Ok(())
        })
        .await
    }
}
