//! What to compute: the section `methods.shap` of AWS's `analysis_config.json`, or our own settings.

use std::fmt;

use serde_json::{Map, Value};

use super::super::DataError;

/// Maximum number of coalitions per row.
pub const MAX_SAMPLES: usize = 1 << 20;

/// Maximum number of background rows: the model predicts each coalition with each of them. The
/// `shap` package advises against more than 100.
pub const MAX_BACKGROUND: usize = 1000;

/// The background: the values of features that are not in a coalition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Baseline {
    /// These rows, cell by cell in the order of the features.
    Rows(Vec<Vec<String>>),
    /// The rows of this file. The caller reads it and replaces it by [`Baseline::Rows`].
    Location(String),
    /// One row: the mean of each numeric column and the most frequent value of each other one.
    Average,
    /// This number of random rows of the data.
    Sample(usize),
}

/// The aggregation of the attributions of all rows to one per feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// The mean of the absolute values.
    #[default]
    MeanAbs,
    /// The mean of the squares.
    MeanSq,
    /// The median of the values, with their sign. Of an even number, the mean of the middle two.
    Median,
}

/// The settings of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The background.
    pub baseline: Baseline,
    /// Maximum number of coalitions per row, from 1 to [`MAX_SAMPLES`]. `None` is the `shap`
    /// package's choice: 2048 + 2 × the number of features that differ from the background. The
    /// result is exact if it is at least 2^features − 2.
    ///
    /// Unverified against AWS [shap-default-samples]: Clarify chooses "a proper value according to
    /// the count of features".
    pub num_samples: Option<usize>,
    /// How global values are computed.
    pub agg_method: Aggregation,
    /// The seed of the random selection of coalitions and background rows. Equal seeds give equal
    /// results; AWS's results without a seed are random.
    pub seed: u64,
    /// Whether attributions are log-odds: the logit of the prediction is explained. Predictions must
    /// be between 0 and 1, both exclusive. With several background rows, the logit of the mean
    /// prediction is used, as in the `shap` package.
    pub use_logit: bool,
    /// Whether the caller should write the attributions of each row.
    pub save_local_shap_values: bool,
    /// The names of the outputs (`predictor.label_headers`); without them `label0`, `label1`, ….
    pub label_headers: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            baseline: Baseline::Average,
            num_samples: None,
            agg_method: Aggregation::default(),
            seed: 0,
            use_logit: false,
            save_local_shap_values: false,
            label_headers: None,
        }
    }
}

impl Settings {
    /// Parses `methods.shap` of an analysis configuration, as the developer guide ("Configure the
    /// analysis") and the SageMaker SDK's `SHAPConfig` define it. `name` is the file's name in
    /// errors.
    ///
    /// Without a `baseline`, Clarify clusters the data set (K-means or K-prototypes) into
    /// `num_clusters` rows, a number whose default is not documented. Here, `num_clusters` random rows
    /// are the background, and without it the average row: our choice, as Clarify's centers cannot be
    /// reproduced. `num_clusters` next to a `baseline` has no effect, as in the guide's example. The
    /// default of `save_local_shap_values` is false, as in the guide; the SDK always writes it.
    ///
    /// Everything outside of `methods.shap` is left to the caller.
    ///
    /// # Errors
    /// The file is not JSON, has no `methods.shap`, or a member has a bad value or is unknown; text
    /// and image data are not supported.
    pub fn from_analysis_config(name: &str, bytes: &[u8]) -> Result<Self, DataError> {
        let bad = |message: String| DataError::new(name, message);
        let document: Value =
            serde_json::from_slice(bytes).map_err(|error| bad(format!("not JSON: {error}")))?;
        let section = document
            .pointer("/methods/shap")
            .ok_or_else(|| bad("`methods.shap` is missing".to_owned()))?;
        let section = section
            .as_object()
            .ok_or_else(|| bad("`methods.shap` must be an object".to_owned()))?;
        Self::from_section(section).map_err(bad)
    }

    fn from_section(section: &Map<String, Value>) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut clusters = None;
        let mut baseline = None;
        for (key, value) in section {
            let at = |expected: &str| format!("`methods.shap.{key}` must be {expected}");
            let whole = |most: usize| whole(value, most).ok_or_else(|| at(&up_to(most)));
            let flag = || value.as_bool().ok_or_else(|| at("true or false"));
            match key.as_str() {
                _ if value.is_null() => {}
                "baseline" => baseline = Some(parse_baseline(value).map_err(|why| at(&why))?),
                "num_clusters" => clusters = Some(whole(MAX_BACKGROUND)?),
                "num_samples" => settings.num_samples = Some(whole(MAX_SAMPLES)?),
                "agg_method" => {
                    let method = value.as_str().and_then(Aggregation::parse);
                    settings.agg_method =
                        method.ok_or_else(|| at("`mean_abs`, `mean_sq` or `median`"))?;
                }
                "seed" => {
                    let seed = value.as_u64();
                    settings.seed = seed.ok_or_else(|| at("a whole number from 0"))?;
                }
                "use_logit" => settings.use_logit = flag()?,
                "save_local_shap_values" => settings.save_local_shap_values = flag()?,
                "text_config" | "image_config" | "features_to_explain" => {
                    return Err(format!("`methods.shap.{key}` is not supported"));
                }
                _ => return Err(format!("unknown member `methods.shap.{key}`")),
            }
        }
        settings.baseline = match (baseline, clusters) {
            (Some(baseline), _) => baseline,
            (None, Some(rows)) => Baseline::Sample(rows),
            (None, None) => Baseline::Average,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Checks what does not depend on the data.
    pub(super) fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} must be {}, not {value}", up_to(most)))
        };
        if let Some(samples) = self.num_samples {
            within("num_samples", samples, MAX_SAMPLES)?;
        }
        match &self.baseline {
            Baseline::Rows(rows) => {
                within("the number of baseline rows", rows.len(), MAX_BACKGROUND)
            }
            Baseline::Sample(rows) => within("num_clusters", *rows, MAX_BACKGROUND),
            Baseline::Location(_) | Baseline::Average => Ok(()),
        }
    }
}

impl Aggregation {
    /// Parses AWS's name of a method.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::MeanAbs, Self::MeanSq, Self::Median]
            .into_iter()
            .find(|method| method.to_string() == name)
    }

    /// Aggregates the attributions of one feature, of which there is at least one.
    pub(super) fn of(self, values: impl Iterator<Item = f64>) -> f64 {
        let mean = |values: Vec<f64>| {
            let count = super::coalitions::float(values.len());
            values.into_iter().sum::<f64>() / count
        };
        match self {
            Self::MeanAbs => mean(values.map(f64::abs).collect()),
            Self::MeanSq => mean(values.map(|value| value * value).collect()),
            Self::Median => {
                let mut values: Vec<f64> = values.collect();
                values.sort_by(f64::total_cmp);
                let middle = values.len() / 2;
                let upper = values.get(middle).copied().unwrap_or_default();
                match middle.checked_sub(1).and_then(|below| values.get(below)) {
                    Some(lower) if values.len().is_multiple_of(2) => f64::midpoint(*lower, upper),
                    _ => upper,
                }
            }
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MeanAbs => "mean_abs",
            Self::MeanSq => "mean_sq",
            Self::Median => "median",
        })
    }
}

fn up_to(most: usize) -> String {
    format!("a whole number from 1 to {most}")
}

fn whole(value: &Value, most: usize) -> Option<usize> {
    let number = usize::try_from(value.as_u64()?).ok()?;
    (1..=most).contains(&number).then_some(number)
}

/// Parses a list of rows, or the location of a file. The error completes "must be".
fn parse_baseline(value: &Value) -> Result<Baseline, String> {
    const EXPECTED: &str = "a list of rows, each a list of values, or the location of a file";
    let rows = match value {
        Value::String(location) if !location.trim().is_empty() => {
            return Ok(Baseline::Location(location.clone()));
        }
        Value::Array(rows) if !rows.is_empty() => rows,
        _ => return Err(EXPECTED.to_owned()),
    };
    let row = |row: &Value| -> Option<Vec<String>> { row.as_array()?.iter().map(cell).collect() };
    let rows: Option<Vec<_>> = rows.iter().map(row).collect();
    rows.map(Baseline::Rows).ok_or_else(|| EXPECTED.to_owned())
}

/// A JSON value as the text of a cell; null is a missing value.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    fn parse(shap: &str) -> Result<Settings, String> {
        let config = format!(r#"{{"headers":["a"],"methods":{{"shap":{shap}}},"predictor":{{}}}}"#);
        Settings::from_analysis_config("c.json", config.as_bytes())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_developer_guides_example_is_read() {
        let settings = parse(
            r#"{"baseline":[["yes",3,0.9,1]],"num_samples":1000,"agg_method":"mean_sq",
                "use_logit":true,"save_local_shap_values":true,"num_clusters":5,"seed":1234}"#,
        );
        let row = ["yes", "3", "0.9", "1"].map(str::to_owned).to_vec();
        let expected = Settings {
            baseline: Baseline::Rows(vec![row]),
            num_samples: Some(1000),
            agg_method: Aggregation::MeanSq,
            seed: 1234,
            use_logit: true,
            save_local_shap_values: true,
            label_headers: None,
        };
        assert_eq!(settings.unwrap(), expected);
    }

    #[test]
    fn missing_members_have_defaults() {
        assert_eq!(parse("{}").unwrap(), Settings::default());
        assert_eq!(parse(r#"{"seed":null}"#).unwrap(), Settings::default());
        let of = |shap: &str| parse(shap).unwrap().baseline;
        assert_eq!(of(r#"{"num_clusters":3}"#), Baseline::Sample(3));
        let location = Baseline::Location("s3://b/baseline.csv".to_owned());
        assert_eq!(of(r#"{"baseline":"s3://b/baseline.csv"}"#), location);
        let cells = Baseline::Rows(vec![vec![String::new(), "true".to_owned()]]);
        assert_eq!(of(r#"{"baseline":[[null,true]]}"#), cells);
    }

    #[test]
    fn bad_values_are_named() {
        let baseline = "c.json: `methods.shap.baseline` must be a list of rows, each a list of \
                        values, or the location of a file";
        for (shap, message) in [
            ("[]", "c.json: `methods.shap` must be an object"),
            (
                r#"{"num_samples":0}"#,
                "c.json: `methods.shap.num_samples` must be a whole number from 1 to 1048576",
            ),
            (
                r#"{"num_samples":"10"}"#,
                "c.json: `methods.shap.num_samples` must be a whole number from 1 to 1048576",
            ),
            (
                r#"{"num_clusters":1001}"#,
                "c.json: `methods.shap.num_clusters` must be a whole number from 1 to 1000",
            ),
            (
                r#"{"agg_method":"mean"}"#,
                "c.json: `methods.shap.agg_method` must be `mean_abs`, `mean_sq` or `median`",
            ),
            (
                r#"{"seed":-1}"#,
                "c.json: `methods.shap.seed` must be a whole number from 0",
            ),
            (
                r#"{"use_logit":"yes"}"#,
                "c.json: `methods.shap.use_logit` must be true or false",
            ),
            (r#"{"baseline":[]}"#, baseline),
            (r#"{"baseline":""}"#, baseline),
            (r#"{"baseline":[{"features":[1]}]}"#, baseline),
            (r#"{"baseline":[[[1]]]}"#, baseline),
            (
                r#"{"text_config":{}}"#,
                "c.json: `methods.shap.text_config` is not supported",
            ),
            (
                r#"{"samples":1}"#,
                "c.json: unknown member `methods.shap.samples`",
            ),
        ] {
            assert_eq!(parse(shap).unwrap_err(), message);
        }
        let read = |text: &str| {
            let settings = Settings::from_analysis_config("c.json", text.as_bytes());
            settings.unwrap_err().to_string()
        };
        let missing = "c.json: `methods.shap` is missing";
        assert_eq!(read(r#"{"methods":{"report":{}}}"#), missing);
        assert!(read("{").starts_with("c.json: not JSON: "));
    }

    #[test]
    fn attributions_are_aggregated_as_the_sdk_documents() {
        let of = |method: &str, values: &[f64]| {
            let method = Aggregation::parse(method).unwrap();
            method.of(values.iter().copied())
        };
        let values = [-3.0, 1.0, 2.0, -4.0];
        assert_eq!(of("mean_abs", &values), 2.5);
        assert_eq!(of("mean_sq", &values), 7.5);
        assert_eq!(of("median", &values), -1.0);
        assert_eq!(of("median", &values[..3]), 1.0);
        assert_eq!(of("median", &[5.0]), 5.0);
        assert_eq!(Aggregation::parse("mean"), None);
    }
}
