//! The types of `CloudFormation` itself, and CDK's.

use super::hooks::TableOnly;
use super::table::{Source, Type};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    // Nothing listens at this URL: a WaitCondition, which would wait for requests to it, is not supported.
    Type::new("AWS::CloudFormation::WaitConditionHandle", "cloudformation")
        .id(Source::Text(
            "{endpoint}/cloudformation-waitcondition/{uuid}",
        ))
        .attributes(&[("Id", Source::Physical)])
        .creates_nothing("it is a URL only"),
    // CDK counts the uses of its constructs with it.
    Type::new("AWS::CDK::Metadata", "cloudformation")
        .id(Source::Text("{uuid}"))
        .creates_nothing("it is a record of the stack only")
        .hooks(&TableOnly, "Analytics Modules"),
];

/// The type of every custom resource, whose steps are in `crate::cloudformation::custom`.
pub(super) const CUSTOM: Type = Type::new("AWS::CloudFormation::CustomResource", "cloudformation")
    .creates_nothing("a function creates it")
    .hooks(&TableOnly, "ServiceTimeout ServiceToken");
