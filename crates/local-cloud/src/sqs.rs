//! SQS: standard and FIFO queues.
//!
//! ```text
//! SendMessage ── messages (a table) ── ReceiveMessage ── DeleteMessage
//!      │                 │                  │
//!      │                 │                  ├── waits for QUEUES or for the next visible message
//!      └── announces QUEUES                 └── redrive: a message that was received too often moves
//! ```
//!
//! A queue is a record; its messages are rows. Delays, visibility timeouts, long polling, retention and deduplication
//! use the cloud's time. A message that is received too often moves to the dead-letter queue when it would be received
//! once more, as in AWS.
//!
//! What SQS does eventually happens at once here: a receive call returns all messages that are visible, and a queue can
//! be created again as soon as it is deleted.

use super::Cloud;
use super::api::{ApiError, ApiResult};
use super::clock::Topic;
use super::cloud::ACCOUNT;
use super::cloud::service::{Housekeeping, Service, operations};

mod attributes;
mod batch;
mod digest;
mod encryption;
mod fifo;
mod message;
mod messages;
mod queues;
mod receipts;
mod receive;
mod records;
mod redrive;
mod send;
mod tags;

operations! {
    "ChangeMessageVisibility" => receipts::change_visibility,
    "ChangeMessageVisibilityBatch" => receipts::change_visibility_batch,
    "CreateQueue" => queues::create,
    "DeleteMessage" => receipts::delete,
    "DeleteMessageBatch" => receipts::delete_batch,
    "DeleteQueue" => queues::delete,
    "GetQueueAttributes" => queues::get_attributes,
    "GetQueueUrl" => queues::get_url,
    "ListDeadLetterSourceQueues" => redrive::list_sources,
    "ListQueueTags" => tags::list,
    "ListQueues" => queues::list,
    "PurgeQueue" => queues::purge,
    "ReceiveMessage" => receive::receive,
    "SendMessage" => send::send,
    "SendMessageBatch" => send::send_batch,
    "SetQueueAttributes" => queues::set_attributes,
    "TagQueue" => tags::add,
    "UntagQueue" => tags::remove,
}

/// The URL of the queue with an ARN of this account.
pub(crate) fn url(cloud: &Cloud, arn: &str) -> String {
    let name = arn.rsplit(':').next().unwrap_or_default();
    format!("{}/{ACCOUNT}/{name}", cloud.endpoint())
}

/// Announced after a message was sent, or became visible before its time.
const QUEUES: Topic = Topic("messages in queues");

/// The codes of errors in the query protocol, by the name of their shape, where both differ (the trait
/// `awsQueryError` of the service's Smithy model).
const QUERY_CODES: &[(&str, &str)] = &[
    ("AccessDeniedException", "AccessDenied"),
    (
        "BatchEntryIdsNotDistinct",
        "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    ),
    (
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
    ),
    (
        "EmptyBatchRequest",
        "AWS.SimpleQueueService.EmptyBatchRequest",
    ),
    (
        "InvalidBatchEntryId",
        "AWS.SimpleQueueService.InvalidBatchEntryId",
    ),
    ("InvalidParameterValueException", "InvalidParameterValue"),
    ("KmsAccessDenied", "KMS.AccessDeniedException"),
    ("KmsDisabled", "KMS.DisabledException"),
    ("KmsInvalidState", "KMS.KMSInvalidStateException"),
    ("KmsNotFound", "KMS.NotFoundException"),
    (
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
    ),
    ("MissingRequiredParameterException", "MissingParameter"),
    (
        "PurgeQueueInProgress",
        "AWS.SimpleQueueService.PurgeQueueInProgress",
    ),
    (
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    ),
    ("QueueNameExists", "QueueAlreadyExists"),
    (
        "TooManyEntriesInBatchRequest",
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    ),
    (
        "UnsupportedOperation",
        "AWS.SimpleQueueService.UnsupportedOperation",
    ),
];

/// The code of an error in results of batches, which are those of the query protocol.
fn query_code(error: &ApiError) -> &str {
    let known = QUERY_CODES.iter().find(|(shape, _)| *shape == error.code);
    known.map_or(error.code.as_str(), |(_, code)| code)
}

pub(crate) use message::check_attribute;

/// The service.
pub(crate) const SERVICE: Service = Service {
    tables: TABLES,
    query_codes: QUERY_CODES,
    // Unverified against AWS [sqs-reserved-tag]: code and message.
    reserved_tag: (
        "InvalidParameterValueException",
        "aws: prefixed tag key names are not allowed for external use.",
    ),
    resource_policy: Some(queues::policy_of),
    housekeeping: Housekeeping {
        remove_expired: Some(messages::remove_expired),
        ..Housekeeping::NONE
    },
    ..Service::json("sqs", "SQS", "AmazonSQS", &[OPERATIONS])
};

/// The tables of this service. Times are milliseconds of the cloud's time since the epoch.
///
/// `queue` is the number of a queue. A message is visible from `visible` on; `receives` counts those from its present
/// queue, `all_receives` those from every queue. `source` is the ARN of the queue that a dead letter is from.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS sqs_messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, message TEXT NOT NULL, body TEXT NOT NULL,
        attributes TEXT, trace TEXT, sender TEXT NOT NULL, sent INTEGER NOT NULL, visible INTEGER NOT NULL,
        receives INTEGER NOT NULL, all_receives INTEGER NOT NULL, first_received INTEGER, receipt TEXT,
        received INTEGER,
        message_group TEXT, deduplication TEXT, sequence TEXT, source TEXT
    );
    CREATE INDEX IF NOT EXISTS sqs_messages_visible ON sqs_messages (queue, visible, id);
    CREATE INDEX IF NOT EXISTS sqs_messages_receives ON sqs_messages (queue, receives, visible);
    CREATE INDEX IF NOT EXISTS sqs_messages_groups ON sqs_messages (queue, message_group, visible)
        WHERE message_group IS NOT NULL;
    CREATE TABLE IF NOT EXISTS sqs_deduplication (
        queue INTEGER NOT NULL, message_group TEXT NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL,
        message TEXT NOT NULL, sequence TEXT NOT NULL, PRIMARY KEY (queue, message_group, id)
    ) WITHOUT ROWID;
";

/// `InvalidParameterValue`
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValueException", message)
}

/// `InvalidAttributeValue` with a reason.
fn invalid_attribute(name: &str, reason: &str) -> ApiError {
    let message = format!("Invalid value for the parameter {name}. Reason: {reason}");
    ApiError::new("InvalidAttributeValue", message)
}

/// `InvalidParameterValue` for a value of a parameter.
fn invalid_value(value: impl std::fmt::Display, parameter: &str, reason: &str) -> ApiError {
    let message = format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}");
    invalid(message)
}

/// `MissingParameter`
fn missing(parameter: &str) -> ApiError {
    let message = format!("The request must contain the parameter {parameter}.");
    ApiError::new("MissingRequiredParameterException", message)
}

/// The cloud's time in milliseconds.
fn now(cloud: &Cloud) -> i64 {
    cloud.clock().now().as_millisecond()
}

/// Fails if a number of a request is outside of its limits.
fn within(value: i64, (least, most): (i64, i64), parameter: &str) -> ApiResult<i64> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let reason = format!("Must be between {least} and {most}, if provided.");
    Err(invalid_value(value, parameter, &reason))
}

#[cfg(test)]
mod tests;
