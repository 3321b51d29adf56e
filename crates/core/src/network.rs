//! Network access: trusted certificates, proxies, and diagnosis when a corporate network blocks a
//! request.
//!
//! Every client of this program (SDK, registry) is created from one [`Network`]. Like the aws CLI
//! and boto3, it trusts the system's certificates, or only those of a bundle that the user
//! configures (`AWS_CA_BUNDLE`, or `ca_bundle` in the AWS configuration). Proxies come from
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; requests to this machine never use one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use url::{Host, Url};

use crate::error::{Failure, Hint};

mod problem;

pub use problem::Problem;

/// Maximum size of a bundle in bytes; Mozilla's is 230 KiB.
const MAX_BUNDLE: u64 = 16 << 20;

/// A file with the only certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The PEM file.
    pub path: PathBuf,
    /// The setting that names the file, for messages.
    pub setting: String,
}

/// The trusted certificates.
#[derive(Debug, Clone, Default)]
pub struct Network(Option<Arc<Bundle>>);

#[derive(Debug)]
struct Bundle {
    file: CaBundle,
    pem: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Network {
    /// Trusts the certificates of a bundle, or the system's.
    ///
    /// # Errors
    /// The bundle cannot be read or contains no certificate (exit code 2).
    pub fn new(bundle: Option<CaBundle>) -> Result<Self> {
        let Some(file) = bundle else {
            return Ok(Self(None));
        };
        let named = || format!("{} is set to {}", file.setting, file.path.display());
        let hint = "set it to a PEM file with the certificates to trust";
        let pem = read(&file.path)
            .map_err(|error| Failure::usage(format!("{}: {error:#}", named())))
            .hint(hint)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::usage(format!("{}, which is damaged: {error}", named())))
            .hint(hint)?;
        if certificates.is_empty() {
            return Err(Failure::usage(format!(
                "{}, which contains no certificate",
                named()
            )))
            .hint(hint);
        }
        for (index, certificate) in certificates.iter().enumerate() {
            // The SDK's client would panic on such a certificate.
            webpki::anchor_from_trusted_cert(certificate)
                .map_err(|error| {
                    Failure::usage(format!(
                        "{}, whose certificate number {} cannot be used: {error}",
                        named(),
                        index + 1
                    ))
                })
                .hint("remove that certificate from the file")?;
        }
        Ok(Self(Some(Arc::new(Bundle {
            file,
            pem,
            certificates,
        }))))
    }

    /// Returns the bundle as PEM; `None` if the system's certificates are trusted.
    pub fn pem(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|bundle| &bundle.pem[..])
    }

    /// Returns the certificates of the bundle; `None` if the system's are trusted.
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.as_ref().map(|bundle| &bundle.certificates[..])
    }

    /// Returns the setting that names the bundle, and its path.
    fn bundle(&self) -> Option<&CaBundle> {
        self.0.as_ref().map(|bundle| &bundle.file)
    }

    /// Diagnoses a failed request to `url`: returns the problem if a certificate or a proxy caused it.
    /// Connects once more, up to the TLS handshake, and sends no request.
    pub async fn explain(
        &self,
        url: &Url,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) -> Option<Problem> {
        problem::find(self, url, error).await
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).context("cannot read it")?.len();
    if size > MAX_BUNDLE {
        return Err(anyhow!("it has {size} bytes; the limit is {MAX_BUNDLE}"));
    }
    std::fs::read(path).context("cannot read it")
}

/// Returns whether requests to this URL never use a proxy: this machine, and the link-local
/// addresses from which containers and instances get their credentials (ECS, EKS, EC2).
pub fn is_direct(url: &Url) -> bool {
    is_loopback(url)
        || match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_link_local(),
            Some(Host::Ipv6(ip)) => ip.segments()[..2] == [0xfd00, 0x0ec2],
            _ => false,
        }
}

/// Returns true if a URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(bytes: &[u8]) -> Result<Network> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        Network::new(Some(CaBundle {
            path: file.path().to_owned(),
            setting: "AWS_CA_BUNDLE".to_owned(),
        }))
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        for (bytes, message) in [
            (&b""[..], "contains no certificate"),
            (b"hello\n", "contains no certificate"),
            (
                b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
                "is damaged",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
                "certificate number 1 cannot be used",
            ),
        ] {
            let error = bundle(bytes).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(
                error.to_string().contains("AWS_CA_BUNDLE is set to"),
                "{error}"
            );
            assert_eq!(crate::error::exit(&error), crate::error::Exit::Usage);
        }
        let absent = Network::new(Some(CaBundle {
            path: "/nowhere/ca.pem".into(),
            setting: "AWS_CA_BUNDLE".to_owned(),
        }));
        assert!(absent.unwrap_err().to_string().contains("/nowhere/ca.pem"));
        assert!(Network::new(None).unwrap().pem().is_none());
    }

    #[test]
    fn credentials_of_containers_and_instances_pass_no_proxy() {
        for (url, direct) in [
            ("http://169.254.170.2/v2/credentials", true),
            ("http://169.254.169.254/latest/meta-data", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://[fd00:ec2::254]/latest", true),
            ("http://127.0.0.1:4566/", true),
            ("https://sts.amazonaws.com/", false),
            ("http://10.0.0.1/", false),
            ("http://[fd00:1::1]/", false),
        ] {
            assert_eq!(is_direct(&url.parse().unwrap()), direct, "{url}");
        }
    }
}
