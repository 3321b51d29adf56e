//! The SNS types.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    TAG_RESOURCE, argument, at, call, document, element, from, list, name, own, physical, read,
    search, set, tags_by, text,
};
use super::errors::existing;
use super::hooks::Hooks;
use super::sqs::live_policy;
use super::table::{Argument, Setting, Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::text_of;
use crate::sns;

const TOPIC_ARN: &str = "arn:aws:sns:{region}:{account}:{name}";

/// The properties of a topic that are attributes.
const TOPIC_ATTRIBUTES: &str = "DisplayName KmsMasterKeyId SignatureVersion TracingConfig";

/// The call that changes an attribute of a topic.
const fn topic_attribute(arguments: &'static [Argument]) -> Setting {
    set("SetTopicAttributes", arguments).on_update()
}

/// The call that changes an attribute of a subscription.
const fn subscription_attribute(arguments: &'static [Argument]) -> Setting {
    set("SetSubscriptionAttributes", arguments).on_update()
}

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::SNS::Topic", "sns")
        .named("TopicName", 256)
        .create(
            "CreateTopic",
            &[
                name("Name"),
                argument("Attributes", Source::Object(TOPIC_ATTRIBUTES)).form(texts),
            ],
        )
        .id(Source::Part("/TopicArn"))
        .attributes(&[
            ("TopicArn", Source::Physical),
            ("TopicName", Source::Name),
        ])
        .settings(&[
            topic_attribute(&[
                physical("TopicArn"),
                text("AttributeName", "DisplayName"),
                from("AttributeValue", "DisplayName").or(r#""""#),
            ]),
            topic_attribute(&[
                physical("TopicArn"),
                text("AttributeName", "KmsMasterKeyId"),
                from("AttributeValue", "KmsMasterKeyId").or(r#""""#),
            ]),
            topic_attribute(&[
                physical("TopicArn"),
                text("AttributeName", "SignatureVersion"),
                from("AttributeValue", "SignatureVersion").or(r#""1""#),
            ]),
            topic_attribute(&[
                physical("TopicArn"),
                text("AttributeName", "TracingConfig"),
                from("AttributeValue", "TracingConfig").or(r#""PassThrough""#),
            ]),
        ])
        .tags(tags_by(
            TAG_RESOURCE,
            Spelling::Pairs,
            physical("ResourceArn"),
        ))
        .find(search(
            call("GetTopicAttributes", &[text("TopicArn", TOPIC_ARN)]),
            "/Attributes",
            "/TopicArn",
        ))
        .live(&[
            read(
                call("GetTopicAttributes", &[physical("TopicArn")]),
                "/Attributes",
                &[own(TOPIC_ATTRIBUTES)],
            ),
            read(
                call("ListTagsForResource", &[physical("ResourceArn")]),
                "",
                &[own("Tags")],
            ),
            read(
                call("ListSubscriptionsByTopic", &[physical("TopicArn")]),
                "",
                &[at("Subscription", "/Subscriptions")],
            ),
        ])
        .delete("DeleteTopic", &[physical("TopicArn")])
        .hooks(&Topic, "Subscription"),
    Type::new("AWS::SNS::TopicPolicy", "sns")
        .attributes(&[("Id", Source::Physical)])
        .lists(&[list(
            "Topics",
            call(
                "SetTopicAttributes",
                &[
                    element("TopicArn"),
                    text("AttributeName", "Policy"),
                    document("AttributeValue", "PolicyDocument"),
                ],
            ),
            call(
                "SetTopicAttributes",
                &[
                    element("TopicArn"),
                    text("AttributeName", "Policy"),
                    text("AttributeValue", ""),
                ],
            ),
        )])
        .creates_nothing("its calls on topics follow once its id is recorded")
        .hooks(&TopicPolicy, ""),
    Type::new("AWS::SNS::Subscription", "sns")
        .create(
            "Subscribe",
            &[
                from("TopicArn", "TopicArn"),
                from("Protocol", "Protocol"),
                from("Endpoint", "Endpoint"),
                text("ReturnSubscriptionArn", "true"),
                argument(
                    "Attributes",
                    Source::Object(
                        "FilterPolicy FilterPolicyScope RawMessageDelivery RedrivePolicy",
                    ),
                )
                .form(texts),
            ],
        )
        .id(Source::Part("/SubscriptionArn"))
        .attributes(&[("Arn", Source::Physical)])
        .settings(&[
            // The scope decides how the policy is read.
            subscription_attribute(&[
                physical("SubscriptionArn"),
                text("AttributeName", "FilterPolicyScope"),
                from("AttributeValue", "FilterPolicyScope").or(r#""MessageAttributes""#),
            ]),
            subscription_attribute(&[
                physical("SubscriptionArn"),
                text("AttributeName", "FilterPolicy"),
                document("AttributeValue", "FilterPolicy").or(r#""""#),
            ]),
            subscription_attribute(&[
                physical("SubscriptionArn"),
                text("AttributeName", "RawMessageDelivery"),
                from("AttributeValue", "RawMessageDelivery").or(r#""false""#),
            ]),
            subscription_attribute(&[
                physical("SubscriptionArn"),
                text("AttributeName", "RedrivePolicy"),
                document("AttributeValue", "RedrivePolicy").or(r#""""#),
            ]),
        ])
        .find_by_code()
        .live(&[read(
            call("GetSubscriptionAttributes", &[physical("SubscriptionArn")]),
            "/Attributes",
            &[own(
                "Endpoint FilterPolicy FilterPolicyScope Protocol RawMessageDelivery RedrivePolicy TopicArn",
            )],
        )])
        .delete("Unsubscribe", &[physical("SubscriptionArn")])
        .hooks(&Subscription, ""),
];

/// The values of attributes, which are texts in the API.
#[expect(clippy::unnecessary_wraps, reason = "the type of conversions")]
fn texts(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let values = value.as_object().into_iter().flatten();
    let texts = values.map(|(name, value)| (name.clone(), text_of(value).into()));
    Ok(Value::Object(texts.collect()))
}

/// The ARN of the subscription of an endpoint to a topic.
fn subscribed(target: &Target<'_>, topic: &str, of: &Value) -> ApiResult<Option<String>> {
    let text = |name: &str| text_of(&of[name]);
    sns::subscribed(target.cloud, topic, &text("Protocol"), &text("Endpoint"))
}

struct Topic;

impl Topic {
    /// Creates the subscriptions that the properties add, and deletes those that they remove.
    async fn subscribe(target: &Target<'_>) -> ApiResult<()> {
        let wanted = super::list(target.properties, "Subscription");
        let previous = target.previous;
        let had = previous.map(|previous| super::list(previous, "Subscription"));
        let had = had.unwrap_or_default();
        for new in wanted.iter().filter(|new| !had.contains(new)) {
            let mut input = new.as_object().cloned().unwrap_or_default();
            input.insert("TopicArn".to_owned(), target.physical.into());
            target.request("Subscribe", input).await?;
        }
        for old in had.iter().filter(|old| !wanted.contains(old)) {
            if let Some(arn) = subscribed(target, target.physical, old)? {
                let input = Map::from_iter([("SubscriptionArn".to_owned(), arn.into())]);
                target.remove("Unsubscribe", input).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Hooks for Topic {
    /// `CreateTopic` would return an existing topic that is not part of the stack, and a rollback would delete it.
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        if let Some(arn) = target.find().await?.first() {
            let message = format!(
                "Resource of type 'AWS::SNS::Topic' with identifier '{arn}' already exists."
            );
            return Err(ApiError::new("AlreadyExists", message));
        }
        target.create().await
    }

    async fn settle(&self, target: &Target<'_>) -> ApiResult<()> {
        target.settle().await?;
        Self::subscribe(target).await
    }

    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        let changed = target.update().await?;
        Self::subscribe(target).await?;
        Ok(changed)
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn reads_property(&self, property: &str) -> bool {
        property == "TopicName"
    }

    /// The name, which is a part of the ARN, and the subscriptions of the template: others of the topic are resources of
    /// their own.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        if target.get("TopicName").is_some() {
            let name = target.physical.rsplit(':').next().unwrap_or_default();
            live.insert("TopicName".to_owned(), name.into());
        }
        if target.get("Subscription").is_some() {
            let mut found = Vec::new();
            for wanted in super::list(target.properties, "Subscription") {
                if subscribed(target, target.physical, &wanted)?.is_some() {
                    found.push(wanted);
                }
            }
            live.insert("Subscription".to_owned(), found.into());
        }
        Ok(Some(live))
    }
}

struct Subscription;

#[async_trait]
impl Hooks for Subscription {
    /// `Subscribe` would return the existing subscription of an endpoint, and a rollback would delete it.
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        if !self.find(target).await?.is_empty() {
            let message = format!(
                "A subscription of {} to {} already exists.",
                target.text("Endpoint"),
                target.text("TopicArn")
            );
            return Err(ApiError::new("AlreadyExists", message));
        }
        target.create().await
    }

    /// A filter policy that changes is removed first: the old one need not fit the new scope, nor the new one the old
    /// scope.
    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        let old = target
            .previous
            .and_then(|previous| previous.get("FilterPolicy"));
        if old.is_some() && old != target.get("FilterPolicy") {
            let input = [
                ("SubscriptionArn", target.physical),
                ("AttributeName", "FilterPolicy"),
                ("AttributeValue", ""),
            ];
            let input = input.map(|(name, value)| (name.to_owned(), value.into()));
            target
                .request("SetSubscriptionAttributes", Map::from_iter(input))
                .await?;
        }
        target.update().await
    }

    /// The subscription of the same endpoint.
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let wanted = json!({
            "Protocol": target.text("Protocol"),
            "Endpoint": target.text("Endpoint"),
        });
        let found = subscribed(target, &target.text("TopicArn"), &wanted)?;
        Ok(found.into_iter().collect())
    }
}

struct TopicPolicy;

#[async_trait]
impl Hooks for TopicPolicy {
    fn reads_live(&self) -> bool {
        true
    }

    /// The topics that exist, and the policy that differs from that of the template, if one does.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let mut policies = Vec::new();
        for arn in super::list(target.properties, "Topics") {
            let input = Map::from_iter([("TopicArn".to_owned(), arn.clone())]);
            let found = existing(target.request("GetTopicAttributes", input).await)?;
            let policy = found.and_then(|found| found.pointer("/Attributes/Policy").cloned());
            policies.extend(policy.map(|policy| (arn, policy)));
        }
        Ok(live_policy(target, "Topics", policies))
    }
}
