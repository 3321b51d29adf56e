//! Life-cycle policies: parsing, and previews of the images that would expire. The local cloud never
//! expires an image.
//!
//! The rules are those of ECR's user guide ("Lifecycle policy properties" and "How lifecycle
//! policies work"). Unverified against AWS [ecr-lifecycle-index]: that the images of an index count
//! for `imageCountMoreThan`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::image_id::ImageId;
use super::states::{PreviewStatus, TagStatus};
use super::{Repository, StoredImage, find, invalid, matches_wildcard, page, with_token};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::store::Collection;

const DAY: f64 = 24.0 * 3600.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(rename = "rulePriority")]
    priority: u64,
    #[expect(dead_code, reason = "for people; listed so that it is accepted")]
    description: Option<String>,
    selection: Selection,
    action: Action,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selection {
    tag_status: String,
    #[serde(default)]
    tag_pattern_list: Vec<String>,
    #[serde(default)]
    tag_prefix_list: Vec<String>,
    storage_class: Option<String>,
    count_type: String,
    count_unit: Option<String>,
    count_number: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    r#type: String,
    target_storage_class: Option<String>,
}

fn wrong(why: impl std::fmt::Display) -> ApiError {
    invalid(format!(
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: \
         'Lifecycle policy validation failure: {why}'"
    ))
}

impl Policy {
    /// Parses and validates a policy as ECR does.
    pub(super) fn parse(text: &str) -> ApiResult<Self> {
        let policy: Self = serde_json::from_str(text).map_err(wrong)?;
        if policy.rules.is_empty() {
            return Err(wrong("a policy needs at least one rule"));
        }
        let (mut priorities, mut lists) = (BTreeSet::new(), BTreeSet::new());
        let mut untagged = 0;
        for rule in &policy.rules {
            let priority = rule.priority;
            rule.check()
                .map_err(|why| wrong(format_args!("rule {priority}: {why}")))?;
            if !priorities.insert(priority) {
                return Err(wrong(format_args!(
                    "two rules have the priority {priority}"
                )));
            }
            let selection = &rule.selection;
            match selection.tag_status.as_str() {
                "untagged" => untagged += 1,
                "tagged" => {
                    let list = (&selection.tag_pattern_list, &selection.tag_prefix_list);
                    if !lists.insert((list, &selection.count_type)) {
                        return Err(wrong("two rules select the same tags"));
                    }
                }
                _ => {}
            }
        }
        if untagged > 1 {
            return Err(wrong("two rules select untagged images"));
        }
        let last = priorities.last().copied().unwrap_or_default();
        let early = |rule: &&Rule| rule.selection.tag_status == "any" && rule.priority != last;
        if let Some(rule) = policy.rules.iter().find(early) {
            return Err(wrong(format_args!(
                "rule {} selects any image, so it must have the highest rulePriority",
                rule.priority
            )));
        }
        Ok(policy)
    }

    /// Refuses, by name, rules that cannot be previewed.
    fn check_preview(&self) -> ApiResult<()> {
        for rule in &self.rules {
            let selection = &rule.selection;
            let missing = match selection.count_type.as_str() {
                "imageCountMoreThan" | "sinceImagePushed" => None,
                other => Some(format!("the life-cycle countType {other}")),
            }
            .or_else(|| {
                (rule.action.r#type != "expire")
                    .then(|| format!("the life-cycle action {}", rule.action.r#type))
            })
            .or_else(|| {
                let class = selection.storage_class.as_ref()?;
                (class != "standard").then(|| format!("the storage class {class}"))
            });
            if let Some(missing) = missing {
                return Err(ApiError::not_implemented(missing));
            }
        }
        Ok(())
    }

    /// The images that would expire at `now`, each with the priority of its one rule, in the order
    /// of the rules, the oldest first.
    fn expiring(&self, repository: &Repository, now: f64) -> Vec<Expiring> {
        let mut rules: Vec<&Rule> = self.rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority);
        let referenced: BTreeSet<&String> = repository
            .images
            .values()
            .flat_map(|image| &image.children)
            .collect();
        let mut decided: BTreeSet<&String> = BTreeSet::new();
        let mut found = Vec::new();
        for rule in rules {
            // A rule counts all images that it selects, also those of rules before it.
            let mut selected: Vec<(&String, &StoredImage)> = repository
                .images
                .iter()
                .filter(|(digest, _)| rule.selection.selects(&repository.tags_of(digest)))
                .collect();
            selected.sort_by(|(a, x), (b, y)| y.pushed.total_cmp(&x.pushed).then(a.cmp(b)));
            let kept = match rule.selection.count_type.as_str() {
                "imageCountMoreThan" => {
                    usize::try_from(rule.selection.count_number).unwrap_or(usize::MAX)
                }
                _ => selected
                    .iter()
                    .take_while(|(_, image)| !rule.selection.is_older(image.pushed, now))
                    .count(),
            };
            let old = selected.iter().skip(kept).rev();
            found.extend(
                old.filter(|(digest, _)| !decided.contains(digest) && !referenced.contains(digest))
                    .map(|(digest, image)| Expiring {
                        digest: (*digest).clone(),
                        tags: repository
                            .tags_of(digest)
                            .into_iter()
                            .map(str::to_owned)
                            .collect(),
                        pushed: image.pushed,
                        priority: rule.priority,
                    }),
            );
            // Later rules skip the images that a rule selects, whether expired or not.
            decided.extend(selected.iter().map(|(digest, _)| *digest));
        }
        found
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let selection = &self.selection;
        let lists = (
            selection.tag_pattern_list.is_empty(),
            selection.tag_prefix_list.is_empty(),
        );
        match (selection.tag_status.as_str(), lists) {
            ("tagged", (true, true)) => {
                return Err("tagStatus tagged needs tagPatternList or tagPrefixList".to_owned());
            }
            ("tagged", (false, false)) => {
                return Err("it has both tagPatternList and tagPrefixList".to_owned());
            }
            ("tagged", _) | ("untagged" | "any", (true, true)) => {}
            ("untagged" | "any", _) => {
                return Err(format!("tagStatus {} has no tags", selection.tag_status));
            }
            (other, _) => return Err(format!("tagStatus is `{other}`")),
        }
        let stars = |pattern: &&String| pattern.matches('*').count() > 4;
        if let Some(pattern) = selection.tag_pattern_list.iter().find(stars) {
            return Err(format!("`{pattern}` has more than four `*`"));
        }
        match (
            selection.count_type.as_str(),
            selection.count_unit.as_deref(),
        ) {
            ("imageCountMoreThan", Some(_)) => {
                return Err("imageCountMoreThan has no countUnit".to_owned());
            }
            ("imageCountMoreThan", None)
            | ("sinceImagePushed" | "sinceImagePulled" | "sinceImageTransitioned", Some("days")) => {
            }
            (kind @ ("sinceImagePushed" | "sinceImagePulled" | "sinceImageTransitioned"), _) => {
                return Err(format!("{kind} needs the countUnit `days`"));
            }
            (other, _) => return Err(format!("countType is `{other}`")),
        }
        match (
            self.action.r#type.as_str(),
            &self.action.target_storage_class,
        ) {
            ("expire", None) | ("transition", Some(_)) => {}
            (other, _) => return Err(format!("the action is `{other}`")),
        }
        if self.priority == 0 || selection.count_number == 0 {
            return Err("rulePriority and countNumber are 1 or more".to_owned());
        }
        Ok(())
    }
}

impl Selection {
    /// True if the rule selects an image with these tags. Each pattern or prefix of
    /// the list must have a tag.
    fn selects(&self, tags: &[&str]) -> bool {
        match self.tag_status.as_str() {
            "any" => true,
            "untagged" => tags.is_empty(),
            _ => {
                let pattern = |text: &String| tags.iter().any(|tag| matches_wildcard(text, tag));
                let prefix = |text: &String| tags.iter().any(|tag| tag.starts_with(text.as_str()));
                self.tag_pattern_list.iter().all(pattern) && self.tag_prefix_list.iter().all(prefix)
            }
        }
    }

    fn is_older(&self, pushed: f64, now: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "days")]
        let days = self.count_number as f64;
        now - pushed > days * DAY
    }
}

/// An image that a policy would expire.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Expiring {
    digest: String,
    tags: Vec<String>,
    /// Seconds since the epoch.
    pushed: f64,
    priority: u64,
}

/// The result of the last preview.
#[derive(Debug, Serialize, Deserialize)]
struct Preview {
    text: String,
    expiring: Vec<Expiring>,
}

/// Previews by repository.
fn previews(cloud: &Cloud) -> Collection<'_, Preview> {
    cloud.store().collection("ecr", "preview")
}

/// The error of a repository without a policy.
pub(super) fn no_lifecycle_policy(name: &str) -> ApiError {
    ApiError::not_found(
        "LifecyclePolicyNotFoundException",
        format!(
            "Lifecycle policy does not exist for the repository with name '{name}' in the \
             registry with id '{ACCOUNT}'"
        ),
    )
}

/// The text of a repository's policy.
fn lifecycle_text(repository: &Repository) -> ApiResult<&str> {
    let text = repository.lifecycle_policy.as_deref();
    text.ok_or_else(|| no_lifecycle_policy(&repository.name))
}

/// Removes the preview of a repository that is deleted.
pub(super) fn forget(cloud: &Cloud, repository: &str) -> ApiResult<()> {
    previews(cloud).remove(repository).map(|_| ())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartPreview {
    registry_id: Option<String>,
    repository_name: String,
    lifecycle_policy_text: Option<String>,
}

/// Computes the preview immediately. As in AWS, the response reports that it is in progress, and
/// the next request returns the result.
pub(super) async fn start_lifecycle_policy_preview(
    cloud: &Cloud,
    input: StartPreview,
) -> ApiResult<Value> {
    let name = &input.repository_name;
    let repository = find(cloud, input.registry_id.as_deref(), name)?;
    let text = match input.lifecycle_policy_text {
        Some(text) => text,
        None => lifecycle_text(&repository)?.to_owned(),
    };
    let policy = Policy::parse(&text)?;
    policy.check_preview()?;
    let preview = Preview {
        expiring: policy.expiring(&repository, clock::epoch()),
        text,
    };
    previews(cloud).put(name, &preview)?;
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "lifecyclePolicyText": preview.text,
        "status": PreviewStatus::InProgress,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetPreview {
    registry_id: Option<String>,
    repository_name: String,
    image_ids: Option<Vec<ImageId>>,
    next_token: Option<String>,
    max_results: Option<usize>,
    #[serde(default)]
    filter: PreviewFilter,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreviewFilter {
    #[serde(default)]
    tag_status: TagStatus,
}

pub(super) async fn get_lifecycle_policy_preview(
    cloud: &Cloud,
    input: GetPreview,
) -> ApiResult<Value> {
    let name = &input.repository_name;
    let repository = find(cloud, input.registry_id.as_deref(), name)?;
    let preview = previews(cloud).get(name)?.ok_or_else(|| {
        ApiError::not_found(
            "LifecyclePolicyPreviewNotFoundException",
            format!(
                "Lifecycle policy preview does not exist for the repository with name '{name}' in \
                 the registry with id '{ACCOUNT}'"
            ),
        )
    })?;
    let wanted: Option<BTreeSet<String>> = input.image_ids.map(|ids| {
        ids.iter()
            .filter_map(|id| repository.locate(id).ok())
            .collect()
    });
    let admits = |found: &Expiring| {
        let status = input.filter.tag_status.selects(!found.tags.is_empty());
        let named = wanted.as_ref();
        status && named.is_none_or(|wanted| wanted.contains(&found.digest))
    };
    let total = preview.expiring.len();
    let shown: Vec<Value> = preview
        .expiring
        .into_iter()
        .filter(admits)
        .map(|found| {
            let mut shown = json!({
                "imageDigest": found.digest,
                "imagePushedAt": found.pushed,
                "action": {"type": "EXPIRE"},
                "appliedRulePriority": found.priority,
            });
            if !found.tags.is_empty() {
                shown["imageTags"] = json!(found.tags);
            }
            shown
        })
        .collect();
    let (results, next) = page(shown, input.next_token.as_deref(), input.max_results)?;
    let answer = json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "lifecyclePolicyText": preview.text,
        "status": PreviewStatus::Complete,
        "previewResults": results,
        "summary": {"expiringImageTotalCount": total},
    });
    Ok(with_token(answer, next))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Mutability;
    use super::*;

    /// A repository of images pushed the given numbers of days ago, with their tags.
    fn repository(images: &[(&str, f64, &[&str], &[&str])]) -> Repository {
        let stored = |days: f64, children: &[&str]| StoredImage {
            media_type: String::new(),
            artifact_type: None,
            size: 0,
            pushed: -days * DAY,
            subject: None,
            children: children.iter().map(|child| (*child).to_owned()).collect(),
        };
        Repository {
            name: "r".to_owned(),
            created: 0.0,
            mutability: Mutability::new(None, Vec::new()).unwrap(),
            scan_on_push: false,
            encryption: Value::Null,
            resource_tags: BTreeMap::new(),
            lifecycle_policy: None,
            policy: None,
            images: images
                .iter()
                .map(|(name, days, _, children)| ((*name).to_owned(), stored(*days, children)))
                .collect(),
            tags: images
                .iter()
                .flat_map(|(name, _, tags, _)| {
                    tags.iter()
                        .map(|tag| ((*tag).to_owned(), (*name).to_owned()))
                })
                .collect(),
        }
    }

    fn rule(priority: u64, tags: &Value, count: &Value) -> Value {
        let mut selection = tags.clone();
        for (name, value) in count.as_object().unwrap() {
            selection[name] = value.clone();
        }
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn expiring(repository: &Repository, rules: &[Value]) -> Vec<(String, u64)> {
        let policy = Policy::parse(&json!({"rules": rules}).to_string()).unwrap();
        let found = policy.expiring(repository, 0.0);
        found.into_iter().map(|e| (e.digest, e.priority)).collect()
    }

    fn more_than(number: u64) -> Value {
        json!({"countType": "imageCountMoreThan", "countNumber": number})
    }

    fn since(days: u64) -> Value {
        json!({"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days})
    }

    fn named(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter()
            .map(|(name, rule)| ((*name).to_owned(), *rule))
            .collect()
    }

    #[test]
    fn images_beyond_a_count_expire_oldest_first() {
        let repository = repository(&[
            ("a", 4.0, &["v1"], &[]),
            ("b", 3.0, &["v2", "keep"], &[]),
            ("c", 2.0, &["v3"], &[]),
            ("d", 1.0, &[], &[]),
        ]);
        let any = json!({"tagStatus": "any"});
        let tagged = json!({"tagStatus": "tagged", "tagPatternList": ["v*"]});
        assert_eq!(
            expiring(&repository, &[rule(1, &any, &more_than(2))]),
            named(&[("a", 1), ("b", 1)])
        );
        assert_eq!(
            expiring(&repository, &[rule(1, &tagged, &more_than(1))]),
            named(&[("a", 1), ("b", 1)])
        );
        assert_eq!(
            expiring(&repository, &[rule(1, &any, &more_than(9))]),
            named(&[])
        );
        // All patterns of a list have to be met.
        let both = json!({"tagStatus": "tagged", "tagPatternList": ["v*", "keep"]});
        assert_eq!(
            expiring(&repository, &[rule(1, &both, &since(1))]),
            named(&[("b", 1)])
        );
        let prefix = json!({"tagStatus": "tagged", "tagPrefixList": ["v3"]});
        assert_eq!(
            expiring(&repository, &[rule(1, &prefix, &since(1))]),
            named(&[("c", 1)])
        );
    }

    #[test]
    fn later_rules_skip_images_that_a_rule_selects() {
        let repository = repository(&[
            ("a", 40.0, &["prod-1"], &[]),
            ("b", 30.0, &["prod-2"], &[]),
            ("c", 20.0, &["dev-1"], &[]),
            ("d", 10.0, &[], &[]),
        ]);
        let keep = rule(
            1,
            &json!({"tagStatus": "tagged", "tagPrefixList": ["prod"]}),
            &more_than(1),
        );
        let any = rule(9, &json!({"tagStatus": "any"}), &more_than(1));
        // The order in the text does not matter. Rule 9 counts all four, keeps the newest, and may
        // not touch b, which rule 1 keeps.
        assert_eq!(
            expiring(&repository, &[any, keep]),
            named(&[("a", 1), ("c", 9)])
        );
    }

    #[test]
    fn the_images_of_an_index_are_kept_with_it() {
        let repository = repository(&[
            ("child", 50.0, &[], &[]),
            ("index", 50.0, &["v1"], &["child"]),
            ("old", 50.0, &[], &[]),
            ("new", 1.0, &[], &[]),
        ]);
        let untagged = json!({"tagStatus": "untagged"});
        assert_eq!(
            expiring(&repository, &[rule(1, &untagged, &since(14))]),
            named(&[("old", 1)])
        );
    }

    #[test]
    fn invalid_policies_are_refused() {
        let any = json!({"tagStatus": "any"});
        let untagged = json!({"tagStatus": "untagged"});
        let bad = [
            vec![],
            vec![rule(1, &json!({"tagStatus": "tagged"}), &more_than(1))],
            vec![rule(
                1,
                &json!({"tagStatus": "any", "tagPrefixList": ["a"]}),
                &more_than(1),
            )],
            vec![
                rule(1, &any, &more_than(1)),
                rule(2, &untagged, &more_than(1)),
            ],
            vec![
                rule(1, &untagged, &more_than(1)),
                rule(1, &any, &more_than(1)),
            ],
            vec![
                rule(1, &untagged, &more_than(1)),
                rule(2, &untagged, &since(1)),
            ],
            vec![rule(0, &any, &more_than(1))],
            vec![rule(
                1,
                &any,
                &json!({"countType": "sinceImagePushed", "countNumber": 1}),
            )],
            vec![rule(1, &any, &json!({"countType": "x", "countNumber": 1}))],
            vec![json!({"rulePriority": 1, "selection": {}, "action": {"type": "expire"}})],
        ];
        for rules in bad {
            let text = json!({"rules": rules}).to_string();
            assert!(Policy::parse(&text).is_err(), "{text}");
        }
        let pulled =
            json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": 1});
        let policy =
            Policy::parse(&json!({"rules": [rule(1, &any, &pulled)]}).to_string()).unwrap();
        assert_eq!(policy.check_preview().unwrap_err().code, "NotImplemented");
    }
}
