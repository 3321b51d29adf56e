//! The types of `CloudFormation` itself.

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
