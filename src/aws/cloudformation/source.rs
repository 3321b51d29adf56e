//! Where a template's text is when CloudFormation reads it.

use sha2::{Digest as _, Sha256};

use crate::aws::Clients;
use crate::aws::s3::{self, S3Uri};

use anyhow::Result;

/// Maximum length in bytes of a template in a request; CloudFormation reads longer ones from S3 only (service
/// model: `TemplateBody`).
pub const LONGEST_INLINE: usize = 51_200;

/// Maximum length in bytes of a template in S3 (user guide, quotas).
pub const LONGEST: usize = 1 << 20;

/// The template of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource<'a> {
    /// Its text.
    Body(&'a str),
    /// The address of an object with its text.
    Url(String),
}

impl<'a> TemplateSource<'a> {
    /// The template itself if a request can hold it. Otherwise its address in `bucket`, where it is written
    /// under its hash, unless it exists.
    pub async fn of(clients: &Clients, template: &'a str, bucket: &str) -> Result<Self> {
        if template.len() <= LONGEST_INLINE {
            return Ok(Self::Body(template));
        }
        let object = S3Uri::new(bucket, key(template));
        if !s3::exists(&clients.s3, &object).await? {
            let bytes = template.as_bytes().to_vec();
            s3::put(&clients.s3, &object, "text/yaml", bytes).await?;
        }
        Ok(Self::Url(url(&object, clients.region())))
    }
}

/// The key of a template.
fn key(template: &str) -> String {
    let hash = hex::encode(Sha256::digest(template));
    format!("templates/{hash}.yaml")
}

/// The address of an object in the form that `TemplateURL` accepts.
fn url(object: &S3Uri, region: &str) -> String {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!(
        "https://{}.s3.{region}.{suffix}/{}",
        object.bucket, object.key
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_stored_under_its_hash() {
        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
        let object = S3Uri::new("b", "templates/1.yaml");
        assert_eq!(
            url(&object, "eu-west-1"),
            "https://b.s3.eu-west-1.amazonaws.com/templates/1.yaml"
        );
        assert!(url(&object, "cn-north-1").contains(".amazonaws.com.cn/"));
    }
}
