//! The texts of a buildspec that the build's shell evaluates.

use super::super::buildspec::{ArtifactSpec, Buildspec};

/// True for a text that a shell changes.
fn is_expression(text: &str) -> bool {
    text.contains(['$', '`', '\\'])
}

fn texts(spec: &ArtifactSpec) -> impl Iterator<Item = &String> {
    let single = [&spec.name, &spec.base_directory, &spec.s3_prefix];
    single
        .into_iter()
        .flatten()
        .chain(&spec.files)
        .chain(&spec.exclude_paths)
}

/// The texts of a buildspec that are evaluated by its shell after the last command.
pub(super) fn of(spec: &Buildspec) -> Vec<String> {
    let artifacts = spec
        .artifacts
        .iter()
        .chain(spec.secondary_artifacts.values());
    let reports = spec.reports.iter();
    let mut all: Vec<String> = artifacts
        .flat_map(texts)
        .chain(reports.flat_map(|report| report.files.iter().chain(&report.base_directory)))
        .chain(&spec.cache_paths)
        .filter(|text| is_expression(text))
        .cloned()
        .collect();
    all.sort();
    all.dedup();
    all
}
