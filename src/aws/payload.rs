//! Signs payloads by a checksum that the request already carries, so that they are not hashed
//! twice.

use aws_runtime::auth::PayloadSigningOverride;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Signs a `PutObject` or `UploadPart` that carries a checksum of its body with that checksum. A
/// SHA-256 becomes the payload hash. With a CRC64NVME, the payload is unsigned but the header with
/// the checksum is signed, so S3 still detects any change. Without this, the SDK would hash each
/// body once more.
#[derive(Debug)]
pub(super) struct KnownChecksum;

#[dyn_dispatch_hint]
impl Intercept for KnownChecksum {
    fn name(&self) -> &'static str {
        "KnownPayload"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        // A POST is CompleteMultipartUpload, whose checksum is that of the object, not of the
        // request.
        if request.method() != "PUT" {
            return Ok(());
        }
        let headers = request.headers();
        let known = if let Some(sha256) = headers.get("x-amz-checksum-sha256") {
            Some(PayloadSigningOverride::Precomputed(hex::encode(
                STANDARD.decode(sha256)?,
            )))
        } else {
            headers
                .get("x-amz-checksum-crc64nvme")
                .map(|_| PayloadSigningOverride::UnsignedPayload)
        };
        if let Some(known) = known {
            config.interceptor_state().store_put(known);
        }
        Ok(())
    }
}
