//! Reads commits: their metadata, files, folders and differences.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bare::{Bare, is_object_id};
use super::find;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// The largest file that `GetFile` returns (AWS: 6 MB).
const MAX_FILE: usize = 6 << 20;

/// The object id of the empty tree, which exists in every repository.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// A file, folder or link of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Git's mode, such as `100644`.
    pub(super) mode: String,
    /// The id of the blob, tree or commit.
    pub(super) id: String,
    /// The path, relative to the listed tree.
    pub(super) path: String,
}

impl Entry {
    /// `MODE TYPE ID<TAB>PATH`, as `git ls-tree -z` prints it.
    fn parse(text: &str) -> Option<Self> {
        let (fields, path) = text.split_once('\t')?;
        let mut fields = fields.split(' ');
        let (mode, _kind, id) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self {
            mode: mode.to_owned(),
            id: id.to_owned(),
            path: path.to_owned(),
        })
    }

    /// CodeCommit's name of a file's mode.
    pub(super) fn file_mode(&self) -> &'static str {
        match self.mode.as_str() {
            "100755" => "EXECUTABLE",
            "120000" => "SYMLINK",
            _ => "NORMAL",
        }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.mode.as_str(), "100644" | "100755" | "120000")
    }
}

/// A path inside a repository, without the slash that callers may put before it.
pub(super) fn check_path(path: &str) -> ApiResult<&str> {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Err(ApiError::new("PathRequiredException", "A path is required"));
    }
    let sound = path.len() <= 4096
        && !path.contains(['\0', '\\'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part != ".git");
    if sound {
        Ok(path)
    } else {
        Err(ApiError::new(
            "InvalidPathException",
            format!("The path {path:?} is not valid"),
        ))
    }
}

async fn resolve(repository: &Bare, specifier: Option<&str>) -> ApiResult<String> {
    let specifier = specifier.unwrap_or("HEAD");
    repository.specifier(specifier).await?.ok_or_else(|| {
        ApiError::not_found(
            "CommitDoesNotExistException",
            format!("The commit or branch {specifier} does not exist"),
        )
    })
}

/// The file at a path of a commit.
pub(super) async fn entry(repository: &Bare, commit: &str, path: &str) -> ApiResult<Option<Entry>> {
    let listed = repository
        .ask(&["ls-tree", "-z", "--full-tree", commit, "--", path])
        .await?
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(&listed)
        .split('\0')
        .filter_map(Entry::parse)
        .find(|entry| entry.path == path))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetCommit {
    repository_name: String,
    commit_id: String,
}

pub(super) async fn get_commit(cloud: &Cloud, input: GetCommit) -> ApiResult<Value> {
    let (_, repository) = find(cloud, &input.repository_name)?;
    let id = &input.commit_id;
    if !is_object_id(id) {
        return Err(ApiError::new(
            "InvalidCommitIdException",
            "A commit is named by its 40 hexadecimal digits",
        ));
    }
    let missing = || {
        ApiError::not_found(
            "CommitIdDoesNotExistException",
            format!("The commit {id} does not exist"),
        )
    };
    let raw = repository
        .ask(&["cat-file", "commit", id])
        .await?
        .ok_or_else(missing)?;
    let raw = String::from_utf8_lossy(&raw);
    let (head, message) = raw.split_once("\n\n").unwrap_or((&raw, ""));
    let mut commit = json!({
        "commitId": id,
        "parents": [],
        "message": message,
        "additionalData": "",
    });
    for line in head.lines() {
        match line.split_once(' ') {
            Some(("tree", tree)) => commit["treeId"] = json!(tree),
            Some(("parent", parent)) => {
                if let Some(parents) = commit["parents"].as_array_mut() {
                    parents.push(json!(parent));
                }
            }
            Some((who @ ("author" | "committer"), signature)) => {
                commit[who] = person(signature);
            }
            _ => {}
        }
    }
    Ok(json!({"commit": commit}))
}

/// `Name <email> 1700000000 +0100`
fn person(signature: &str) -> Value {
    let (name, rest) = signature.split_once(" <").unwrap_or(("", signature));
    let (email, date) = rest.split_once("> ").unwrap_or((rest, ""));
    json!({"name": name, "email": email, "date": date})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetFile {
    repository_name: String,
    commit_specifier: Option<String>,
    file_path: String,
}

pub(super) async fn get_file(cloud: &Cloud, input: GetFile) -> ApiResult<Value> {
    let (_, repository) = find(cloud, &input.repository_name)?;
    let path = check_path(&input.file_path)?;
    let commit = resolve(&repository, input.commit_specifier.as_deref()).await?;
    let missing = || {
        ApiError::not_found(
            "FileDoesNotExistException",
            format!("The file {path} does not exist"),
        )
    };
    let entry = entry(&repository, &commit, path)
        .await?
        .filter(Entry::is_file)
        .ok_or_else(missing)?;
    let content = repository
        .ask(&["cat-file", "blob", &entry.id])
        .await?
        .ok_or_else(missing)?;
    if content.len() > MAX_FILE {
        return Err(ApiError::new(
            "FileTooLargeException",
            format!("{path} is larger than 6 MB: clone the repository"),
        ));
    }
    Ok(json!({
        "commitId": commit,
        "blobId": entry.id,
        "filePath": path,
        "fileMode": entry.file_mode(),
        "fileSize": content.len(),
        "fileContent": STANDARD.encode(content),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetFolder {
    repository_name: String,
    commit_specifier: Option<String>,
    folder_path: String,
}

pub(super) async fn get_folder(cloud: &Cloud, input: GetFolder) -> ApiResult<Value> {
    let (_, repository) = find(cloud, &input.repository_name)?;
    let commit = resolve(&repository, input.commit_specifier.as_deref()).await?;
    let folder = match input.folder_path.trim_matches('/') {
        "" => "",
        path => check_path(path)?,
    };
    let missing = || {
        ApiError::not_found(
            "FolderDoesNotExistException",
            format!("The folder /{folder} does not exist"),
        )
    };
    let tree = repository
        .object(&format!("{commit}:{folder}"))
        .await?
        .ok_or_else(missing)?;
    let listed = repository
        .ask(&["ls-tree", "-z", &tree])
        .await?
        .ok_or_else(missing)?;
    let (mut folders, mut files, mut links, mut modules) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in String::from_utf8_lossy(&listed)
        .split('\0')
        .filter_map(Entry::parse)
    {
        let absolute = if folder.is_empty() {
            entry.path.clone()
        } else {
            format!("{folder}/{}", entry.path)
        };
        let file = json!({
            "blobId": entry.id,
            "absolutePath": absolute,
            "relativePath": entry.path,
            "fileMode": entry.file_mode(),
        });
        let other =
            |id: &str| json!({id: entry.id, "absolutePath": absolute, "relativePath": entry.path});
        match entry.mode.as_str() {
            "040000" => folders.push(other("treeId")),
            "160000" => modules.push(other("commitId")),
            "120000" => links.push(file),
            _ => files.push(file),
        }
    }
    Ok(json!({
        "commitId": commit,
        "folderPath": folder,
        "treeId": tree,
        "subFolders": folders,
        "files": files,
        "symbolicLinks": links,
        "subModules": modules,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetDifferences {
    repository_name: String,
    before_commit_specifier: Option<String>,
    after_commit_specifier: String,
    before_path: Option<String>,
    after_path: Option<String>,
    #[serde(rename = "MaxResults")]
    max_results: Option<usize>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
}

pub(super) async fn get_differences(cloud: &Cloud, input: GetDifferences) -> ApiResult<Value> {
    let (_, repository) = find(cloud, &input.repository_name)?;
    let after = resolve(&repository, Some(&input.after_commit_specifier)).await?;
    let before = match &input.before_commit_specifier {
        Some(specifier) => resolve(&repository, Some(specifier)).await?,
        None => EMPTY_TREE.to_owned(),
    };
    let mut arguments = vec![
        "diff-tree",
        "-r",
        "-z",
        "--no-renames",
        &before,
        &after,
        "--",
    ];
    for path in [&input.before_path, &input.after_path]
        .into_iter()
        .flatten()
    {
        if path != "/" {
            arguments.push(check_path(path)?);
        }
    }
    let raw = repository.run(&arguments, &[], b"").await?;
    let raw = String::from_utf8_lossy(&raw);
    let mut fields = raw.split('\0');
    let mut differences = Vec::new();
    while let (Some(change), Some(path)) = (fields.next(), fields.next()) {
        differences.push(difference(change, path)?);
    }
    let size = input.max_results.unwrap_or(400).clamp(1, 400);
    let start: usize = match &input.next_token {
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::new("InvalidContinuationTokenException", "Invalid token"))?,
        None => 0,
    };
    let total = differences.len();
    let page: Vec<Value> = differences.into_iter().skip(start).take(size).collect();
    let mut answer = json!({"differences": page});
    if start + size < total {
        answer["NextToken"] = json!((start + size).to_string());
    }
    Ok(answer)
}

/// `:OLDMODE NEWMODE OLDID NEWID LETTER`, as `git diff-tree -z` prints it.
fn difference(change: &str, path: &str) -> ApiResult<Value> {
    let fields: Vec<&str> = change.trim_start_matches(':').split(' ').collect();
    let [old_mode, new_mode, old, new, letter] = fields[..] else {
        return Err(ApiError::internal(format!(
            "git diff-tree printed {change:?}"
        )));
    };
    // A change of type (file to link) is a modification for CodeCommit.
    let letter = if letter == "T" { "M" } else { letter };
    let mut difference = json!({"changeType": letter});
    if letter != "A" {
        difference["beforeBlob"] = json!({"blobId": old, "path": path, "mode": old_mode});
    }
    if letter != "D" {
        difference["afterBlob"] = json!({"blobId": new, "path": path, "mode": new_mode});
    }
    Ok(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(check_path("/a/b.txt").unwrap(), "a/b.txt");
        for bad in [
            "",
            "/",
            "../x",
            "a/../b",
            "a//b",
            ".git/config",
            "a/.git/hooks",
            "a/.",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signatures_have_three_parts() {
        let found = person("Ada L. <ada@x.example> 1700000000 +0100");
        assert_eq!(
            found,
            json!({"name": "Ada L.", "email": "ada@x.example", "date": "1700000000 +0100"})
        );
    }
}
