//! AWS's SDK as a client of a sandbox's local cloud, next to `mlops`.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::sandbox::Sandbox;

/// The configuration of clients, and a runtime for their requests.
pub(crate) struct Sdk {
    /// For clients of any service; [`Sdk::s3`] for S3.
    pub(crate) config: SdkConfig,
    runtime: tokio::runtime::Runtime,
}

impl Sdk {
    /// Clients of the local cloud that a project uses.
    pub(crate) fn of(sandbox: &Sandbox) -> Self {
        let status = sandbox.mlops(["--local", "local", "status", "--output", "json"]);
        Self::at(status.success().json()["endpoint"].as_str().unwrap())
    }

    /// Clients of the local cloud at an endpoint.
    pub(crate) fn at(endpoint: &str) -> Self {
        let credentials = Credentials::new("test", "test", None, None, "test");
        Self {
            config: SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .endpoint_url(endpoint)
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// A client of S3, with buckets in the path.
    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config);
        aws_sdk_s3::Client::from_conf(config.force_path_style(true).build())
    }

    /// Waits for a request.
    pub(crate) fn wait<F: Future>(&self, request: F) -> F::Output {
        self.runtime.block_on(request)
    }

    /// Writes an object.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) {
        let put = self.s3().put_object().bucket(bucket).key(key);
        let _ = self.wait(put.body(bytes.into().into()).send()).unwrap();
    }

    /// Reads an object.
    pub(crate) fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.wait(async {
            let found = self.s3().get_object().bucket(bucket).key(key).send().await;
            let bytes = found.unwrap().body.collect().await.unwrap();
            bytes.to_vec()
        })
    }

    /// The keys of at most 1,000 objects.
    pub(crate) fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let list = self.s3().list_objects_v2().bucket(bucket).prefix(prefix);
        let found = self.wait(list.send()).unwrap();
        let keys = found.contents().iter().filter_map(|it| it.key());
        keys.map(str::to_owned).collect()
    }
}
