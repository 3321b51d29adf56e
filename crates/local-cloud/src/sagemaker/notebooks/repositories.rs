//! Code repositories: git addresses that notebook instances refer to by name.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::records::Records;
use super::super::requests::{ListRequest, ResourceName, Stored, check_name};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

/// A repository to clone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) url: String,
    pub(super) branch: Option<String>,
    /// The path of a repository of the local CodeCommit.
    pub(super) own: Option<String>,
}

impl Source {
    /// The source with a name or an address, as a notebook instance refers to it.
    pub(super) fn of(cloud: &Cloud, reference: &str) -> ApiResult<Self> {
        let (url, branch) = if reference.starts_with("https://") {
            (reference.to_owned(), None)
        } else {
            let record = REPOSITORIES.get(cloud, reference)?;
            let text = |member: &str| record["GitConfig"][member].as_str().map(str::to_owned);
            (text("RepositoryUrl").unwrap_or_default(), text("Branch"))
        };
        let own = prefix(cloud.region(), &url).map(|prefix| url[prefix.len()..].to_owned());
        let own = own.map(|name| format!("{REPOS}{name}"));
        Ok(Self { url, branch, own })
    }

    /// The directory of the clone: the repository's name.
    pub(super) fn directory(&self) -> ApiResult<String> {
        let name = self.url.trim_end_matches('/').rsplit('/').next();
        let name = name.unwrap_or_default();
        let name = name.strip_suffix(".git").unwrap_or(name);
        let fits = |sign: char| sign.is_ascii_alphanumeric() || "._-".contains(sign);
        if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(fits) {
            return Err(ApiError::validation(format!(
                "the address {} has no name of a repository",
                self.url
            )));
        }
        Ok(name.to_owned())
    }
}

/// The path of CodeCommit's repositories.
const REPOS: &str = "/v1/repos/";

/// The prefix of a URL that this cloud's CodeCommit serves, up to the repository's name: AWS's URL for
/// this region, or a loopback URL with any port (the next server may use another one).
fn prefix<'a>(region: &str, url: &'a str) -> Option<&'a str> {
    let end = url.find(REPOS)? + REPOS.len();
    let host = url[..end - REPOS.len()].split_once("://")?.1;
    let name = host.split(':').next().unwrap_or_default();
    let aws = format!("git-codecommit.{region}.amazonaws.com");
    (host == aws || name == "127.0.0.1" || name == "localhost").then(|| &url[..end])
}

/// The /etc/gitconfig of an instance: credentials from its role, and addresses of the local CodeCommit.
pub(super) fn git_config(cloud: &Cloud, sources: &[Source]) -> String {
    let endpoint = cloud.endpoint();
    let mut config = format!(
        "[credential \"{endpoint}\"]\n\
         \thelper = \"!aws codecommit credential-helper --ignore-host-check $@\"\n\
         \tuseHttpPath = true\n\
         [url \"{endpoint}{REPOS}\"]\n"
    );
    let mut prefixes: Vec<&str> = sources
        .iter()
        .filter_map(|source| prefix(cloud.region(), &source.url))
        .collect();
    let aws = format!(
        "https://git-codecommit.{}.amazonaws.com{REPOS}",
        cloud.region()
    );
    prefixes.push(&aws);
    prefixes.sort_unstable();
    prefixes.dedup();
    for prefix in prefixes {
        // Characters that have a meaning in git's configuration are not in addresses.
        if !prefix.starts_with(endpoint) && !prefix.contains(['"', '\\', '\n', '#', ';']) {
            config.push_str(&format!("\tinsteadOf = {prefix}\n"));
        }
    }
    config
}

pub(super) const REPOSITORIES: Records = Records {
    kind: "code-repository",
    name: "CodeRepositoryName",
    arn: "CodeRepositoryArn",
    resource: "code-repository",
    title: "code repository",
    absent: None,
    list: "CodeRepositorySummaryList",
    summary: &["CreationTime", "LastModifiedTime", "GitConfig"],
    announce: None,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRepository {
    code_repository_name: String,
    git_config: GitConfig,
    tags: Option<Tags>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitConfig {
    repository_url: String,
}

pub(super) async fn create(cloud: &Cloud, input: Stored<CreateRepository>) -> ApiResult<Value> {
    let name = &input.code_repository_name;
    check_name(name, REPOSITORIES.name, 63)?;
    let url = &input.git_config.repository_url;
    let loopback = url
        .strip_prefix("http://")
        .is_some_and(|rest| rest.starts_with("127.0.0.1:") || rest.starts_with("localhost:"));
    // The local CodeCommit's clone URL is plain HTTP on loopback; AWS accepts only https.
    if !url.starts_with("https://") && !loopback {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{url}' at 'gitConfig.repositoryUrl' failed to \
             satisfy constraint: Member must satisfy regular expression pattern: https://([^/]+)/?.*"
        )));
    }
    let record = input.pick(&[REPOSITORIES.name, "GitConfig"]);
    REPOSITORIES.create(cloud, name, record, input.tags.as_ref())
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    REPOSITORIES.get(cloud, &input.name)
}

pub(super) async fn list(cloud: &Cloud, input: ListRequest) -> ApiResult<Value> {
    REPOSITORIES.list(cloud, &input)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateRepository {
    code_repository_name: String,
    git_config: Option<GitSecret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitSecret {
    secret_arn: Option<String>,
}

pub(super) async fn update(cloud: &Cloud, input: UpdateRepository) -> ApiResult<Value> {
    let arn = REPOSITORIES.change(cloud, &input.code_repository_name, |record| {
        if let Some(secret) = input.git_config.and_then(|config| config.secret_arn) {
            record["GitConfig"]["SecretArn"] = json!(secret);
        }
        Ok(record["CodeRepositoryArn"].clone())
    })?;
    Ok(json!({"CodeRepositoryArn": arn}))
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    REPOSITORIES.delete(cloud, &input.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn addresses_of_codecommit_lead_to_the_local_one() {
        for (url, expected) in [
            (
                "http://127.0.0.1:4566/v1/repos/r",
                Some("http://127.0.0.1:4566/v1/repos/"),
            ),
            (
                "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/r",
                Some("https://git-codecommit.us-east-1.amazonaws.com/v1/repos/"),
            ),
            (
                "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/r",
                None,
            ),
            ("https://github.com/v1/repos/r", None),
            ("https://127.0.0.1.example.com/v1/repos/r", None),
        ] {
            assert_eq!(prefix("us-east-1", url), expected, "{url}");
        }
        let at = TestCloud::new();
        let source = Source::of(
            &at.cloud(),
            "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/r",
        )
        .unwrap();
        assert_eq!(source.own.as_deref(), Some("/v1/repos/r"));
        let config = git_config(&at.cloud(), &[source]);
        let line = "\tinsteadOf = https://git-codecommit.us-east-1.amazonaws.com/v1/repos/\n";
        assert_eq!(config.matches(line).count(), 1, "{config}");
    }

    #[test]
    fn a_clone_stays_in_the_volume() {
        for (url, expected) in [
            ("https://example.com/team/code.git", Some("code")),
            ("https://example.com/v1/repos/flights/", Some("flights")),
            ("https://example.com/..", None),
            ("https://example.com/-c", None),
            ("https://example.com/a%2fb", None),
        ] {
            let source = Source {
                url: url.to_owned(),
                branch: None,
                own: None,
            };
            assert_eq!(source.directory().ok().as_deref(), expected, "{url}");
        }
    }
}
