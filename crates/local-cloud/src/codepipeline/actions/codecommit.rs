//! The source action of `CodeCommit`: a zip of the newest commit of a branch, or of the commit that the start of the
//! execution names; or a reference to the commit, which builds clone (`CODEBUILD_CLONE_REF`).

use serde_json::json;

use super::super::records::RevisionType;
use super::artifacts::Place;
use super::{Failure, Outcome, Running};
use crate::api::ApiResult;
use crate::codebuild::CloneReference;
use crate::codecommit::archive;

/// Maximum number of characters of a revision's summary (API reference).
pub(super) const SUMMARY: usize = 2048;

/// The value of `OutputArtifactFormat` for a reference to a commit.
const CLONE: &str = "CODEBUILD_CLONE_REF";

pub(super) async fn run(running: &Running<'_>) -> Outcome {
    let (repository, branch) = (running.text("RepositoryName"), running.text("BranchName"));
    let commit = match running.overridden(RevisionType::CommitId) {
        Some(commit) => commit.to_owned(),
        None => head(running, repository, branch).await?,
    };
    let request = json!({"repositoryName": repository, "commitId": commit});
    let found = running
        .cloud
        .call("codecommit", "GetCommit", request)
        .await?;
    let found = &found["commit"];
    let text = |pointer: &str| found.pointer(pointer).and_then(|it| it.as_str());
    let message = text("/message").unwrap_or_default().trim_end().to_owned();
    let date = |who: &str| iso(text(&format!("/{who}/date")).unwrap_or_default());

    let mut place = running.place(running.output())?;
    if running
        .text("OutputArtifactFormat")
        .eq_ignore_ascii_case(CLONE)
    {
        let reference = CloneReference {
            repository: repository.to_owned(),
            commit: commit.clone(),
            branch: branch.to_owned(),
        };
        refer(running, &place, &reference).await?;
        place.location.clone = Some(reference);
    } else {
        let mut archive = archive::zip(running.cloud, repository, &commit).await?;
        let stored = place.clone();
        running
            .blocking(move |cloud, caller| stored.put(cloud, caller, &mut archive))
            .await?;
    }
    let summary: String = message.chars().take(SUMMARY).collect();
    let summary = (!summary.is_empty()).then_some(summary);
    let variables = [
        ("AuthorDate", date("author")),
        ("BranchName", branch.to_owned()),
        ("CommitId", commit.clone()),
        ("CommitMessage", message),
        ("CommitterDate", date("committer")),
        ("RepositoryName", repository.to_owned()),
    ];
    Ok(Some(running.sourced(place, commit, summary, variables)))
}

/// Stores a reference to a commit. The role needs `codecommit:GetRepository` (user guide); the service role of the
/// build, which clones the repository, needs `codecommit:GitPull`.
///
/// Unverified against AWS [codepipeline-clone-reference]: the members of the artifact.
async fn refer(
    running: &Running<'_>,
    place: &Place,
    reference: &CloneReference,
) -> Result<(), Failure> {
    let request = json!({"repositoryName": reference.repository});
    let found = running.cloud.call("codecommit", "GetRepository", request);
    let found = found.await?;
    let artifact = json!({
        "RepositoryUrl": found["repositoryMetadata"]["cloneUrlHttp"],
        "Repository": reference.repository,
        "Branch": reference.branch,
        "Commit": reference.commit,
    });
    let (place, artifact) = (place.clone(), artifact.to_string());
    running
        .blocking(move |cloud, caller| place.put(cloud, caller, &mut artifact.as_bytes()))
        .await?;
    Ok(())
}

async fn head(running: &Running<'_>, repository: &str, branch: &str) -> Result<String, Failure> {
    let request = json!({"repositoryName": repository, "branchName": branch});
    let found: ApiResult<_> = running.cloud.call("codecommit", "GetBranch", request).await;
    let commit = found?["branch"]["commitId"].as_str().map(str::to_owned);
    commit.ok_or_else(|| Failure::new("RevisionUnavailable", "the branch has no commit"))
}

/// `1700000000 +0100` in the form of variables, `2023-11-14T22:13:20Z`.
fn iso(date: &str) -> String {
    let seconds = date.split(' ').next().and_then(|it| it.parse().ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_in_utc() {
        assert_eq!(iso("1700000000 +0100"), "2023-11-14T22:13:20Z");
        assert_eq!(iso(""), "");
    }
}
