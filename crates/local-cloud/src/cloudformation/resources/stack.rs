//! The types of `CloudFormation` itself, and custom resources.

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
];

/// The type of every custom resource, whose steps are in `crate::cloudformation::custom`.
pub(super) const CUSTOM: Type = Type::new("AWS::CloudFormation::CustomResource", "cloudformation")
    .creates_nothing("a function creates it")
    .hooks(&TableOnly, "ServiceTimeout ServiceToken");
