//! The operations of S3. s3s parses and routes requests, and calls one function per operation. It
//! answers operations that are not listed here with `NotImplemented` and their name.

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::{
    bucket_api, completion, multipart_api, multipart_list, pages, permissions, reading, removal,
    tags, transfer,
};
use crate::{Cloud, injection};

/// S3's operations on a cloud.
#[derive(Debug, Clone)]
pub(super) struct Operations {
    cloud: Cloud,
}

impl Operations {
    pub(super) fn new(cloud: &Cloud) -> Self {
        Self {
            cloud: cloud.clone(),
        }
    }
}

macro_rules! service {
    ($($name:literal $method:ident($input:ident) -> $output:ident => $handler:path,)*) => {
        /// Names of the supported operations.
        pub(super) const OPERATIONS: &[&str] = &[$($name),*];

        #[async_trait]
        impl S3 for Operations {
            $(async fn $method(
                &self,
                request: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                injection::request(self.cloud.injected(), &super::SERVICE, $name)?;
                permissions::check(&self.cloud, $name, &request)?;
                crate::recorded::record(&self.cloud, "s3", $name);
                $handler(&self.cloud, request).await
            })*
        }
    };
}

service! {
    "AbortMultipartUpload" abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput => multipart_api::abort,
    "CompleteMultipartUpload" complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput => completion::complete,
    "CopyObject" copy_object(CopyObjectInput) -> CopyObjectOutput => transfer::copy,
    "CreateBucket" create_bucket(CreateBucketInput) -> CreateBucketOutput => bucket_api::create,
    "CreateMultipartUpload" create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput => multipart_api::create,
    "DeleteBucket" delete_bucket(DeleteBucketInput) -> DeleteBucketOutput => bucket_api::delete,
    "DeleteBucketEncryption" delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput => bucket_api::delete_encryption,
    "DeleteBucketLifecycle" delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput => bucket_api::delete_lifecycle,
    "DeleteBucketOwnershipControls" delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput) -> DeleteBucketOwnershipControlsOutput => bucket_api::delete_ownership,
    "DeleteBucketPolicy" delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput => bucket_api::delete_policy,
    "DeleteBucketTagging" delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput => bucket_api::delete_tagging,
    "DeleteObject" delete_object(DeleteObjectInput) -> DeleteObjectOutput => removal::delete,
    "DeleteObjectTagging" delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput => tags::delete,
    "DeleteObjects" delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput => removal::delete_many,
    "DeletePublicAccessBlock" delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput => bucket_api::delete_public_access,
    "GetBucketEncryption" get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput => bucket_api::get_encryption,
    "GetBucketLifecycleConfiguration" get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput => bucket_api::get_lifecycle,
    "GetBucketLocation" get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput => bucket_api::location,
    "GetBucketLogging" get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput => bucket_api::get_logging,
    "GetBucketNotificationConfiguration" get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput => bucket_api::get_notification,
    "GetBucketOwnershipControls" get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput => bucket_api::get_ownership,
    "GetBucketPolicy" get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput => bucket_api::get_policy,
    "GetBucketTagging" get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput => bucket_api::get_tagging,
    "GetBucketVersioning" get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput => bucket_api::get_versioning,
    "GetObject" get_object(GetObjectInput) -> GetObjectOutput => reading::get,
    "GetObjectAttributes" get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput => reading::attributes,
    "GetObjectTagging" get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput => tags::get,
    "GetPublicAccessBlock" get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput => bucket_api::get_public_access,
    "HeadBucket" head_bucket(HeadBucketInput) -> HeadBucketOutput => bucket_api::head,
    "HeadObject" head_object(HeadObjectInput) -> HeadObjectOutput => reading::head,
    "ListBuckets" list_buckets(ListBucketsInput) -> ListBucketsOutput => bucket_api::list,
    "ListMultipartUploads" list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput => multipart_list::list,
    "ListObjectVersions" list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput => pages::versions,
    "ListObjects" list_objects(ListObjectsInput) -> ListObjectsOutput => pages::objects,
    "ListObjectsV2" list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output => pages::objects_v2,
    "ListParts" list_parts(ListPartsInput) -> ListPartsOutput => multipart_list::list_parts,
    "PutBucketEncryption" put_bucket_encryption(PutBucketEncryptionInput) -> PutBucketEncryptionOutput => bucket_api::put_encryption,
    "PutBucketLifecycleConfiguration" put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput) -> PutBucketLifecycleConfigurationOutput => bucket_api::put_lifecycle,
    "PutBucketLogging" put_bucket_logging(PutBucketLoggingInput) -> PutBucketLoggingOutput => bucket_api::put_logging,
    "PutBucketNotificationConfiguration" put_bucket_notification_configuration(PutBucketNotificationConfigurationInput) -> PutBucketNotificationConfigurationOutput => bucket_api::put_notification,
    "PutBucketOwnershipControls" put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput => bucket_api::put_ownership,
    "PutBucketPolicy" put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput => bucket_api::put_policy,
    "PutBucketTagging" put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput => bucket_api::put_tagging,
    "PutBucketVersioning" put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput => bucket_api::put_versioning,
    "PutObject" put_object(PutObjectInput) -> PutObjectOutput => transfer::put,
    "PutObjectTagging" put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput => tags::put,
    "PutPublicAccessBlock" put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput => bucket_api::put_public_access,
    "UploadPart" upload_part(UploadPartInput) -> UploadPartOutput => multipart_api::upload,
    "UploadPartCopy" upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput => multipart_api::upload_copy,
}
