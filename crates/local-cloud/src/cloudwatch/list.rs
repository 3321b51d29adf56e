//! `ListMetrics`

use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::invalid_value;
use super::metrics::{self, DAY, HOUR};
use crate::Cloud;
use crate::api::ApiResult;
use crate::api::keyed_page::page;

/// Number of metrics on a page.
const PAGE: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Filter>,
    next_token: Option<String>,
    recently_active: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    name: String,
    value: Option<String>,
}

/// `ListMetrics`: those with data in the last two weeks. AWS lists a new metric after up to 15 minutes.
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let age = match input.recently_active.as_deref() {
        None => 14 * DAY,
        Some("PT3H") => 3 * HOUR,
        Some(other) => {
            return Err(invalid_value(format!(
                "The value {other} for parameter RecentlyActive is invalid."
            )));
        }
    };
    let since = cloud.clock().now().as_second() - age;
    let metrics = cloud.store().transaction(|tx| metrics::list(tx, since))?;
    let is_wanted =
        |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
    let found = metrics.into_iter().filter(|metric| {
        is_wanted(&input.namespace, &metric.namespace)
            && is_wanted(&input.metric_name, &metric.name)
            && input.dimensions.iter().all(|filter| {
                let value = metric.dimensions.get(&filter.name);
                value.is_some_and(|value| is_wanted(&filter.value, value))
            })
    });
    let shown = found.map(|metric| {
        let dimensions = metric.shown_dimensions();
        let key = json!([metric.namespace, metric.name, dimensions]).to_string();
        let shown = json!({
            "Namespace": metric.namespace,
            "MetricName": metric.name,
            "Dimensions": dimensions,
        });
        (key, shown)
    });
    let mut shown: Vec<(String, Value)> = shown.collect();
    shown.sort_by(|(one, _), (other, _)| one.cmp(other));
    page("Metrics", shown, PAGE, input.next_token.as_deref())
}
