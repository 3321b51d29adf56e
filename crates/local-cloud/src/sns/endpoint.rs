//! The endpoints of subscriptions.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::invalid;
use super::outbox::Lane;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// The protocol of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    Email,
    EmailJson,
    Http,
    Https,
    Lambda,
    Sqs,
}

/// Maximum length of an endpoint here, in bytes. Unverified against AWS [sns-endpoint-length].
const MAX_LENGTH: usize = 2048;

/// Protocols that the local cloud does not have.
const UNSUPPORTED: [&str; 3] = ["application", "firehose", "sms"];

impl Protocol {
    /// Reads the name of a protocol.
    pub(super) fn parse(name: &str) -> ApiResult<Self> {
        if UNSUPPORTED.contains(&name) {
            return Err(ApiError::not_implemented(format_args!(
                "SNS subscriptions with the protocol {name}"
            )));
        }
        let all = [
            Self::Email,
            Self::EmailJson,
            Self::Http,
            Self::Https,
            Self::Lambda,
            Self::Sqs,
        ];
        all.into_iter().find(|it| it.name() == name).ok_or_else(|| {
            invalid(format_args!(
                "Amazon SNS does not support this protocol string: {name}"
            ))
        })
    }

    /// The name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::EmailJson => "email-json",
            Self::Http => "http",
            Self::Https => "https",
            Self::Lambda => "lambda",
            Self::Sqs => "sqs",
        }
    }

    /// True if the owner of the endpoint must confirm the subscription.
    pub(super) fn needs_confirmation(self) -> bool {
        !matches!(self, Self::Lambda | Self::Sqs)
    }

    /// The tasks that deliver to it; `None` for e-mail, which is never delivered.
    pub(super) fn lane(self) -> Option<Lane> {
        match self {
            Self::Lambda | Self::Sqs => Some(Lane::Aws),
            Self::Http | Self::Https => Some(Lane::Http),
            Self::Email | Self::EmailJson => None,
        }
    }

    /// True if messages can be delivered without their envelope.
    pub(super) fn can_be_raw(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::Sqs)
    }

    /// Fails if an endpoint does not fit.
    pub(super) fn check(self, cloud: &Cloud, endpoint: &str) -> ApiResult<()> {
        // A URL may have control characters, which its parser ignores.
        if endpoint.len() > MAX_LENGTH || endpoint.contains(char::is_control) {
            return Err(invalid("Endpoint"));
        }
        match self {
            Self::Email | Self::EmailJson => {
                let parts = endpoint.split_once('@');
                let is_address =
                    parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
                if is_address && endpoint.len() <= 320 && !endpoint.contains(char::is_whitespace) {
                    return Ok(());
                }
                Err(invalid("Email address"))
            }
            Self::Http | Self::Https => check_url(cloud, self.name(), endpoint),
            Self::Lambda if endpoint.starts_with(&cloud.arn("lambda", "function:")) => Ok(()),
            Self::Lambda => Err(invalid("Lambda endpoint ARN")),
            Self::Sqs if endpoint.ends_with(super::FIFO) => Err(invalid(
                "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
            )),
            Self::Sqs if endpoint.starts_with(&cloud.arn("sqs", "")) => Ok(()),
            Self::Sqs => Err(invalid("SQS endpoint ARN")),
        }
    }
}

/// The URL without the parts that often are secret.
fn without_secrets(mut url: url::Url) -> url::Url {
    // Only URLs without a host have no user and password.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Fails for a URL of another scheme, and for hosts that cannot be reached: other machines, and this server, whose
/// operations a message could otherwise call.
fn check_url(cloud: &Cloud, scheme: &str, endpoint: &str) -> ApiResult<()> {
    let wrong = || invalid("Endpoint must match the specified protocol");
    let url = url::Url::parse(endpoint).map_err(|_| wrong())?;
    if url.scheme() != scheme {
        return Err(wrong());
    }
    let is_loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return Err(wrong()),
    };
    if !is_loopback {
        return Err(ApiError::not_implemented(format_args!(
            "HTTP endpoints on other machines ({}): it reaches loopback addresses only",
            without_secrets(url)
        )));
    }
    let own = url::Url::parse(cloud.endpoint()).map_err(ApiError::internal)?;
    if own.port_or_known_default() == url.port_or_known_default() {
        return Err(ApiError::not_implemented(format_args!(
            "HTTP endpoints at its own address ({})",
            without_secrets(url)
        )));
    }
    Ok(())
}
