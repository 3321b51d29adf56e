//! Checksums: CRC32, CRC32C, CRC64NVME, SHA1, SHA256, in base64 as S3 writes them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use serde::{Deserialize, Serialize};

use crate::api::{ApiError, ApiResult};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    /// Parses an algorithm name; fails with `InvalidRequest`.
    pub(super) fn parse(name: &str) -> ApiResult<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidRequest",
                    "Checksum algorithm provided is unsupported. Please try again with any of the \
                     valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                )
            })
    }
}

/// Checksums by algorithm, in base64; a composite checksum ends in `-PARTS`.
pub(super) type Checksums = BTreeMap<Algorithm, String>;

/// The checksum members of an input.
macro_rules! sent {
    ($input:expr) => {{
        use $crate::s3::checksums::{Algorithm, Checksums};
        let mut sent = Checksums::new();
        for (algorithm, value) in [
            (Algorithm::Crc32, &$input.checksum_crc32),
            (Algorithm::Crc32c, &$input.checksum_crc32c),
            (Algorithm::Crc64nvme, &$input.checksum_crc64nvme),
            (Algorithm::Sha1, &$input.checksum_sha1),
            (Algorithm::Sha256, &$input.checksum_sha256),
        ] {
            if let Some(value) = value {
                sent.insert(algorithm, value.clone());
            }
        }
        sent
    }};
}
pub(super) use sent;

/// Sets the checksum members of an output.
macro_rules! show {
    ($output:expr, $checksums:expr) => {{
        use $crate::s3::checksums::Algorithm;
        let checksums = $checksums;
        $output.checksum_crc32 = checksums.get(&Algorithm::Crc32).cloned();
        $output.checksum_crc32c = checksums.get(&Algorithm::Crc32c).cloned();
        $output.checksum_crc64nvme = checksums.get(&Algorithm::Crc64nvme).cloned();
        $output.checksum_sha1 = checksums.get(&Algorithm::Sha1).cloned();
        $output.checksum_sha256 = checksums.get(&Algorithm::Sha256).cloned();
    }};
}
pub(super) use show;

/// The algorithm of a checksum header; `None` for another header, `NotImplemented` for a checksum
/// of AWS that the local cloud cannot compute.
fn algorithm_of_header(header: &str) -> ApiResult<Option<Algorithm>> {
    let header = header.to_ascii_lowercase();
    let Some(name) = header.strip_prefix("x-amz-checksum-") else {
        return Ok(None);
    };
    if matches!(name, "algorithm" | "type" | "mode") {
        return Ok(None);
    }
    match Algorithm::parse(name) {
        Ok(algorithm) => Ok(Some(algorithm)),
        Err(_) => Err(ApiError::not_implemented(format_args!(
            "the checksum algorithm {}",
            name.to_ascii_uppercase()
        ))),
    }
}

/// The algorithms of the checksums in a request's headers or trailers, or the one that `named`
/// requests; `None` without any.
pub(super) fn announced(
    sent: &Checksums,
    named: Option<&str>,
    headers: &HeaderMap,
) -> ApiResult<Option<BTreeSet<Algorithm>>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut algorithms: BTreeSet<_> = sent.keys().copied().collect();
    for name in headers.keys() {
        algorithm_of_header(name.as_str())?;
    }
    for name in text("x-amz-trailer").unwrap_or_default().split(',') {
        algorithms.extend(algorithm_of_header(name.trim())?);
    }
    if algorithms.len() > 1 {
        return Err(ApiError::new(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ));
    }
    // The algorithm that an SDK announces.
    if let Some(name) = text("x-amz-sdk-checksum-algorithm")
        && !algorithms.contains(&Algorithm::parse(name)?)
    {
        return Err(ApiError::new(
            "InvalidRequest",
            if algorithms.is_empty() {
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found."
            } else {
                "Value for x-amz-sdk-checksum-algorithm header is invalid."
            },
        ));
    }
    if let Some(name) = named
        && algorithms.is_empty()
    {
        algorithms.insert(Algorithm::parse(name)?);
    }
    Ok((!algorithms.is_empty()).then_some(algorithms))
}

/// The checksums in trailing headers.
pub(super) fn trailing(headers: &HeaderMap) -> Checksums {
    Algorithm::ALL
        .into_iter()
        .filter_map(|algorithm| {
            let value = headers.get(algorithm.header())?.to_str().ok()?;
            Some((algorithm, value.to_owned()))
        })
        .collect()
}

/// Fails with `BadDigest` if a sent checksum differs from the computed one.
pub(super) fn verify(sent: &Checksums, computed: &Checksums) -> ApiResult<()> {
    for (algorithm, value) in sent {
        if computed.get(algorithm) != Some(value) {
            return Err(ApiError::new(
                "BadDigest",
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ),
            ));
        }
    }
    Ok(())
}

/// Creates a hasher for these algorithms.
pub(super) fn hasher(algorithms: &BTreeSet<Algorithm>) -> ChecksumHasher {
    use s3s::crypto::{Crc32, Crc32c, Crc64Nvme, Sha1};

    let mut hasher = ChecksumHasher::default();
    for algorithm in algorithms {
        match algorithm {
            Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Algorithm::Crc64nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
            // The store hashes every object with SHA-256 anyway.
            Algorithm::Sha256 => {}
        }
    }
    hasher
}

/// The checksums of the hasher, and the SHA-256 (hex) that was computed anyway, if it is among the
/// algorithms.
pub(super) fn finish(
    hasher: ChecksumHasher,
    algorithms: &BTreeSet<Algorithm>,
    sha256: &str,
) -> Checksums {
    let found = hasher.finalize();
    let mut checksums = sent!(found);
    if algorithms.contains(&Algorithm::Sha256) {
        checksums.insert(
            Algorithm::Sha256,
            STANDARD.encode(hex::decode(sha256).unwrap_or_default()),
        );
    }
    checksums
}

/// The composite checksum of a multipart object: the checksum of its parts' checksums.
pub(super) fn composite(algorithm: Algorithm, parts: &[String]) -> ApiResult<String> {
    use s3s::crypto::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};

    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(
            STANDARD
                .decode(part)
                .map_err(|_| ApiError::new("InvalidPart", "a part's checksum is not base64"))?,
        );
    }
    let value = match algorithm {
        Algorithm::Crc32 => STANDARD.encode(Crc32::checksum(&bytes)),
        Algorithm::Crc32c => STANDARD.encode(Crc32c::checksum(&bytes)),
        Algorithm::Crc64nvme => STANDARD.encode(Crc64Nvme::checksum(&bytes)),
        Algorithm::Sha1 => STANDARD.encode(Sha1::checksum(&bytes)),
        Algorithm::Sha256 => STANDARD.encode(Sha256::checksum(&bytes)),
    };
    Ok(format!("{value}-{}", parts.len()))
}
