//! The SQS types.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    argument, at, call, element, json, list, name, own, physical, read, set, tags_by,
};
use super::errors::existing;
use super::hooks::Hooks;
use super::table::{Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::text_of;

/// The properties that are attributes of a queue.
const ATTRIBUTES: &str = "ContentBasedDeduplication DeduplicationScope DelaySeconds FifoQueue \
    FifoThroughputLimit KmsDataKeyReusePeriodSeconds KmsMasterKeyId MaximumMessageSize MessageRetentionPeriod \
    ReceiveMessageWaitTimeSeconds RedriveAllowPolicy RedrivePolicy SqsManagedSseEnabled VisibilityTimeout";

/// The same without those that cannot change.
const CHANGEABLE: &str = "ContentBasedDeduplication DeduplicationScope DelaySeconds \
    FifoThroughputLimit KmsDataKeyReusePeriodSeconds KmsMasterKeyId MaximumMessageSize MessageRetentionPeriod \
    ReceiveMessageWaitTimeSeconds RedriveAllowPolicy RedrivePolicy SqsManagedSseEnabled VisibilityTimeout";

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::SQS::Queue", "sqs")
        .named("QueueName", 80)
        .suffixed("FifoQueue", ".fifo")
        .create(
            "CreateQueue",
            &[
                name("QueueName"),
                argument("Attributes", Source::Object(ATTRIBUTES)).form(attributes),
            ],
        )
        .id(Source::Part("/QueueUrl"))
        .attributes(&[
            ("Arn", Source::Text("arn:aws:sqs:{region}:{account}:{name}")),
            ("QueueName", Source::Name),
            ("QueueUrl", Source::Physical),
        ])
        .settings(&[set(
            "SetQueueAttributes",
            &[
                physical("QueueUrl"),
                argument("Attributes", Source::Object(CHANGEABLE)).form(all_attributes),
            ],
        )
        .on_update()])
        .tags(super::table::Tags {
            create: "tags",
            ..tags_by(
                ["TagQueue", "UntagQueue"],
                Spelling::Object,
                physical("QueueUrl"),
            )
        })
        .found_by("GetQueueUrl", &[name("QueueName")], "/QueueUrl")
        .live(&[
            read(
                call(
                    "GetQueueAttributes",
                    &[physical("QueueUrl"), json("AttributeNames", r#"["All"]"#)],
                ),
                "/Attributes",
                &[own(ATTRIBUTES)],
            ),
            read(
                call("ListQueueTags", &[physical("QueueUrl")]),
                "",
                &[at("Tags", "/Tags")],
            ),
        ])
        .delete("DeleteQueue", &[physical("QueueUrl")])
        .hooks(&Queue, ""),
    Type::new("AWS::SQS::QueuePolicy", "sqs")
        .attributes(&[("Id", Source::Physical)])
        .lists(&[list(
            "Queues",
            call(
                "SetQueueAttributes",
                &[
                    element("QueueUrl"),
                    argument("Attributes", Source::Property("PolicyDocument")).form(policy),
                ],
            ),
            call(
                "SetQueueAttributes",
                &[element("QueueUrl"), json("Attributes", r#"{"Policy": ""}"#)],
            ),
        )])
        .creates_nothing("its calls on queues follow once its id is recorded")
        .hooks(&QueuePolicy, ""),
];

/// The values of attributes that a template does not set any longer.
const DEFAULTS: [(&str, &str); 8] = [
    ("DelaySeconds", "0"),
    ("KmsMasterKeyId", ""),
    ("MaximumMessageSize", "1048576"),
    ("MessageRetentionPeriod", "345600"),
    ("ReceiveMessageWaitTimeSeconds", "0"),
    ("RedriveAllowPolicy", ""),
    ("RedrivePolicy", ""),
    ("VisibilityTimeout", "30"),
];

/// The same for FIFO queues only.
const FIFO_DEFAULTS: [(&str, &str); 3] = [
    ("ContentBasedDeduplication", "false"),
    ("DeduplicationScope", "queue"),
    ("FifoThroughputLimit", "perQueue"),
];

/// A policy as an attribute.
#[expect(clippy::unnecessary_wraps, reason = "the type of conversions")]
fn policy(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        document => document.to_string(),
    };
    Ok(json!({ "Policy": text }))
}

#[expect(clippy::unnecessary_wraps, reason = "the type of conversions")]
fn attributes(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let values = value.as_object().into_iter().flatten();
    let texts = values.map(|(name, value)| (name.clone(), text_of(value).into()));
    Ok(Value::Object(texts.collect()))
}

fn all_attributes(value: &Value, properties: &Map<String, Value>) -> ApiResult<Value> {
    let mut all = attributes(value, properties)?;
    let is_fifo = properties.get("FifoQueue") == Some(&Value::Bool(true));
    let fifo: &[_] = if is_fifo { &FIFO_DEFAULTS } else { &[] };
    let has_key = properties.contains_key("KmsMasterKeyId");
    // A queue without a key is encrypted with those of SQS unless its template excludes it.
    let sse = (!has_key).then_some(("SqsManagedSseEnabled", "true"));
    if let Value::Object(all) = &mut all {
        for (name, default) in DEFAULTS.iter().chain(fifo).copied().chain(sse) {
            all.entry(name).or_insert_with(|| json!(default));
        }
    }
    Ok(all)
}

struct Queue;

#[async_trait]
impl Hooks for Queue {
    /// `CreateQueue` would return an existing queue that is not part of the stack, and a rollback would delete it.
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        if let Some(url) = target.find().await?.first() {
            let message = format!(
                "Resource of type 'AWS::SQS::Queue' with identifier '{url}' already exists."
            );
            return Err(ApiError::new("AlreadyExists", message));
        }
        target.create().await
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn reads_property(&self, property: &str) -> bool {
        property == "QueueName"
    }

    /// The name is a part of the URL, by which the queue was found.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        if target.get("QueueName").is_some() {
            let name = target.physical.rsplit('/').next().unwrap_or_default();
            live.insert("QueueName".to_owned(), name.into());
        }
        Ok(Some(live))
    }
}

struct QueuePolicy;

#[async_trait]
impl Hooks for QueuePolicy {
    fn reads_live(&self) -> bool {
        true
    }

    /// The queues that have a policy, and the policy that differs from that of the template, if one does.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let mut policies = Vec::new();
        for url in super::list(target.properties, "Queues") {
            let input = json!({"QueueUrl": url, "AttributeNames": ["Policy"]});
            let input = input.as_object().cloned().unwrap_or_default();
            let found = existing(target.request("GetQueueAttributes", input).await)?;
            let policy = found.and_then(|found| found.pointer("/Attributes/Policy").cloned());
            policies.extend(policy.map(|policy| (url, policy)));
        }
        Ok(live_policy(target, "Queues", policies))
    }
}

/// The live properties of a policy of several resources: which of them have one, and one that differs from that of the
/// template, if there is one.
pub(super) fn live_policy(
    target: &Target<'_>,
    resources: &str,
    policies: Vec<(Value, Value)>,
) -> Option<Map<String, Value>> {
    if policies.is_empty() {
        return None;
    }
    let document = |value: &Value| match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        value => value.clone(),
    };
    let wanted = target.get("PolicyDocument").cloned().unwrap_or_default();
    let template = document(&wanted);
    let mut found = policies.iter().map(|(_, policy)| document(policy));
    let live = found.find(|found| *found != template).unwrap_or(wanted);
    let named: Vec<Value> = policies.into_iter().map(|(name, _)| name).collect();
    Some(Map::from_iter([
        (resources.to_owned(), named.into()),
        ("PolicyDocument".to_owned(), live),
    ]))
}
