//! Creates commits through the API: `PutFile` and `CreateCommit`.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bare::{Bare, line};
use super::commits::{Entry, check_path, entry};
use super::{announce, author, changes, check_branch, find, no_branch};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;

/// Maximum size of a file in a commit through the API (AWS: 6 MB).
const MAX_FILE: usize = 6 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutFile {
    repository_name: String,
    branch_name: String,
    file_content: String,
    file_path: String,
    file_mode: Option<String>,
    parent_commit_id: Option<String>,
    commit_message: Option<String>,
    name: Option<String>,
    email: Option<String>,
}

pub(super) async fn put_file(cloud: &Cloud, input: PutFile) -> ApiResult<Value> {
    let commit = Commit {
        repository: input.repository_name,
        branch: input.branch_name,
        parent: input.parent_commit_id,
        message: input
            .commit_message
            .unwrap_or_else(|| format!("Put {}", input.file_path)),
        name: input.name,
        email: input.email,
        changes: vec![Change::Put {
            path: input.file_path,
            content: content(Some(&input.file_content))?,
            mode: input.file_mode,
        }],
    };
    let made = commit.make(cloud, "SameFileContentException").await?;
    let blob = made
        .added
        .iter()
        .chain(&made.updated)
        .next()
        .map(|entry| entry.id.clone());
    Ok(json!({"commitId": made.commit, "treeId": made.tree, "blobId": blob}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateCommit {
    repository_name: String,
    branch_name: String,
    parent_commit_id: Option<String>,
    author_name: Option<String>,
    email: Option<String>,
    commit_message: Option<String>,
    #[serde(default)]
    keep_empty_folders: bool,
    #[serde(default)]
    put_files: Vec<PutFileEntry>,
    #[serde(default)]
    delete_files: Vec<PathEntry>,
    #[serde(default)]
    set_file_modes: Vec<PathEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutFileEntry {
    file_path: String,
    file_mode: Option<String>,
    file_content: Option<String>,
    source_file: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathEntry {
    file_path: String,
    file_mode: Option<String>,
}

pub(super) async fn create_commit(cloud: &Cloud, input: CreateCommit) -> ApiResult<Value> {
    if input.keep_empty_folders {
        return Err(ApiError::not_implemented(
            "codecommit:CreateCommit with keepEmptyFolders",
        ));
    }
    let mut changes = Vec::new();
    for put in input.put_files {
        if put.source_file.is_some() {
            return Err(ApiError::not_implemented(
                "codecommit:CreateCommit with sourceFile",
            ));
        }
        changes.push(Change::Put {
            content: content(put.file_content.as_deref())?,
            path: put.file_path,
            mode: put.file_mode,
        });
    }
    changes.extend(input.delete_files.into_iter().map(|entry| Change::Delete {
        path: entry.file_path,
    }));
    changes.extend(input.set_file_modes.into_iter().map(|entry| Change::Mode {
        path: entry.file_path,
        mode: entry.file_mode,
    }));
    if changes.is_empty() {
        return Err(ApiError::new(
            "FileEntryRequiredException",
            "A commit must put, delete or change the mode of at least one file",
        ));
    }
    let commit = Commit {
        repository: input.repository_name,
        branch: input.branch_name,
        parent: input.parent_commit_id,
        message: input.commit_message.unwrap_or_default(),
        name: input.author_name,
        email: input.email,
        changes,
    };
    let made = commit.make(cloud, "NoChangeException").await?;
    let files = |entries: &[Entry]| -> Vec<Value> {
        entries
            .iter()
            .map(|entry| {
                json!({
                    "absolutePath": entry.path,
                    "blobId": entry.id,
                    "fileMode": entry.file_mode(),
                })
            })
            .collect()
    };
    Ok(json!({
        "commitId": made.commit,
        "treeId": made.tree,
        "filesAdded": files(&made.added),
        "filesUpdated": files(&made.updated),
        "filesDeleted": files(&made.deleted),
    }))
}

/// A blob member: base64.
fn content(encoded: Option<&str>) -> ApiResult<Vec<u8>> {
    let encoded = encoded.ok_or_else(|| {
        ApiError::new(
            "SourceFileOrContentRequiredException",
            "A file that is put needs its content",
        )
    })?;
    let content = STANDARD
        .decode(encoded)
        .map_err(|error| ApiError::new("SerializationException", error.to_string()))?;
    if content.len() > MAX_FILE {
        return Err(ApiError::new(
            "FileContentSizeLimitExceededException",
            "A file that is put has at most 6 MB: push it with git",
        ));
    }
    Ok(content)
}

fn git_mode(mode: Option<&str>) -> ApiResult<&'static str> {
    match mode {
        None | Some("NORMAL") => Ok("100644"),
        Some("EXECUTABLE") => Ok("100755"),
        Some("SYMLINK") => Ok("120000"),
        Some(other) => Err(ApiError::new(
            "InvalidFileModeException",
            format!("{other} is not one of EXECUTABLE, NORMAL, SYMLINK"),
        )),
    }
}

/// The change of one file in a commit.
enum Change {
    Put {
        path: String,
        content: Vec<u8>,
        mode: Option<String>,
    },
    Delete {
        path: String,
    },
    Mode {
        path: String,
        mode: Option<String>,
    },
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Delete { path } | Self::Mode { path, .. } => path,
        }
    }
}

struct Commit {
    repository: String,
    branch: String,
    parent: Option<String>,
    message: String,
    name: Option<String>,
    email: Option<String>,
    changes: Vec<Change>,
}

#[derive(Default)]
struct NewCommit {
    commit: String,
    tree: String,
    added: Vec<Entry>,
    updated: Vec<Entry>,
    deleted: Vec<Entry>,
}

impl Commit {
    /// Creates the commit and moves the branch to it. `unchanged` is the error if the tree does not change.
    async fn make(&self, cloud: &Cloud, unchanged: &str) -> ApiResult<NewCommit> {
        let (_, repository) = find(cloud, &self.repository)?;
        check_branch(&self.branch)?;
        let parent = self.parent(&repository).await?;
        let mut made = NewCommit::default();
        let index = self
            .index(&repository, parent.as_deref(), &mut made)
            .await?;
        let scratch = tempfile::tempdir_in(repository.directory())?;
        let file = scratch.path().join("index");
        let environment = [("GIT_INDEX_FILE", file.as_os_str())];
        let base = parent.as_deref().unwrap_or("--empty");
        repository
            .run(&["read-tree", base], &environment, b"")
            .await?;
        repository
            .run(
                &["update-index", "-z", "--index-info"],
                &environment,
                index.as_bytes(),
            )
            .await
            .map_err(|error| {
                ApiError::new("FileNameConflictsWithDirectoryNameException", error.message)
            })?;
        made.tree = line(&repository.run(&["write-tree"], &environment, b"").await?);
        if let Some(parent) = &parent
            && repository
                .object(&format!("{parent}^{{tree}}"))
                .await?
                .as_ref()
                == Some(&made.tree)
        {
            return Err(ApiError::new(
                unchanged,
                "The commit would change nothing: the files are the same",
            ));
        }
        made.commit = self
            .commit(&repository, &made.tree, parent.as_deref())
            .await?;
        announce::before(cloud, &self.repository, &Caller::current()).await?;
        repository
            .set_branch(&self.branch, &made.commit, parent.as_deref())
            .await?;
        changes::after(cloud, &self.repository, &Caller::current()).await;
        Ok(made)
    }

    /// The head of the branch, which must equal the request's parent commit; `None` in an empty repository.
    async fn parent(&self, repository: &Bare) -> ApiResult<Option<String>> {
        let Some(head) = repository.branch(&self.branch).await? else {
            return if repository.branches().await?.is_empty() {
                Ok(None)
            } else {
                Err(no_branch(&self.branch))
            };
        };
        match &self.parent {
            None => Err(ApiError::new(
                "ParentCommitIdRequiredException",
                "The branch has commits: a parent commit id is required",
            )),
            Some(parent) if *parent == head => Ok(Some(head)),
            Some(parent) if !super::bare::is_object_id(parent) => Err(ApiError::new(
                "InvalidParentCommitIdException",
                format!("{parent} is not a commit id"),
            )),
            Some(parent) if repository.commit(parent).await?.is_none() => Err(ApiError::not_found(
                "ParentCommitDoesNotExistException",
                format!("The parent commit {parent} does not exist"),
            )),
            Some(_) => Err(ApiError::new(
                "ParentCommitIdOutdatedException",
                format!("The tip of {} is {head}", self.branch),
            )),
        }
    }

    /// Writes the blobs and returns the lines for `git update-index -z --index-info`.
    async fn index(
        &self,
        repository: &Bare,
        parent: Option<&str>,
        made: &mut NewCommit,
    ) -> ApiResult<String> {
        let mut lines = String::new();
        let mut seen = BTreeSet::new();
        for change in &self.changes {
            let path = check_path(change.path())?;
            if !seen.insert(path) {
                return Err(ApiError::new(
                    "SamePathRequestException",
                    format!("{path} is named twice"),
                ));
            }
            let before = match parent {
                Some(parent) => entry(repository, parent, path).await?,
                None => None,
            };
            let missing = || {
                ApiError::not_found(
                    "FileDoesNotExistException",
                    format!("The file {path} does not exist"),
                )
            };
            let after = match change {
                Change::Put { content, mode, .. } => {
                    let id = repository
                        .run(&["hash-object", "-w", "--stdin"], &[], content)
                        .await?;
                    Entry {
                        mode: git_mode(mode.as_deref())?.to_owned(),
                        id: line(&id),
                        path: path.to_owned(),
                    }
                }
                Change::Mode { mode, .. } => Entry {
                    mode: git_mode(mode.as_deref())?.to_owned(),
                    ..before.clone().ok_or_else(missing)?
                },
                Change::Delete { .. } => {
                    let before = before.filter(Entry::is_file).ok_or_else(missing)?;
                    lines.push_str(&format!("0 {}\t{path}\0", "0".repeat(before.id.len())));
                    made.deleted.push(before);
                    continue;
                }
            };
            lines.push_str(&format!("{} {}\t{path}\0", after.mode, after.id));
            match before {
                Some(before) if before.is_file() => made.updated.push(after),
                Some(_) => {
                    return Err(ApiError::new(
                        "FileNameConflictsWithDirectoryNameException",
                        format!("{path} is a folder"),
                    ));
                }
                None => made.added.push(after),
            }
        }
        Ok(lines)
    }

    async fn commit(
        &self,
        repository: &Bare,
        tree: &str,
        parent: Option<&str>,
    ) -> ApiResult<String> {
        author::check(self.name.as_deref(), self.email.as_deref())?;
        author::check_message(&self.message)?;
        // AWS uses the caller's name; here every caller is the user `local`.
        let name = OsStr::new(self.name.as_deref().unwrap_or("local"));
        let email = OsStr::new(self.email.as_deref().unwrap_or_default());
        let environment = [
            ("GIT_AUTHOR_NAME", name),
            ("GIT_AUTHOR_EMAIL", email),
            ("GIT_COMMITTER_NAME", name),
            ("GIT_COMMITTER_EMAIL", email),
        ];
        let mut arguments = vec!["commit-tree", tree];
        if let Some(parent) = parent {
            arguments.extend(["-p", parent]);
        }
        let id = repository
            .run(&arguments, &environment, self.message.as_bytes())
            .await?;
        Ok(line(&id))
    }
}
