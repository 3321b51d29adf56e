//! Templates of actions.json: texts with members of a request.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Named, Place};
use crate::limits;

/// A text in which `${…}` is the value of a member.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Template {
    parts: Vec<Part>,
    /// True if the text starts with `?`: the resource is omitted if its member has no value.
    is_optional: bool,
    /// The service of the ARN, if the template is one.
    service: Option<String>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Partition,
    Region,
    Account,
    /// The first of these that has a value.
    Member(Vec<Source>),
}

#[derive(Debug)]
enum Source {
    Fixed(String),
    /// A member, and the form of its value.
    Member(Filter, Vec<String>),
}

/// How a value is changed.
#[derive(Debug, Clone, Copy)]
enum Filter {
    None,
    /// The name of an alias, if the value is one.
    Alias,
    /// The project of a build and the group of a report, by id or ARN; the name of a project or a group.
    Codebuild,
    /// The name of a reference, given with or without `refs/heads/`.
    Branch,
    /// The reference that a pull request is merged into.
    Destination,
    /// The type and id of a resource of EC2.
    Ec2,
    /// The name of a function.
    Function,
    /// The name of a log group.
    Group,
    /// The ARN of a key.
    Key,
    /// What follows the last slash.
    Last,
    /// The name of a parameter without its first slash, version and label.
    Parameter,
    /// The values of `detail-type` in an event pattern.
    PatternDetailType,
    /// The values of `source` in an event pattern.
    PatternSource,
    /// The ARN of a pull request's repository.
    Pull,
    /// The ARN of a role.
    Role,
    /// Bucket and key of `x-amz-copy-source`.
    CopySource,
    /// The ARN of a change set's stack.
    Stack,
    /// The ARN of a subscription's topic.
    Topic,
    /// The version in `x-amz-copy-source`.
    Version,
}

impl From<String> for Template {
    fn from(text: String) -> Self {
        let mut rest = text.strip_prefix('?').unwrap_or(&text);
        let is_optional = rest.len() < text.len();
        let service = rest.strip_prefix("arn:${Partition}:");
        let service = service.and_then(|rest| Some(rest.split_once(':')?.0.to_owned()));
        let mut parts = Vec::new();
        while let Some((before, after)) = rest.split_once("${") {
            let (expression, after) = after.split_once('}').unwrap_or((after, ""));
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match expression {
                "Partition" => Part::Partition,
                "Region" => Part::Region,
                "Account" => Part::Account,
                _ => Part::Member(expression.split('|').map(Source::new).collect()),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Self {
            parts,
            is_optional,
            service,
        }
    }
}

impl Template {
    /// The resources, one for each value; `*` stands for a member that the request lacks.
    pub(super) fn resources(&self, input: &Value, place: &Place<'_>) -> Vec<String> {
        let (texts, is_complete) = self.expand(input, place);
        if self.is_optional && !is_complete {
            Vec::new()
        } else {
            texts
        }
    }

    /// The texts for which the request has every member.
    pub(super) fn known(&self, input: &Value, place: &Place<'_>) -> Vec<String> {
        let (texts, is_complete) = self.expand(input, place);
        if is_complete { texts } else { Vec::new() }
    }

    /// True if one of these texts is not empty: in a form, an empty text is an empty list.
    pub(super) fn is_present(&self, input: &Value, place: &Place<'_>) -> bool {
        self.known(input, place).iter().any(|text| !text.is_empty())
    }

    fn expand(&self, input: &Value, place: &Place<'_>) -> (Vec<String>, bool) {
        let mut texts = vec![String::new()];
        let mut is_complete = true;
        for part in &self.parts {
            let values = match part {
                Part::Text(text) => vec![text.clone()],
                Part::Partition => vec!["aws".to_owned()],
                Part::Region => vec![place.region.to_owned()],
                Part::Account => vec![place.account.to_owned()],
                Part::Member(sources) => {
                    let mut found = sources.iter().map(|source| source.values(input, place));
                    found.find(|values| !values.is_empty()).unwrap_or_default()
                }
            };
            match values.as_slice() {
                [] => {
                    is_complete = false;
                    for text in &mut texts {
                        text.push('*');
                    }
                }
                [value] if self.is_own_arn(&texts, value) => return (values, true),
                [value] => texts.iter_mut().for_each(|text| text.push_str(value)),
                // Only the last member of a template is a list.
                values => {
                    let start = texts.pop().unwrap_or_default();
                    texts = values
                        .iter()
                        .map(|value| {
                            if self.is_own_arn(std::slice::from_ref(&start), value) {
                                value.clone()
                            } else {
                                format!("{start}{value}")
                            }
                        })
                        .collect();
                }
            }
        }
        (texts, is_complete)
    }

    /// True if a value is itself the ARN of a resource of this server, or of a policy of AWS: most members accept a
    /// name or an ARN. `texts` is the ARN up to the value. A key of S3 is any text, so it never is an ARN.
    fn is_own_arn(&self, texts: &[String], value: &str) -> bool {
        let Some(service) = self.service.as_deref().filter(|service| *service != "s3") else {
            return false;
        };
        let start = texts.first().map_or("", String::as_str);
        let end = start.match_indices(':').nth(4).map(|(end, _)| end + 1);
        end.is_some_and(|end| value.starts_with(&start[..end]))
            || (service == "iam" && value.starts_with("arn:aws:iam::aws:policy/"))
    }
}

impl Source {
    fn new(text: &str) -> Self {
        if let Some(fixed) = text.strip_prefix('=') {
            return Self::Fixed(fixed.to_owned());
        }
        let (filter, member) = match text.split_once(':') {
            None => (Filter::None, text),
            Some((filter, member)) => (Filter::named(filter), member),
        };
        Self::Member(filter, member.split('.').map(str::to_owned).collect())
    }

    fn values(&self, input: &Value, place: &Place<'_>) -> Vec<String> {
        let (filter, path) = match self {
            Self::Fixed(text) => return vec![text.clone()],
            Self::Member(filter, path) => (filter, path),
        };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let found = values(input, &path).into_iter();
        found
            .flat_map(|value| match value {
                Value::String(text) => filter.apply_all(text, place),
                Value::Number(_) | Value::Bool(_) => vec![value.to_string()],
                // Only the presence of an object matters, not its contents.
                Value::Object(object) if !object.is_empty() => vec!["{}".to_owned()],
                _ => Vec::new(),
            })
            .collect()
    }
}

/// The values at a path; those of lists are values of their own.
pub(super) fn values<'a>(input: &'a Value, path: &[&str]) -> Vec<&'a Value> {
    match (input, path) {
        (Value::Array(items), _) => items.iter().flat_map(|item| values(item, path)).collect(),
        (Value::Null, _) => Vec::new(),
        (value, []) => vec![value],
        (value, [name, rest @ ..]) => value
            .get(name)
            .map(|value| values(value, rest))
            .unwrap_or_default(),
    }
}

impl Filter {
    fn named(name: &str) -> Self {
        match name {
            "alias" => Self::Alias,
            "codebuild" => Self::Codebuild,
            "branch" => Self::Branch,
            "destination" => Self::Destination,
            "ec2" => Self::Ec2,
            "function" => Self::Function,
            "group" => Self::Group,
            "key" => Self::Key,
            "last" => Self::Last,
            "parameter" => Self::Parameter,
            "pattern-detail-type" => Self::PatternDetailType,
            "pattern-source" => Self::PatternSource,
            "pull" => Self::Pull,
            "role" => Self::Role,
            "source" => Self::CopySource,
            "stack" => Self::Stack,
            "topic" => Self::Topic,
            "version" => Self::Version,
            _ => Self::None,
        }
    }

    /// The forms of a value; only a pattern has several.
    fn apply_all(self, value: &str, place: &Place<'_>) -> Vec<String> {
        match self {
            Self::PatternDetailType => pattern_values(value, "detail-type"),
            Self::PatternSource => pattern_values(value, "source"),
            _ => self.apply(value, place).into_iter().collect(),
        }
    }

    fn apply(self, value: &str, place: &Place<'_>) -> Option<String> {
        let own = || Some(value.to_owned());
        match self {
            Self::None | Self::PatternDetailType | Self::PatternSource => own(),
            Self::Alias => {
                let name = value.rsplit(':').next().unwrap_or(value);
                name.starts_with("alias/").then(|| name.to_owned())
            }
            Self::Codebuild => {
                let name = value.rsplit('/').next().unwrap_or(value);
                name.split(':').next().map(str::to_owned)
            }
            Self::Branch => {
                let name = value.strip_prefix("refs/heads/").unwrap_or(value);
                Some(format!("refs/heads/{name}"))
            }
            Self::Destination => (place.find)(Named::Destination(value)),
            Self::Ec2 => Some(ec2_resource(value)),
            Self::Function => {
                // The forms that the service accepts: an ARN, parts of it, a name; each with a qualifier.
                let arn = format!("arn:aws:lambda:{}:", place.region);
                let rest = value.strip_prefix(&arn).unwrap_or(value);
                let full = format!("{}:function:", place.account);
                let rest = rest.strip_prefix(&full);
                let rest = rest.or_else(|| value.strip_prefix("function:"));
                let rest = rest.unwrap_or(value);
                Some(rest.strip_suffix(":$LATEST").unwrap_or(rest).to_owned())
            }
            Self::Group => match value.split_once(":log-group:") {
                Some((_, name)) => Some(name.trim_end_matches(":*").to_owned()),
                None => own(),
            },
            Self::Key => (place.find)(Named::Key(value)).or_else(|| {
                let id = value.rsplit('/').next().unwrap_or(value);
                let id = if value.contains("alias/") { "*" } else { id };
                let (region, account) = (place.region, place.account);
                Some(format!("arn:aws:kms:{region}:{account}:key/{id}"))
            }),
            Self::Last => value.rsplit('/').next().map(str::to_owned),
            Self::Topic => Some(value.splitn(7, ':').take(6).collect::<Vec<_>>().join(":")),
            Self::Parameter => {
                let arn = format!("arn:aws:ssm:{}:{}:parameter", place.region, place.account);
                let name = value.strip_prefix(&arn).unwrap_or(value);
                if name.starts_with("arn:") {
                    return own();
                }
                let name = name.split(':').next().unwrap_or(name);
                Some(name.trim_start_matches('/').to_owned())
            }
            Self::Pull => (place.find)(Named::PullRequest(value)),
            Self::Role => (place.find)(Named::Role(value)).or_else(own),
            Self::CopySource => {
                let path = value.split("?versionId=").next().unwrap_or(value);
                let path = percent_decode_str(path).decode_utf8_lossy();
                Some(path.trim_start_matches('/').to_owned())
            }
            Self::Stack => (place.find)(Named::ChangeSet(value)),
            Self::Version => value
                .split_once("?versionId=")
                .map(|(_, version)| version.to_owned()),
        }
    }
}

/// The values of a field at the top of an event pattern. A match expression is its JSON, which no policy allows by
/// accident.
fn pattern_values(pattern: &str, field: &str) -> Vec<String> {
    let pattern = limits::document(pattern.as_bytes());
    let members = pattern.as_ref().ok().and_then(Value::as_object);
    members.map_or_else(Vec::new, |members| field_values(members, field))
}

/// Recurses into `$or`, at most as deep as a document can be.
fn field_values(members: &Map<String, Value>, field: &str) -> Vec<String> {
    let list = |name: &str| members.get(name).and_then(Value::as_array);
    if let Some(items) = list(field) {
        let text = |item: &Value| {
            let text = item.as_str().map(str::to_owned);
            text.unwrap_or_else(|| item.to_string())
        };
        return items.iter().map(text).collect();
    }
    let alternatives = list("$or").into_iter().flatten();
    let alternatives = alternatives.filter_map(Value::as_object);
    let found: Vec<_> = alternatives.map(|it| field_values(it, field)).collect();
    if found.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    // An alternative without the field matches all its values.
    let or_all = |values: Vec<String>| {
        if values.is_empty() {
            vec![String::new()]
        } else {
            values
        }
    };
    found.into_iter().flat_map(or_all).collect()
}

/// `vpc/vpc-1` of `vpc-1`.
fn ec2_resource(id: &str) -> String {
    const TYPES: [(&str, &str); 9] = [
        ("eipalloc-", "elastic-ip"),
        ("fl-", "vpc-flow-log"),
        ("igw-", "internet-gateway"),
        ("nat-", "natgateway"),
        ("rtb-", "route-table"),
        ("sg-", "security-group"),
        ("subnet-", "subnet"),
        ("vpc-", "vpc"),
        ("vpce-", "vpc-endpoint"),
    ];
    let kind = TYPES.iter().find(|(prefix, _)| id.starts_with(prefix));
    format!("{}/{id}", kind.map_or("*", |(_, kind)| kind))
}
