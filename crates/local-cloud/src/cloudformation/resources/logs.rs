//! The `CloudWatch` Logs types.

use super::builder::{call, from, name, physical, search, set, tags_of_arn};
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
    .delete("DeleteLogGroup", &[physical("logGroupName")])];
