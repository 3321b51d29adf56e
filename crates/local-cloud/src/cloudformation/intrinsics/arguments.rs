//! The error for invalid arguments of a function.

use super::SELECT;
use crate::api::ApiError;
use crate::cloudformation::template::invalid;

/// The error for a function with the wrong number or type of arguments.
pub(crate) fn count(name: &str) -> ApiError {
    let needs = match name {
        "Fn::Select" => return invalid(SELECT),
        "Fn::Sub" => {
            return invalid(
                "Template error: One or more Fn::Sub intrinsic functions don't specify expected \
                 arguments. Specify a string as first argument, and an optional second argument to \
                 specify a mapping of values to replace in the string",
            );
        }
        "Ref" | "Condition" => "a single string parameter.",
        "Fn::GetAtt" => "two non-empty parameters, the resource name and the resource attribute",
        "Fn::Join" => "a string delimiter and a list of strings.",
        "Fn::Split" => {
            "two parameters, (1) a string delimiter and (2) a string to be split or a function that returns a string to be split."
        }
        "Fn::If" => "a condition's name and two values.",
        "Fn::Equals" => "a list of 2 string parameters.",
        "Fn::Not" => "one boolean parameter.",
        "Fn::And" | "Fn::Or" => "a list of at least 2 and at most 10 boolean parameters.",
        "Fn::FindInMap" => {
            "three parameters, the map name, map key and the attribute for return value"
        }
        "Fn::Cidr" => "two or three parameters",
        _ => "a string parameter.",
    };
    invalid(format!(
        "Template error: every {name} object requires {needs}"
    ))
}
