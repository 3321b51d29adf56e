//! Settings from AWS's `analysis_config.json`.
//!
//! "Analysis Configuration Files" in the SageMaker developer guide lists the members. Of those that
//! influence a bias analysis, the ones that are not supported are refused by name. Other methods
//! (`shap`, `report`) and the `predictor`, which needs an endpoint, are left to others: predictions
//! are a column of the data.

use std::collections::HashSet;

use mlops_core::quote::short;
use serde_json::{Map, Value as Json};

use super::super::dataset::Kind;
use super::metrics::Metric;
use super::selection::{Selection, Value};
use super::settings::{CONFIDENCE, Column, FacetSettings, Prediction, Settings};

/// A parsed `analysis_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisConfig {
    /// The settings. Predictions that the configuration does not name (AWS passes them to a monitor
    /// as `inference_attribute`) are the caller's to add.
    pub settings: Settings,
    /// The format of the data.
    pub kind: Kind,
}

/// Parses `analysis_config.json`.
///
/// # Errors
/// The first member that is missing, invalid or not supported, by name.
pub fn parse(bytes: &[u8]) -> Result<AnalysisConfig, String> {
    let config: Map<String, Json> = serde_json::from_slice(bytes)
        .map_err(|error| format!("not an analysis configuration: {error}"))?;
    let has = |name: &str| config.get(name).is_some_and(|value| !value.is_null());
    for (name, hint) in [
        ("features", "use one flat object per line"),
        (
            "facet_dataset_uri",
            "add the facet's column to the data set",
        ),
    ] {
        if has(name) {
            return Err(format!("`{name}` is not supported: {hint}"));
        }
    }
    let kind = kind(config.get("dataset_type"))?;
    let headers = list(&config, "headers")?
        .iter()
        .map(|name| match name {
            Json::String(name) if !name.is_empty() => Ok(name.clone()),
            other => Err(format!("`headers`: {} is not a name", shown(other))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let headers = Headers::new(headers)?;
    let column = |name: &str| {
        let value = config.get(name).filter(|value| !value.is_null());
        value
            .map(|value| self::column(name, value, &headers))
            .transpose()
    };
    let (pre_training, post_training) = methods(&config)?;
    if has("predicted_label_dataset_uri") && !post_training.is_empty() {
        return Err(
            "`predicted_label_dataset_uri` is not supported: add the predictions to the data set"
                .to_owned(),
        );
    }
    let ignored = ["joinsource_name_or_index", "excluded_columns"]
        .into_iter()
        .flat_map(|name| {
            one_or_more(config.get(name))
                .iter()
                .map(move |value| (name, value))
        })
        .map(|(name, value)| self::column(name, value, &headers))
        .collect::<Result<_, _>>()?;
    let settings = Settings {
        label: Some(column("label")?.ok_or("`label` is missing")?),
        prediction: prediction(&config, column("predicted_label")?)?,
        favorable: favorable(&config)?,
        facets: facets(&config, &headers)?,
        group: column("group_variable")?,
        ignored,
        headers: headers.names,
        pre_training,
        post_training,
        confidence: CONFIDENCE,
    };
    settings.check_sizes()?;
    Ok(AnalysisConfig { settings, kind })
}

/// The names of the columns, all different.
struct Headers {
    names: Vec<String>,
    set: HashSet<String>,
}

impl Headers {
    fn new(names: Vec<String>) -> Result<Self, String> {
        let mut set = HashSet::with_capacity(names.len());
        for name in &names {
            if !set.insert(name.clone()) {
                return Err(format!("`headers`: `{}` occurs twice", short(name)));
            }
        }
        Ok(Self { names, set })
    }
}

/// The data set's format by its content type; CSV by default.
fn kind(value: Option<&Json>) -> Result<Kind, String> {
    match value {
        None | Some(Json::Null) => Ok(Kind::Csv),
        Some(Json::String(text)) => match text.as_str() {
            "text/csv" => Ok(Kind::Csv),
            "application/jsonlines" => Ok(Kind::Jsonl),
            "application/x-parquet" => Ok(Kind::Parquet),
            other => Err(format!(
                "`dataset_type`: {} is not supported: use text/csv, application/jsonlines or \
                 application/x-parquet",
                short(other)
            )),
        },
        Some(other) => Err(format!("`dataset_type`: {} is not a text", shown(other))),
    }
}

/// The metrics of `methods.pre_training_bias` and `methods.post_training_bias`.
fn methods(config: &Map<String, Json>) -> Result<(Vec<Metric>, Vec<Metric>), String> {
    let Some(Json::Object(methods)) = config.get("methods") else {
        return Err("`methods` is missing".to_owned());
    };
    let metrics = |name: &str, all: &[Metric]| match methods.get(name) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Object(method)) => chosen(method.get("methods"), all)
            .map_err(|error| format!("`methods.{name}.methods`: {error}")),
        Some(other) => Err(format!(
            "`methods.{name}`: {} is not an object",
            shown(other)
        )),
    };
    let pre = metrics("pre_training_bias", &Metric::PRE_TRAINING)?;
    let post = metrics("post_training_bias", &Metric::POST_TRAINING)?;
    if pre.is_empty() && post.is_empty() {
        return Err(
            "`methods` has neither `pre_training_bias` nor `post_training_bias`".to_owned(),
        );
    }
    Ok((pre, post))
}

/// `"all"` or a list of names; the result is in the order of AWS's files.
pub(super) fn chosen(value: Option<&Json>, all: &[Metric]) -> Result<Vec<Metric>, String> {
    let names = match value {
        None => return Ok(all.to_vec()),
        Some(Json::String(name)) if name == "all" => return Ok(all.to_vec()),
        value => one_or_more(value),
    };
    let mut chosen = Vec::new();
    for name in names {
        let known = all
            .iter()
            .find(|metric| name.as_str() == Some(metric.name()));
        let metric = known.ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|metric| metric.name()).collect();
            format!("{} is not one of {}", shown(name), known.join(", "))
        })?;
        chosen.push(*metric);
    }
    if chosen.is_empty() {
        return Err("no metric".to_owned());
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

fn prediction(
    config: &Map<String, Json>,
    column: Option<Column>,
) -> Result<Option<Prediction>, String> {
    let threshold =
        match config.get("probability_threshold") {
            None | Some(Json::Null) => None,
            Some(value) => Some(value.as_f64().ok_or_else(|| {
                format!("`probability_threshold`: {} is not a number", shown(value))
            })?),
        };
    Ok(column.map(|column| match threshold {
        Some(threshold) => Prediction::Probability { column, threshold },
        None => Prediction::Label(column),
    }))
}

fn favorable(config: &Map<String, Json>) -> Result<Selection, String> {
    let name = "label_values_or_threshold";
    match values(name, config.get(name))? {
        Selection::Each => Err(format!("`{name}` is missing")),
        selection => Ok(selection),
    }
}

fn facets(config: &Map<String, Json>, headers: &Headers) -> Result<Vec<FacetSettings>, String> {
    let facets = one_or_more(config.get("facet"));
    if facets.is_empty() {
        return Err("`facet` is missing".to_owned());
    }
    let mut parsed = Vec::with_capacity(facets.len());
    for facet in facets {
        let column = facet
            .get("name_or_index")
            .ok_or("`facet`: no `name_or_index`")?;
        parsed.push(FacetSettings {
            column: self::column("facet.name_or_index", column, headers)?,
            selection: values("facet.value_or_threshold", facet.get("value_or_threshold"))?,
        });
    }
    Ok(parsed)
}

/// A list of values, or a single one; none is [`Selection::Each`].
fn values(name: &str, value: Option<&Json>) -> Result<Selection, String> {
    let values = one_or_more(value).iter().map(|value| match value {
        Json::String(text) => Ok(Value::new(text)),
        Json::Number(number) => Ok(Value::new(number.to_string())),
        Json::Bool(value) => Ok(Value::new(value.to_string())),
        other => Err(format!(
            "`{name}`: {} is not a text or a number",
            shown(other)
        )),
    });
    Ok(Selection::aws(values.collect::<Result<_, _>>()?))
}

/// A column by name or by index. Positions in `headers` become names.
fn column(name: &str, value: &Json, headers: &Headers) -> Result<Column, String> {
    let index = value.as_u64().and_then(|index| usize::try_from(index).ok());
    match (value, index) {
        (Json::String(column), _) if !column.is_empty() => {
            if headers.names.is_empty() || headers.set.contains(column) || name == "predicted_label"
            {
                Ok(Column::Name(column.clone()))
            } else {
                Err(format!("`{name}`: {} is not in `headers`", shown(value)))
            }
        }
        (_, Some(index)) if headers.names.is_empty() => Ok(Column::Index(index)),
        (_, Some(index)) => headers
            .names
            .get(index)
            .map(|column| Column::Name(column.clone()))
            .ok_or_else(|| format!("`{name}`: `headers` has no index {index}")),
        _ => Err(format!(
            "`{name}`: {} is not a column's name or index",
            shown(value)
        )),
    }
}

fn list<'a>(config: &'a Map<String, Json>, name: &str) -> Result<&'a [Json], String> {
    match config.get(name) {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::Array(values)) => Ok(values),
        Some(other) => Err(format!("`{name}`: {} is not a list", shown(other))),
    }
}

/// The elements of a list, or a single value.
fn one_or_more(value: Option<&Json>) -> &[Json] {
    match value {
        None | Some(Json::Null) => &[],
        Some(Json::Array(values)) => values,
        Some(single) => std::slice::from_ref(single),
    }
}

/// A value for an error, bounded.
fn shown(value: &Json) -> String {
    short(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::selection::MAX_VALUES;
    use super::super::settings::MAX_COLUMNS;
    use super::*;

    const GOOD: &str = r#"{"headers":["a","b","y"],"label":"y","label_values_or_threshold":[1],
        "facet":[{"name_or_index":1,"value_or_threshold":["x","z"]},{"name_or_index":"a"}],
        "joinsource_name_or_index":"b","group_variable":"a","predictor":{"model_name":"m"},
        "methods":{"pre_training_bias":{"methods":["KL","CI"]},"report":{}}}"#;

    fn changed(change: impl Fn(&mut Json)) -> Result<AnalysisConfig, String> {
        let mut config: Json = serde_json::from_str(GOOD).unwrap();
        change(&mut config);
        parse(config.to_string().as_bytes())
    }

    #[test]
    fn a_configuration_is_parsed() {
        let found = changed(|_| {}).unwrap();
        assert_eq!(found.kind, Kind::Csv);
        let settings = found.settings;
        assert_eq!(settings.label, Some(Column::Name("y".to_owned())));
        assert_eq!(settings.facets[0].column, Column::Name("b".to_owned()));
        assert_eq!(
            settings.facets[0].selection,
            Selection::Values(vec![Value::new("x"), Value::new("z")])
        );
        assert_eq!(settings.facets[1].selection, Selection::Each);
        assert_eq!(
            settings.favorable,
            Selection::ValueOrThreshold(Value::new("1"))
        );
        assert_eq!(settings.pre_training, [Metric::CI, Metric::KL]);
        assert_eq!(settings.post_training, []);
        assert_eq!(settings.ignored, [Column::Name("b".to_owned())]);
        assert_eq!(settings.features(), ["a", "b"]);
        let probability = changed(|config| {
            config["predicted_label"] = "p".into();
            config["probability_threshold"] = 0.8.into();
            config["methods"]["post_training_bias"] = serde_json::json!({"methods": "all"});
        });
        let probability = probability.unwrap().settings;
        assert_eq!(
            probability.prediction,
            Some(Prediction::Probability {
                column: Column::Name("p".to_owned()),
                threshold: 0.8
            })
        );
        assert_eq!(probability.post_training, Metric::POST_TRAINING);
    }

    #[test]
    fn long_lists_are_refused() {
        let names = |count: usize| -> Json {
            let names = ["y", "a", "b"].map(str::to_owned).into_iter();
            let names = names.chain((3..count).map(|i| format!("c{i}")));
            names.collect::<Vec<String>>().into()
        };
        for (member, limit, message) in [
            ("headers", MAX_COLUMNS, "`headers` has 16385 names, but"),
            (
                "excluded_columns",
                MAX_COLUMNS - 1,
                "16385 columns are excluded",
            ),
            (
                "label_values_or_threshold",
                MAX_VALUES,
                "the favorable outcome has 1025 values, but at most 1024",
            ),
        ] {
            let change = |count: usize| {
                changed(|config| {
                    config["headers"] = names(MAX_COLUMNS);
                    config[member] = names(count);
                })
            };
            change(limit).unwrap();
            let error = change(limit + 1).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let error = changed(|config| {
            config["facet"] = serde_json::json!({
                "name_or_index": "a", "value_or_threshold": vec![1; MAX_VALUES + 1]
            });
        });
        let error = error.unwrap_err();
        assert!(error.contains("the facet `a` has 1025 values"), "{error}");
    }

    #[test]
    fn each_invalid_member_is_named() {
        for (member, value, message) in [
            ("label", Json::Null, "`label` is missing"),
            ("label", "q".into(), "`label`: \"q\" is not in `headers`"),
            ("label", 7.into(), "`label`: `headers` has no index 7"),
            (
                "label",
                1.5.into(),
                "`label`: 1.5 is not a column's name or index",
            ),
            ("headers", 1.into(), "`headers`: 1 is not a list"),
            (
                "headers",
                serde_json::json!(["a", "a"]),
                "`headers`: `a` occurs twice",
            ),
            ("facet", Json::Null, "`facet` is missing"),
            (
                "facet",
                serde_json::json!([{}]),
                "`facet`: no `name_or_index`",
            ),
            (
                "label_values_or_threshold",
                Json::Null,
                "`label_values_or_threshold` is missing",
            ),
            (
                "label_values_or_threshold",
                serde_json::json!([[]]),
                "`label_values_or_threshold`: [] is not a text or a number",
            ),
            ("methods", Json::Null, "`methods` is missing"),
            ("methods", serde_json::json!({}), "`methods` has neither"),
            (
                "methods",
                serde_json::json!({"pre_training_bias": {"methods": ["AD"]}}),
                "`methods.pre_training_bias.methods`: \"AD\" is not one of CDDL, CI",
            ),
            (
                "dataset_type",
                "application/json".into(),
                "`dataset_type`: application/json is not",
            ),
            ("features", "x".into(), "`features` is not supported"),
            (
                "facet_dataset_uri",
                "x".into(),
                "`facet_dataset_uri` is not supported",
            ),
            (
                "probability_threshold",
                "x".into(),
                "`probability_threshold`: \"x\" is not a number",
            ),
        ] {
            let error = changed(|config| config[member] = value.clone()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        assert!(
            parse(b"[]")
                .unwrap_err()
                .starts_with("not an analysis configuration")
        );
        let apart = changed(|config| {
            config["predicted_label_dataset_uri"] = "s3://b/p.csv".into();
            config["methods"]["post_training_bias"] = serde_json::json!({});
        });
        assert!(
            apart
                .unwrap_err()
                .contains("`predicted_label_dataset_uri` is not supported")
        );
    }
}
