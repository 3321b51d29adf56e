//! The `CloudWatch` Logs types.

use super::builder::{at, call, camel, from, name, physical, read, search, set, tags_of_arn, text};
use super::table::{Source, Spelling, Type};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::Logs::LogGroup", "logs")
    .named("LogGroupName", 512)
    .create(
        "CreateLogGroup",
        &[
            name("logGroupName"),
            from("kmsKeyId", "KmsKeyId"),
            from("logGroupClass", "LogGroupClass"),
        ],
    )
    .attributes(&[(
        "Arn",
        Source::Text("arn:aws:logs:{region}:{account}:log-group:{name}:*"),
    )])
    .settings(&[
        set(
            "PutRetentionPolicy",
            &[
                physical("logGroupName"),
                from("retentionInDays", "RetentionInDays"),
            ],
        )
        .clear("DeleteRetentionPolicy", &[physical("logGroupName")]),
        set(
            "AssociateKmsKey",
            &[physical("logGroupName"), from("kmsKeyId", "KmsKeyId")],
        )
        .clear("DisassociateKmsKey", &[physical("logGroupName")])
        .on_update(),
    ])
    .tags(tags_of_arn(
        Spelling::Object,
        "arn:aws:logs:{region}:{account}:log-group:{name}",
    ))
    .find(
        search(
            call("DescribeLogGroups", &[name("logGroupNamePrefix")]),
            "/logGroups/*",
            "/logGroupName",
        )
        .equal(&[("/logGroupName", Source::Name)]),
    )
    .live(&[
        read(
            call("DescribeLogGroups", &[physical("logGroupNamePrefix")]),
            "/logGroups/*",
            &[camel("KmsKeyId LogGroupClass LogGroupName RetentionInDays")],
        )
        .equal(&[("/logGroupName", Source::Physical)]),
        read(
            call(
                "ListTagsForResource",
                &[text(
                    "resourceArn",
                    "arn:aws:logs:{region}:{account}:log-group:{name}",
                )],
            ),
            "",
            &[at("Tags", "/tags")],
        ),
    ])
    .delete("DeleteLogGroup", &[physical("logGroupName")])];
