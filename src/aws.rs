//! The shared AWS clients, created once from one `SdkConfig`. Each service with paged, polled or
//! shared calls has a file.

use std::time::Duration;

use anyhow::Result;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::network::Network;
use tokio::sync::OnceCell;

use crate::config::{LOCAL_ACCOUNT, Project};

pub mod access;
pub mod analyzer;
pub mod availability;
pub mod billed;
pub mod branch_image;
pub mod capture;
pub mod cloudformation;
pub mod cloudwatch;
pub mod datasets;
pub mod delivery;
pub mod drift;
mod ec2;
pub mod ecr;
pub mod endpoint_details;
pub mod endpoint_failure;
pub mod error;
pub mod function_code;
pub mod hosting;
mod http;
pub mod image_use;
pub mod invocation;
pub mod known_causes;
pub mod lambda;
pub mod lineage;
pub mod logs;
pub mod monitoring_store;
mod payload;
pub mod project_runs;
pub mod quotas;
pub mod release;
pub mod removal;
pub mod run_failure;
pub mod s3;
pub mod sagemaker;
mod signed;
pub mod sns;
pub mod state;

pub use error::{AwsResultExt, ErrorKind, Expected, Missing};
pub use http::Notice;

/// Time after which a request to a model has failed: a container has 60 s, and the socket 10 s more (API
/// reference of `InvokeEndpoint`).
const INVOCATION: Duration = Duration::from_secs(70);

/// One client per service.
#[derive(Debug, Clone)]
pub struct Clients {
    config: SdkConfig,
    flag: &'static str,
    /// CloudFormation.
    pub cloudformation: aws_sdk_cloudformation::Client,
    /// Lambda.
    pub lambda: aws_sdk_lambda::Client,
    /// CloudWatch Logs.
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// CodeBuild.
    pub codebuild: aws_sdk_codebuild::Client,
    /// CodeCommit.
    pub codecommit: aws_sdk_codecommit::Client,
    /// CodePipeline.
    pub codepipeline: aws_sdk_codepipeline::Client,
    /// ECR.
    pub ecr: aws_sdk_ecr::Client,
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// SageMaker AI.
    pub sagemaker: aws_sdk_sagemaker::Client,
    /// SageMaker AI's endpoints.
    pub runtime: aws_sdk_sagemakerruntime::Client,
    /// STS.
    pub sts: aws_sdk_sts::Client,
    identity: OnceCell<Identity>,
    local: bool,
    network: Network,
}

/// The owner of credentials.
#[derive(Debug, Clone)]
struct Identity {
    account: String,
    arn: String,
}

impl Clients {
    /// Returns the same clients with a flag to add to suggested command lines.
    #[must_use]
    pub fn suggesting(mut self, flag: &'static str) -> Self {
        self.flag = flag;
        self
    }

    /// A command line to suggest that reaches the same cloud: `mlops [--local] REST`.
    pub fn command(&self, rest: &str) -> String {
        format!("mlops{} {rest}", self.flag)
    }

    /// Fails (exit 4) if the project belongs to a local cloud but the clients use AWS. A custom
    /// endpoint may be a local cloud too.
    pub fn require_cloud_of(&self, project: &Project) -> Result<()> {
        if project.file.account != LOCAL_ACCOUNT || self.local || self.endpoint_url().is_some() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Credentials,
            format!(
                "{} was created on a local cloud (account {LOCAL_ACCOUNT}), but this command would use \
                 AWS",
                project.file.name
            ),
        ))
        .hint(
            "pass --local, or add `local = true` at the top of mlops.toml; \
             --local=false, --profile and MLOPS_LOCAL=0 override it",
        )
        .hint(
            "to move the project to AWS, remove `local = true` and change account and region in \
             mlops.toml, then run `mlops init`",
        )
    }

    /// Clients with the credential chain of the AWS SDK.
    pub async fn from_environment(
        profile: Option<&str>,
        region: Option<&str>,
        endpoint_url: Option<&str>,
        network: &Network,
        notice: Notice,
    ) -> Result<Self> {
        let client = http::noticing(http::client(network), Some(notice));
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(client);
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(url) = endpoint_url {
            url::Url::parse(url).map_err(|error| {
                Failure::usage(format!("the endpoint URL `{url}` is not a URL: {error}"))
            })?;
            loader = loader.endpoint_url(url);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(Failure::usage("no region is configured"))
                .hint("pass --region, or set AWS_REGION");
        }
        Ok(Self::new(config, false, network.clone()))
    }

    /// Clients of the local cloud at an endpoint, with its dummy credentials. The user's own
    /// credentials are never read.
    pub fn of_endpoint(
        endpoint: &str,
        access_key: &str,
        secret_key: &str,
        region: Option<&str>,
    ) -> Self {
        Self::of_local_cloud(endpoint, access_key, secret_key, region, None)
    }

    /// The same, with a function that shows retries.
    pub fn of_local_cloud(
        endpoint: &str,
        access_key: &str,
        secret_key: &str,
        region: Option<&str>,
        notice: Option<Notice>,
    ) -> Self {
        let credentials = Credentials::new(access_key, secret_key, None, None, "mlops-local");
        // Plain HTTP: loading the machine's root certificates would cost more than the request.
        let http = endpoint
            .starts_with("http://")
            .then(|| aws_smithy_http_client::Builder::new().build_http())
            .map(|client| http::noticing(client, notice));
        let mut config = SdkConfig::builder();
        config.set_http_client(http);
        let config = config
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.unwrap_or("us-east-1").to_owned()))
            .endpoint_url(endpoint)
            .credentials_provider(
                aws_credential_types::provider::SharedCredentialsProvider::new(credentials),
            )
            .build();
        Self::new(config, true, Network::default())
    }

    fn new(config: SdkConfig, local: bool, network: Network) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(config.endpoint_url().is_some())
            .interceptor(payload::KnownChecksum)
            .build();
        Self {
            flag: "",
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            codebuild: aws_sdk_codebuild::Client::new(&config),
            codecommit: aws_sdk_codecommit::Client::new(&config),
            codepipeline: aws_sdk_codepipeline::Client::new(&config),
            ecr: aws_sdk_ecr::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sagemaker: aws_sdk_sagemaker::Client::new(&config),
            runtime: aws_sdk_sagemakerruntime::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            identity: OnceCell::new(),
            local,
            network,
            config,
        }
    }

    /// A client of endpoints for measurements: no retries, which would hide failures and distort latencies.
    pub fn measuring_runtime(&self) -> aws_sdk_sagemakerruntime::Client {
        let timeouts = TimeoutConfig::builder().operation_timeout(INVOCATION);
        let config = aws_sdk_sagemakerruntime::config::Builder::from(&self.config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        aws_sdk_sagemakerruntime::Client::from_conf(config.build())
    }

    /// The account of the credentials.
    pub async fn account(&self) -> Result<&str> {
        Ok(&self.identity().await?.account)
    }

    /// The ARN of the identity of the credentials.
    pub async fn caller(&self) -> Result<&str> {
        Ok(&self.identity().await?.arn)
    }

    /// Who the credentials belong to (requested once, by `GetCallerIdentity`).
    async fn identity(&self) -> Result<&Identity> {
        self.identity
            .get_or_try_init(|| async {
                let identity = self
                    .sts
                    .get_caller_identity()
                    .send()
                    .await
                    .aws("cannot determine the account of these credentials")?;
                let account = identity
                    .account
                    .ok_or_else(|| Failure::new(Exit::Credentials, "STS returned no account"))?;
                Ok(Identity {
                    account,
                    arn: identity.arn.unwrap_or_default(),
                })
            })
            .await
    }

    /// Certificates and proxies for connections outside of the SDK.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The region that the clients talk to.
    pub fn region(&self) -> &str {
        self.config.region().map_or("us-east-1", Region::as_ref)
    }

    /// Whether they are clients of the local cloud.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// The endpoint that replaces AWS's own, if any.
    pub fn endpoint_url(&self) -> Option<&str> {
        self.config.endpoint_url()
    }
}
