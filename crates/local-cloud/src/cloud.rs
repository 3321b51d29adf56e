//! The running local cloud: what a service is given to do its work.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::health::Health;
use super::host::Host;
use super::limits;
use super::store::{Blobs, Store};
use crate::log;

/// Between the first two attempts to write state on a full disk.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest time between two attempts: a user who frees space should not have to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The account of every local cloud.
pub(crate) const ACCOUNT: &str = "000000000000";

/// A service of the local cloud, named as in an ARN and in a SigV4 credential scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    /// CloudFormation
    CloudFormation,
    /// CodeCommit
    CodeCommit,
    /// EC2
    Ec2,
    /// ECR
    Ecr,
    /// IAM
    Iam,
    /// KMS
    Kms,
    /// Lambda
    Lambda,
    /// CloudWatch Logs
    Logs,
    /// SageMaker AI
    SageMaker,
    /// STS
    Sts,
}

/// A handle on the running cloud; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    blobs: Blobs,
    directory: PathBuf,
    endpoint: String,
    region: String,
    credentials: super::door::Credentials,
    settings: Settings,
    busy: AtomicUsize,
    health: Health,
}

/// How this server was started.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where virtual environments are kept.
    pub(crate) cache: PathBuf,
    /// The Python of the host runtime.
    pub(crate) python: PathBuf,
    /// The program around this server.
    pub(crate) host: Host,
}

impl Cloud {
    /// Opens the state in `directory` for a server that answers at `endpoint`.
    pub(crate) fn open(
        directory: &Path,
        endpoint: String,
        region: String,
        credentials: super::door::Credentials,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            store: Store::open(directory)?,
            blobs: Blobs::open(directory)?,
            directory: directory.to_owned(),
            endpoint,
            region,
            credentials,
            settings,
            busy: AtomicUsize::new(0),
            health: Health::default(),
        })))
    }

    /// A cloud in an empty directory, for tests.
    #[cfg(test)]
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self::guarded(directory, super::door::Credentials::Any)
    }

    /// A cloud in an empty directory that lets in these credentials, for tests.
    #[cfg(test)]
    pub(crate) fn guarded(directory: &Path, credentials: super::door::Credentials) -> Self {
        Self::open(
            directory,
            "http://127.0.0.1:1".to_owned(),
            "us-east-1".to_owned(),
            credentials,
            Settings {
                cache: directory.to_owned(),
                python: "python3".into(),
                host: crate::host::Host::of_tests(),
            },
        )
        .expect("a cloud in an empty directory")
    }

    /// Waits for the work in the background, in tests.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        while self.is_busy() {
            super::clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What keeps this server from doing its work.
    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    /// Writes state that no request waits for: `write` is called again, with growing pauses, until
    /// the state can be written. Meanwhile `what` is part of this server's troubles.
    ///
    /// # Errors
    /// Every error of `write` that waiting does not cure.
    pub(crate) async fn persist<R>(
        &self,
        what: &str,
        mut write: impl FnMut() -> ApiResult<R>,
    ) -> ApiResult<R> {
        let mut pause = FIRST_PAUSE;
        let mut trouble = None;
        loop {
            match write() {
                Err(error) if error.is_unavailable() => {
                    trouble.get_or_insert_with(|| self.health().report(what, &error.message));
                    super::clock::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }

    /// The records.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The bytes.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// The state directory (`.mlops/local`), for services that keep files of their own.
    pub(crate) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Where this server answers: `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The region that this server plays.
    pub(crate) fn region(&self) -> &str {
        &self.0.region
    }

    /// What the door lets in.
    pub(crate) fn credentials(&self) -> &super::door::Credentials {
        &self.0.credentials
    }

    /// How this server was started.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// `arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE`
    pub(crate) fn arn(&self, service: &str, resource: impl std::fmt::Display) -> String {
        format!("arn:aws:{service}:{}:{ACCOUNT}:{resource}", self.region())
    }

    /// Does what a request from outside asks for.
    pub(crate) async fn request(
        &self,
        service: Service,
        operation: &str,
        input: Value,
    ) -> ApiResult<Value> {
        super::system_tags::check(service, &input)?;
        self.call(service, operation, input).await
    }

    /// Calls a service as any client would; the only way from one service to another's records.
    pub(crate) fn call<'a>(
        &'a self,
        service: Service,
        operation: &'a str,
        input: Value,
    ) -> BoxFuture<'a, ApiResult<Value>> {
        Box::pin(async move {
            if !limits::is_within(&input, limits::MAX_DEPTH) {
                let message = limits::too_deep(limits::MAX_DEPTH);
                return Err(ApiError::validation(message));
            }
            super::requests::check(service, operation, &input)?;
            match service {
                Service::CloudFormation => {
                    super::cloudformation::call(self, operation, input).await
                }
                Service::CodeCommit => super::codecommit::call(self, operation, input).await,
                Service::Ec2 => super::ec2::call(self, operation, input).await,
                Service::Ecr => super::ecr::call(self, operation, input).await,
                Service::Iam => super::iam::call(self, operation, input).await,
                Service::Kms => super::kms::call(self, operation, input).await,
                Service::Lambda => super::lambda::call(self, operation, input).await,
                Service::Logs => super::logs::call(self, operation, input).await,
                Service::SageMaker => super::sagemaker::call(self, operation, input).await,
                Service::Sts => super::sts::call(self, operation, input).await,
            }
        })
    }

    /// Runs work that outlives the request; the server does not go idle before it ends. A panic ends
    /// that work only, is logged, and is passed as an error to `broken`, which writes the end of the
    /// work to its record: nothing stays in progress.
    pub(crate) fn spawn<W, B, E>(&self, what: impl Into<String>, work: W, broken: B)
    where
        W: Future<Output = ()> + Send + 'static,
        B: FnOnce(ApiError) -> E + Send + 'static,
        E: Future<Output = ()> + Send + 'static,
    {
        let (busy, what) = (self.busy(), what.into());
        tokio::spawn(async move {
            let _busy = busy;
            let Err(error) = caught(&what, work.map(Ok)).await else {
                return;
            };
            // A second panic has nobody left to handle it; it is logged like the first.
            let _ = caught(&what, broken(error).map(Ok)).await;
        });
    }

    /// While the guard lives, the server does not go idle.
    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// True while a request or a job is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::SeqCst) > 0
    }
}

/// Does work, and turns a panic of it into an error, which is logged. All that work and server share
/// is in the store, whose transactions end complete or not at all.
pub(crate) async fn caught<R>(
    what: &str,
    work: impl Future<Output = ApiResult<R>>,
) -> ApiResult<R> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            log::write_line(&format!("internal error: {what} panicked: {said}"));
            Err(ApiError::internal(format_args!(
                "{what} panicked in the local cloud: {said}"
            )))
        }
    }
}

/// Work under way.
#[derive(Debug)]
pub(crate) struct Busy(Cloud);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    /// Every service that `Cloud::call` reaches: those that speak JSON, query, EC2 query or
    /// REST-JSON.
    pub(crate) const ALL: &[Service] = &[
        Service::CloudFormation,
        Service::CodeCommit,
        Service::Ec2,
        Service::Ecr,
        Service::Iam,
        Service::Kms,
        Service::Lambda,
        Service::Logs,
        Service::SageMaker,
        Service::Sts,
    ];

    /// The name in ARNs and credential scopes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::CloudFormation => "cloudformation",
            Service::CodeCommit => "codecommit",
            Service::Ec2 => "ec2",
            Service::Ecr => "ecr",
            Service::Iam => "iam",
            Service::Kms => "kms",
            Service::Lambda => "lambda",
            Service::Logs => "logs",
            Service::SageMaker => "sagemaker",
            Service::Sts => "sts",
        }
    }

    /// The prefix of `X-Amz-Target`, for services that speak JSON (botocore: `targetPrefix`).
    pub(crate) fn target(self) -> Option<&'static str> {
        match self {
            Service::CodeCommit => Some("CodeCommit_20150413"),
            Service::Ecr => Some("AmazonEC2ContainerRegistry_V20150921"),
            Service::Kms => Some("TrentService"),
            Service::Logs => Some("Logs_20140328"),
            Service::SageMaker => Some("SageMaker"),
            Service::CloudFormation
            | Service::Ec2
            | Service::Iam
            | Service::Lambda
            | Service::Sts => None,
        }
    }

    /// True for services that speak query: a form writes every scalar as text.
    pub(crate) fn is_form(self) -> bool {
        !self.xml_namespace().is_empty()
    }

    /// The XML name space, for services that speak query (botocore: `xmlNamespace`).
    pub(crate) fn xml_namespace(self) -> &'static str {
        match self {
            Service::CloudFormation => "http://cloudformation.amazonaws.com/doc/2010-05-15/",
            Service::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Service::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            _ => "",
        }
    }

    /// The operations that the service has.
    pub(crate) fn operations(self) -> Vec<&'static str> {
        match self {
            Service::CloudFormation => super::cloudformation::OPERATIONS.to_vec(),
            Service::CodeCommit => super::codecommit::OPERATIONS.to_vec(),
            Service::Ec2 => super::ec2::OPERATIONS.to_vec(),
            Service::Ecr => super::ecr::OPERATIONS.to_vec(),
            Service::Iam => super::iam::OPERATIONS.to_vec(),
            Service::Kms => super::kms::OPERATIONS.to_vec(),
            Service::Lambda => super::lambda::OPERATIONS.to_vec(),
            Service::Logs => super::logs::OPERATIONS.to_vec(),
            Service::SageMaker => super::sagemaker::operations(),
            Service::Sts => super::sts::OPERATIONS.to_vec(),
        }
    }

    /// The service that a credential scope names.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|service| service.name() == name)
    }

    /// The service and operation of an `X-Amz-Target` header.
    pub(crate) fn by_target(header: &str) -> ApiResult<(Self, &str)> {
        let (prefix, operation) = header
            .split_once('.')
            .ok_or_else(|| ApiError::new("UnknownOperationException", "X-Amz-Target has no dot"))?;
        Self::ALL
            .iter()
            .copied()
            .find(|service| service.target() == Some(prefix))
            .map(|service| (service, operation))
            .ok_or_else(|| ApiError::not_implemented(format_args!("the service {prefix}")))
    }
}
