//! A local cloud inside a test: every service in a temporary directory, without a server.

use std::path::Path;

use serde_json::Value;

use super::Cloud;
use super::api::ApiError;
use super::cloud::Settings;
use super::cloud::service::Service;
use super::credentials::Credentials;
use super::host::Host;
use super::services::SERVICES;

/// Every service of the local cloud in a temporary directory, which is removed in the end.
///
/// ```no_run
/// # async fn test() -> Result<(), mlops_local_cloud::test_cloud::Refused> {
/// use mlops_local_cloud::test_cloud::TestCloud;
/// use serde_json::json;
///
/// let cloud = TestCloud::new();
/// cloud.call("kms", "CreateKey", json!({})).await?;
/// let cloud = cloud.crash();
/// let keys = cloud.call("kms", "ListKeys", json!({})).await?;
/// assert_eq!(keys["Keys"].as_array().map(Vec::len), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestCloud {
    services: &'static [&'static Service],
    credentials: Credentials,
    cloud: Cloud,
    directory: tempfile::TempDir,
}

/// The error that a service returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The error code, such as `ValidationException`.
    pub code: String,
    /// The message.
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

impl Default for TestCloud {
    fn default() -> Self {
        Self::new()
    }
}

impl TestCloud {
    /// Opens every service in an empty directory. Any credentials are accepted.
    ///
    /// # Panics
    /// If there is no temporary directory.
    pub fn new() -> Self {
        Self::with(SERVICES, Credentials::Any)
    }

    /// Opens these services in an empty directory.
    fn with(services: &'static [&'static Service], credentials: Credentials) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self {
            cloud: open(services, directory.path(), credentials.clone()),
            services,
            credentials,
            directory,
        }
    }

    /// The state directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs an operation, as a service does that calls another one.
    ///
    /// # Errors
    /// The error that the service returns.
    pub async fn call(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value, Refused> {
        Ok(self.cloud.call(service, operation, input).await?)
    }

    /// Waits until no work runs in the background.
    pub async fn idle(&self) {
        self.cloud.idle().await;
    }

    /// Stops the services, opens the directory again and recovers: `mlops local stop` and `start`.
    ///
    /// # Panics
    /// If a service cannot recover.
    pub async fn restart(self) -> Self {
        self.cloud.shut_down().await;
        self.crash()
    }

    /// Opens the directory again and recovers, as a server does after a kill -9 of the one before.
    /// Work in the background of the old one writes no more records.
    ///
    /// # Panics
    /// If a service cannot recover.
    #[must_use]
    pub fn crash(self) -> Self {
        self.cloud.store().refuse_writes(true);
        let cloud = open(self.services, self.path(), self.credentials.clone());
        cloud.recover().expect("every service recovers");
        Self { cloud, ..self }
    }

    /// Makes writes fail, as on a full disk, after `count` more transactions (reads in a transaction
    /// count, too), until [`TestCloud::accept_writes`]. With [`TestCloud::crash`] after it, a test can
    /// stop an operation between any two of its writes.
    pub fn refuse_writes_after(&self, count: usize) {
        self.cloud.store().refuse_writes_after(count);
    }

    /// Ends [`TestCloud::refuse_writes_after`].
    pub fn accept_writes(&self) {
        self.cloud.store().refuse_writes(false);
    }
}

#[cfg(test)]
impl TestCloud {
    /// A cloud in an empty directory that accepts these credentials only.
    pub(crate) fn with_credentials(credentials: Credentials) -> Self {
        Self::with(SERVICES, credentials)
    }

    /// A cloud with these services only.
    pub(crate) fn with_services(services: &'static [&'static Service]) -> Self {
        Self::with(services, Credentials::Any)
    }

    /// A cloud in a directory that the test itself creates and opens again.
    pub(crate) fn in_directory(directory: &Path) -> Cloud {
        open(SERVICES, directory, Credentials::Any)
    }

    /// The cloud.
    pub(crate) fn cloud(&self) -> Cloud {
        self.cloud.clone()
    }
}

fn open(
    services: &'static [&'static Service],
    directory: &Path,
    credentials: Credentials,
) -> Cloud {
    let settings = Settings {
        cache: directory.to_owned(),
        python: "python3".into(),
        host: Host::of_tests(),
    };
    Cloud::open(
        services,
        directory,
        "http://127.0.0.1:1".to_owned(),
        "us-east-1".to_owned(),
        credentials,
        settings,
    )
    .expect("a cloud in the directory of a test")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn group(cloud: &TestCloud, name: &str) -> Result<Value, Refused> {
        let input = json!({"logGroupName": name});
        cloud.call("logs", "CreateLogGroup", input).await
    }

    async fn groups(cloud: &TestCloud) -> usize {
        let found = cloud.call("logs", "DescribeLogGroups", json!({})).await;
        found.unwrap()["logGroups"].as_array().unwrap().len()
    }

    #[tokio::test]
    async fn records_survive_a_restart_and_a_crash() {
        let cloud = TestCloud::new();
        group(&cloud, "a").await.unwrap();
        let error = group(&cloud, "a").await.unwrap_err();
        assert_eq!(error.code, "ResourceAlreadyExistsException");
        let cloud = cloud.restart().await;
        assert_eq!(groups(&cloud).await, 1);
        let (old, cloud) = (cloud.cloud(), cloud.crash());
        assert_eq!(groups(&cloud).await, 1);
        // What is left of the crashed one changes nothing.
        let input = json!({"logGroupName": "late"});
        assert!(old.call("logs", "CreateLogGroup", input).await.is_err());
        assert_eq!(groups(&cloud).await, 1);
    }

    #[tokio::test]
    async fn writes_fail_from_the_chosen_one_on() {
        let cloud = TestCloud::new();
        cloud.refuse_writes_after(1);
        group(&cloud, "a").await.unwrap();
        for name in ["b", "c"] {
            let error = group(&cloud, name).await.unwrap_err();
            assert_eq!(error.code, "ServiceUnavailable");
        }
        cloud.accept_writes();
        group(&cloud, "b").await.unwrap();
        let cloud = cloud.crash();
        assert_eq!(groups(&cloud).await, 2);
    }
}
