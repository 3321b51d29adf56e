//! Feature attribution: Kernel SHAP (Lundberg and Lee, 2017) in the formats of SageMaker Clarify.
//!
//! [`explain`] computes how much each feature moves the predictions for a [`sample`](captured) of
//! rows away from the predictions for a [`background`]; [`compare`] measures how well the ranking of
//! features agrees with a baseline's. The results are those of the `shap` package's `KernelExplainer`
//! without feature selection (`l1_reg=0`), because a ranking needs every feature.
//!
//! ```text
//! analysis_config.json ─ Settings ─┬─ background ──────────┐
//! captured traffic ─ captured ─────┴─ Table ─ coalitions ──┴─ run (Model) ─ solve ─ Explanation
//! analysis.json (baseline) ─ compare ← explanations ← Explanation ─ out.csv
//! ```

mod background;
mod captured;
mod coalitions;
mod drift;
mod explanation;
mod model;
mod run;
mod settings;
mod solve;
mod table;

use rayon::prelude::*;

use super::DataError;
use crate::random::Random;
use coalitions::Coalitions;
use model::Subject;
use run::Runner;
use solve::Equations;

pub use background::background;
pub use captured::{MAX_ROWS, Sample, captured};
pub use drift::{Drift, LabelDrift, RankedFeature, THRESHOLD, compare};
pub use explanation::{Explanation, Label};
pub use model::{Error, Limits, MAX_OUTPUTS, MAX_PARALLEL, Model, Predictions, Rows};
pub use settings::{Aggregation, Baseline, MAX_BACKGROUND, MAX_SAMPLES, Settings};
pub use table::{MAX_FEATURES, Table};

/// Number of batches that are prepared together. More need more memory, fewer leave threads idle
/// more often.
const WAVE: usize = 64;

/// Maximum number of numbers in memory for the rows that are prepared together: coalitions × outputs,
/// or coalitions × features / 64.
const MAX_NUMBERS: usize = 1 << 24;

/// Maximum number of attributions of all rows: rows × features × outputs.
const MAX_ATTRIBUTIONS: usize = 1 << 25;

/// The name of the rows in errors.
const SAMPLE: &str = "rows to explain";

/// Explains the predictions of a model for each row of `sample`, relative to the rows of `background`
/// (see [`background`]), and aggregates the attributions per feature.
///
/// The model is called in batches of rows, each within `limits`. A row with M features that differ
/// from the background needs one prediction for itself and one per coalition and background row; see
/// [`predictions`]. Results do not depend on the number of batches in parallel.
///
/// # Errors
/// [`Error::Input`]: bad settings or limits, tables without rows or with different columns, more data
/// than fits into memory, or predictions that are not finite numbers, one per row and output;
/// [`Error::Model`]: the model's own error.
pub fn explain<M: Model>(
    settings: &Settings,
    sample: &Table,
    background: &Table,
    model: &M,
    limits: &Limits,
) -> Result<Explanation, Error<M::Error>> {
    limits.check()?;
    check_tables(settings, sample, background)?;
    let runner = Runner::new(model, sample, background, limits);
    let means = runner.expected()?;
    let outputs = means.len();
    let labels = labels(settings, outputs)?;
    check_size(settings, sample, outputs)?;
    let link = Link {
        logit: settings.use_logit,
    };
    let expected: Vec<f64> = means
        .iter()
        .map(|mean| link.apply(*mean))
        .collect::<Result<_, _>>()?;
    let features = sample.columns().len();
    let mut local = Vec::with_capacity(sample.rows() * features * outputs);
    let mut predictions = background.rows() as u64;
    let limit = MAX_NUMBERS / outputs.max(features.div_ceil(64));
    let limit = limit.min(WAVE * runner.batch);
    let mut next = 0;
    while next < sample.rows() {
        let wave = wave(settings, sample, background, next, limit);
        let values = runner.predict_all(&wave, outputs)?;
        let units: Vec<usize> = wave.iter().map(|s| 1 + s.coalitions.len()).collect();
        predictions += wave
            .iter()
            .map(|subject| 1 + (subject.coalitions.len() * background.rows()) as u64)
            .sum::<u64>();
        let mut parts = Vec::with_capacity(wave.len());
        let mut rest = values.as_slice();
        for (subject, units) in wave.iter().zip(units) {
            let (part, after) = rest.split_at(units * outputs);
            parts.push((subject, part));
            rest = after;
        }
        let solved: Vec<Vec<f64>> = parts
            .par_iter()
            .map(|(subject, values)| attributions(subject, values, &expected, link, features))
            .collect::<Result<_, _>>()?;
        local.extend(solved.into_iter().flatten());
        next += wave.len();
    }
    Ok(Explanation::new(
        sample.columns().to_vec(),
        labels,
        expected,
        local,
        predictions,
        settings.agg_method,
    ))
}

/// Returns the number of predictions that [`explain`] requests from the model, at most (rarely, a
/// random selection finds fewer coalitions).
pub fn predictions(settings: &Settings, sample: &Table, background: &Table) -> u64 {
    let rows = (0..sample.rows()).map(|row| {
        let features = varying(sample, background, row).len();
        let coalitions = coalitions::count(features, samples(settings, features));
        1 + (coalitions * background.rows()) as u64
    });
    background.rows() as u64 + rows.sum::<u64>()
}

fn check_tables(settings: &Settings, sample: &Table, background: &Table) -> Result<(), DataError> {
    let bad = |place: &str, message: String| Err(DataError::new(place, message));
    settings
        .check()
        .map_err(|message| DataError::new("SHAP settings", message))?;
    for (place, table) in [(SAMPLE, sample), (background::NAME, background)] {
        if table.rows() == 0 {
            return bad(place, "there are no rows".to_owned());
        }
    }
    if background.rows() > MAX_BACKGROUND {
        let message = format!("{} rows, but at most {MAX_BACKGROUND}", background.rows());
        return bad(background::NAME, message);
    }
    let (found, expected) = (background.columns(), sample.columns());
    if found.len() != expected.len() {
        let message = format!("{} columns for {} features", found.len(), expected.len());
        return bad(background::NAME, message);
    }
    if let Some((found, expected)) = found.iter().zip(expected).find(|(a, b)| a != b) {
        let message = format!("the column `{found}` is at the place of the feature `{expected}`");
        return bad(background::NAME, message);
    }
    Ok(())
}

/// Checks that everything that is kept in memory has a reasonable size.
fn check_size(settings: &Settings, sample: &Table, outputs: usize) -> Result<(), DataError> {
    let features = sample.columns().len();
    let coalitions = coalitions::count(features, samples(settings, features));
    let message = if coalitions * outputs.max(features.div_ceil(64)) > MAX_NUMBERS {
        format!(
            "{coalitions} samples are too many for {features} features and {outputs} outputs: \
             reduce num_samples"
        )
    } else if sample.rows() * features * outputs > MAX_ATTRIBUTIONS {
        format!(
            "{} rows are too many for {features} features and {outputs} outputs: explain fewer rows",
            sample.rows()
        )
    } else {
        return Ok(());
    };
    Err(DataError::new(SAMPLE, message))
}

/// The names of the outputs.
fn labels(settings: &Settings, outputs: usize) -> Result<Vec<String>, DataError> {
    let Some(headers) = &settings.label_headers else {
        return Ok((0..outputs).map(|i| format!("label{i}")).collect());
    };
    let message = if headers.len() != outputs {
        format!("{} names for {outputs} outputs of the model", headers.len())
    } else if let Some((_, twice)) = (0..)
        .zip(headers)
        .find(|(i, name)| headers[..*i].contains(name))
    {
        format!("the name `{twice}` occurs twice")
    } else {
        return Ok(headers.clone());
    };
    Err(DataError::new("label headers", message))
}

/// The next rows whose coalitions are evaluated together: at least one, and then as long as they
/// need at most `limit` predictions.
fn wave(
    settings: &Settings,
    sample: &Table,
    background: &Table,
    first: usize,
    limit: usize,
) -> Vec<Subject> {
    let mut rows = Vec::new();
    let mut total = 0;
    for row in first..sample.rows() {
        let varying = varying(sample, background, row);
        let samples = samples(settings, varying.len());
        total += 1 + coalitions::count(varying.len(), samples) * background.rows();
        if !rows.is_empty() && total > limit {
            break;
        }
        rows.push((row, varying, samples));
    }
    rows.into_par_iter()
        .map(|(row, varying, samples)| {
            let mut random = Random::new(settings.seed, row as u64);
            let coalitions = Coalitions::new(varying.len(), samples, &mut random);
            Subject {
                row,
                varying,
                coalitions,
            }
        })
        .collect()
}

/// The features whose text differs from that of a background row. (The `shap` package also ignores
/// differences of numbers below 0.001 %.)
fn varying(sample: &Table, background: &Table, row: usize) -> Vec<usize> {
    let differs = |column: &usize| {
        let cell = sample.cell(row, *column);
        (0..background.rows()).any(|other| background.cell(other, *column) != cell)
    };
    (0..sample.columns().len()).filter(differs).collect()
}

/// Number of coalitions for a row with this number of features.
fn samples(settings: &Settings, features: usize) -> usize {
    settings.num_samples.unwrap_or(2048 + 2 * features)
}

/// The attributions of one row: outputs × features. `values` has the outputs for the row, then those
/// for each coalition.
fn attributions(
    subject: &Subject,
    values: &[f64],
    expected: &[f64],
    link: Link,
    features: usize,
) -> Result<Vec<f64>, DataError> {
    let outputs = expected.len();
    let mut attributions = vec![0.0; outputs * features];
    let coalitions = &subject.coalitions;
    let equations = (coalitions.len() > 0).then(|| Equations::new(coalitions));
    for (output, expected) in expected.iter().enumerate() {
        let mut differences = values
            .iter()
            .skip(output)
            .step_by(outputs)
            .map(|value| Ok(link.apply(*value)? - expected));
        let total = differences.next().unwrap_or(Ok(0.0))?;
        let solution = match &equations {
            Some(equations) => {
                let differences = differences.collect::<Result<Vec<_>, DataError>>()?;
                equations.solve(coalitions, &differences, total)
            }
            // A single feature has the entire effect.
            None => vec![total; subject.varying.len()],
        };
        for (feature, value) in subject.varying.iter().zip(solution) {
            attributions[output * features + feature] = value;
        }
    }
    Ok(attributions)
}

/// The function of a prediction that is explained.
#[derive(Debug, Clone, Copy)]
struct Link {
    logit: bool,
}

impl Link {
    fn apply(self, prediction: f64) -> Result<f64, DataError> {
        if !self.logit {
            return Ok(prediction);
        }
        if prediction > 0.0 && prediction < 1.0 {
            return Ok((prediction / (1.0 - prediction)).ln());
        }
        let message = format!(
            "use_logit needs predictions between 0 and 1 (both exclusive), but one is {prediction}"
        );
        Err(DataError::new("predictions", message))
    }
}

#[cfg(test)]
mod tests;
