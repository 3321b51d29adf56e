//! Compares two commits: whether and how they can be merged.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::bare::{Bare, line};
use super::super::find;
use crate::Cloud;
use crate::api::page::Page;
use crate::api::{ApiError, ApiResult};

/// Default and maximum number of conflicts on a page.
const PAGE: usize = 1000;

/// Maximum size of a list of files that git compares, in bytes: about 200,000 files.
const MAX_LISTED: u64 = 16 << 20;

fn too_many() -> ApiError {
    ApiError::new(
        "MaximumItemsToCompareExceededException",
        format!("The names of the files to compare have more than {MAX_LISTED} bytes"),
    )
}

/// When two changes of a file conflict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Level {
    /// If both sides change the file.
    #[default]
    FileLevel,
    /// If both sides change the same lines.
    LineLevel,
}

/// How conflicts are resolved. Only `NONE` is supported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Strategy {
    #[default]
    None,
    AcceptSource,
    AcceptDestination,
    Automerge,
}

impl Strategy {
    pub(super) fn check(self) -> ApiResult<()> {
        if self == Self::None {
            return Ok(());
        }
        Err(ApiError::not_implemented(
            "conflict resolution strategies of codecommit other than NONE",
        ))
    }
}

/// The best common ancestor of two commits; `None` if they have none.
pub(super) async fn merge_base(bare: &Bare, one: &str, other: &str) -> ApiResult<Option<String>> {
    let found = bare.ask(&["merge-base", one, other]).await?;
    Ok(found.map(|text| line(&text)))
}

/// True if the destination can be moved to the source.
pub(super) async fn is_ahead(bare: &Bare, destination: &str, source: &str) -> ApiResult<bool> {
    let arguments = ["merge-base", "--is-ancestor", destination, source];
    Ok(bare.ask(&arguments).await?.is_some())
}

/// The files that differ between two commits, with the letter of the change.
async fn changes(bare: &Bare, before: &str, after: &str) -> ApiResult<BTreeMap<String, String>> {
    let arguments = [
        "diff-tree",
        "-r",
        "-z",
        "--no-renames",
        "--name-status",
        before,
        after,
    ];
    let raw = bare.ask_within(&arguments, MAX_LISTED, too_many).await?;
    let raw = raw.ok_or_else(|| ApiError::internal("git cannot compare the commits"))?;
    let raw = String::from_utf8_lossy(&raw);
    let mut fields = raw.split('\0');
    let mut found = BTreeMap::new();
    while let (Some(letter), Some(path)) = (fields.next(), fields.next()) {
        // A change of type is a modification.
        let letter = if letter == "T" { "M" } else { letter };
        found.insert(path.to_owned(), letter.to_owned());
    }
    Ok(found)
}

/// The tree of a merge; `None` if lines conflict.
pub(super) async fn merged_tree(
    bare: &Bare,
    destination: &str,
    source: &str,
) -> ApiResult<Option<String>> {
    let arguments = ["merge-tree", "--write-tree", destination, source];
    let found = bare.ask_within(&arguments, MAX_LISTED, too_many).await?;
    let tree = found.map(|text| {
        String::from_utf8_lossy(&text)
            .lines()
            .next()
            .map(str::to_owned)
    });
    Ok(tree.flatten())
}

/// The files in conflict, with the changes of source and destination.
pub(super) async fn conflicting(
    bare: &Bare,
    destination: &str,
    source: &str,
    level: Level,
) -> ApiResult<Vec<(String, String, String)>> {
    let Some(base) = merge_base(bare, destination, source).await? else {
        return Err(ApiError::new(
            "TipsDivergenceExceededException",
            "The commits have no common ancestor",
        ));
    };
    if level == Level::LineLevel && merged_tree(bare, destination, source).await?.is_some() {
        return Ok(Vec::new());
    }
    let ours = changes(bare, &base, source).await?;
    let theirs = changes(bare, &base, destination).await?;
    // Both sides may have made the same change.
    let differing = changes(bare, destination, source).await?;
    let both = ours.into_iter().filter_map(|(path, ours)| {
        let theirs = theirs.get(&path)?.clone();
        differing
            .contains_key(&path)
            .then_some((path, ours, theirs))
    });
    Ok(both.collect())
}

/// How branches are merged. What conflicts is the same for the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum MergeOption {
    #[serde(rename = "FAST_FORWARD_MERGE")]
    FastForward,
    #[serde(rename = "SQUASH_MERGE")]
    Squash,
    #[serde(rename = "THREE_WAY_MERGE")]
    ThreeWay,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commits {
    pub(super) repository_name: String,
    pub(super) source_commit_specifier: String,
    pub(super) destination_commit_specifier: String,
    pub(super) target_branch: Option<String>,
    merge_option: Option<MergeOption>,
    #[serde(default)]
    conflict_detail_level: Level,
    #[serde(default)]
    conflict_resolution_strategy: Strategy,
    max_conflict_files: Option<usize>,
    next_token: Option<String>,
}

/// The commit that a request names by its id or by a branch.
pub(super) async fn commit(bare: &Bare, specifier: &str) -> ApiResult<String> {
    let specifier = specifier.strip_prefix("refs/heads/").unwrap_or(specifier);
    bare.specifier(specifier).await?.ok_or_else(|| {
        ApiError::not_found(
            "CommitDoesNotExistException",
            format!("The commit or branch {specifier} does not exist"),
        )
    })
}

/// `GetMergeConflicts`
pub(super) async fn conflicts(cloud: &Cloud, input: Commits) -> ApiResult<Value> {
    input.conflict_resolution_strategy.check()?;
    let (_, bare) = find(cloud, &input.repository_name)?;
    let source = commit(&bare, &input.source_commit_specifier).await?;
    let destination = commit(&bare, &input.destination_commit_specifier).await?;
    let base = merge_base(&bare, &destination, &source).await?;
    let (is_mergeable, found) = if input.merge_option == Some(MergeOption::FastForward) {
        (is_ahead(&bare, &destination, &source).await?, Vec::new())
    } else {
        let level = input.conflict_detail_level;
        let found = conflicting(&bare, &destination, &source, level).await?;
        (found.is_empty(), found)
    };
    let listed = found.into_iter().map(|(path, ours, theirs)| {
        json!({
            "filePath": path,
            "contentConflict": true,
            "mergeOperations": {"source": ours, "destination": theirs},
        })
    });
    let size = input.max_conflict_files.unwrap_or(PAGE).clamp(1, PAGE);
    let page = Page::new(input.next_token.as_deref(), size, |_| {
        ApiError::new("InvalidContinuationTokenException", "Invalid token")
    })?;
    let (listed, next) = page.cut(listed.collect());
    let mut response = json!({
        "mergeable": is_mergeable,
        "destinationCommitId": destination,
        "sourceCommitId": source,
        "conflictMetadataList": listed,
    });
    if let Some(base) = base {
        response["baseCommitId"] = json!(base);
    }
    if let Some(next) = next {
        response["nextToken"] = json!(next);
    }
    Ok(response)
}

/// `GetMergeOptions`: those that the local cloud has, which are all but the three-way merge.
pub(super) async fn options(cloud: &Cloud, input: Commits) -> ApiResult<Value> {
    input.conflict_resolution_strategy.check()?;
    let (_, bare) = find(cloud, &input.repository_name)?;
    let source = commit(&bare, &input.source_commit_specifier).await?;
    let destination = commit(&bare, &input.destination_commit_specifier).await?;
    let level = input.conflict_detail_level;
    let found = conflicting(&bare, &destination, &source, level).await?;
    let mut options = Vec::new();
    if is_ahead(&bare, &destination, &source).await? {
        options.push("FAST_FORWARD_MERGE");
    }
    if found.is_empty() {
        options.push("SQUASH_MERGE");
    }
    Ok(json!({
        "mergeOptions": options,
        "sourceCommitId": source,
        "destinationCommitId": destination,
        "baseCommitId": merge_base(&bare, &destination, &source).await?,
    }))
}
