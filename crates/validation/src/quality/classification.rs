//! The metrics of a classification, as Spark's `MulticlassMetrics` defines them, on which AWS's
//! analyzer is built: a precision without predictions of the class is 0, an F-score of 0 and 0 is 0,
//! a rate of no rows is not a number, and weighted metrics are averages by the labels' frequencies.
//!
//! The best constant classifier always predicts the class that the model predicts most often. This
//! is what AWS's figures show: 185 of 201 predictions are 0 in binary-churn, whose
//! `recall_best_constant_classifier` is 0 and `accuracy_best_constant_classifier` 0.860697 = 173/201;
//! 107 of 201 are 0 in binary-internet-churn, where 1 is the more frequent label and the accuracy
//! 0.457711 = 92/201; all are 1 in binary-no-probability, with a recall of 1. The developer guide's
//! multiclass example differs.

use mlops_core::quote::short;
use serde_json::{Map, Value, json};

use super::confusion::{Confusion, Matrix};
use super::curve::Curves;
use super::sample::SAMPLES;
use super::values::{NEGATIVE, POSITIVE};
use super::{Metrics, finite, metric};

/// Maximum number of bytes of all names in a confusion matrix, which has every name once per class:
/// for 1000 classes, names may have 33 bytes on average.
const MAX_MATRIX: usize = 32 * 1024 * 1024;

/// The code and the name of each class, in the order of the confusion matrix: by number, or by text
/// if any of them is not a number.
pub(super) struct Named {
    pub(super) codes: Vec<u32>,
    pub(super) names: Vec<String>,
}

impl Named {
    /// The classes that occur.
    fn of(confusion: &Confusion, names: &[String], also: &[u32]) -> Self {
        let mut codes = confusion.classes().clone();
        codes.extend(also);
        let mut classes: Vec<(u32, &str)> = codes
            .into_iter()
            .filter_map(|code| Some((code, names.get(code as usize)?.as_str())))
            .collect();
        let number = |name: &str| name.parse::<f64>().ok().filter(|number| number.is_finite());
        if classes.iter().all(|(_, name)| number(name).is_some()) {
            classes.sort_by(|a, b| {
                let order = number(a.1).partial_cmp(&number(b.1));
                order
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then(a.1.cmp(b.1))
            });
        } else {
            classes.sort_by_key(|(_, name)| *name);
        }
        classes.dedup();
        Self {
            codes: classes.iter().map(|(code, _)| *code).collect(),
            names: classes.iter().map(|(_, name)| (*name).to_owned()).collect(),
        }
    }

    /// The classes of a binary classification: negative, then positive. 0 and `false` are negative, 1
    /// and `true` positive; of two other classes, the second one is positive.
    ///
    /// unverified against AWS [binary-classes]: the order of classes that are not 0 and 1.
    ///
    /// # Errors
    /// More than two classes.
    pub(super) fn binary(confusion: &Confusion, names: &[String]) -> Result<Self, String> {
        let mut found = Self::of(confusion, names, &[]);
        let one_of_both = found
            .codes
            .iter()
            .all(|code| [NEGATIVE, POSITIVE].contains(code));
        match found.codes.len() {
            _ if one_of_both => found = Self::of(confusion, names, &[NEGATIVE, POSITIVE]),
            // A class alone is the positive one; the other is 0.
            1 if !found.codes.contains(&NEGATIVE) => {
                found.codes.insert(0, NEGATIVE);
                found.names.insert(0, "0".to_owned());
            }
            2 => {}
            _ => {
                let shown: Vec<String> = found
                    .names
                    .iter()
                    .take(5)
                    .map(|name| format!("`{}`", short(name)))
                    .collect();
                return Err(format!(
                    "BinaryClassification has two classes, and the data has {}: {} (predictions from a \
                     probability are 0 and 1, and labels must be, too)",
                    found.names.len(),
                    shown.join(", ")
                ));
            }
        }
        Ok(found)
    }

    /// Any number of classes.
    ///
    /// # Errors
    /// The confusion matrix would have more than [`MAX_MATRIX`] bytes of names.
    pub(super) fn multiclass(confusion: &Confusion, names: &[String]) -> Result<Self, String> {
        let found = Self::of(confusion, names, &[]);
        let classes = found.names.len();
        let bytes: usize = found.names.iter().map(String::len).sum();
        if bytes * classes > MAX_MATRIX {
            return Err(format!(
                "{classes} classes with names of {} bytes on average make a confusion matrix too \
                 large: use shorter names, such as numbers",
                bytes / classes
            ));
        }
        Ok(found)
    }

    /// `{"label":{"prediction":count}}`.
    fn matrix(&self, counts: &Matrix) -> Value {
        let row = |counts: &Vec<u64>| -> Map<String, Value> {
            let cells = self.names.iter().cloned().zip(counts);
            cells.map(|(name, count)| (name, json!(count))).collect()
        };
        let rows = self.names.iter().cloned().zip(counts);
        Value::Object(
            rows.map(|(name, counts)| (name, Value::Object(row(counts))))
                .collect(),
        )
    }
}

/// The members of `binary_classification_metrics`, in AWS's order. Without probabilities there are
/// neither curves nor areas (binary-no-probability).
pub(super) fn binary(
    confusion: &Confusion,
    classes: &Named,
    curves: Option<Curves>,
    rows: u64,
) -> Metrics {
    const MAIN: [&str; 10] = [
        "recall",
        "precision",
        "accuracy",
        "recall_best_constant_classifier",
        "precision_best_constant_classifier",
        "accuracy_best_constant_classifier",
        "true_positive_rate",
        "true_negative_rate",
        "false_positive_rate",
        "false_negative_rate",
    ];
    const SCORES: [&str; 6] = [
        "f0_5",
        "f1",
        "f2",
        "f0_5_best_constant_classifier",
        "f1_best_constant_classifier",
        "f2_best_constant_classifier",
    ];
    let (all, samples) = confusion.matrices(&classes.codes);
    let constant = most_predicted(&all);
    let of_all = rates(&all, constant);
    let of_samples: [_; SAMPLES] = std::array::from_fn(|sample| rates(&samples[sample], constant));
    let value = |index: usize| {
        metric(
            of_all[index],
            std::array::from_fn(|sample| of_samples[sample][index]),
            rows,
        )
    };
    let mut metrics = Map::new();
    metrics.insert("confusion_matrix".to_owned(), classes.matrix(&all));
    for (index, name) in MAIN.iter().enumerate() {
        metrics.insert((*name).to_owned(), value(index));
    }
    if let Some(curves) = curves {
        let list = |values: Vec<f64>| values.into_iter().map(finite).collect::<Vec<_>>();
        let area = |areas: [f64; SAMPLES + 1]| {
            metric(
                areas[0],
                std::array::from_fn(|sample| areas[sample + 1]),
                rows,
            )
        };
        metrics.insert(
            "receiver_operating_characteristic_curve".to_owned(),
            json!({"false_positive_rates": list(curves.false_positive_rates),
                "true_positive_rates": list(curves.true_positive_rates)}),
        );
        metrics.insert(
            "precision_recall_curve".to_owned(),
            json!({"precisions": list(curves.precisions), "recalls": list(curves.recalls)}),
        );
        metrics.insert("auc".to_owned(), area(curves.auc));
        metrics.insert("au_prc".to_owned(), area(curves.au_prc));
    }
    for (index, name) in SCORES.iter().enumerate() {
        metrics.insert((*name).to_owned(), value(MAIN.len() + index));
    }
    metrics
}

/// The metrics of [`binary`] except the areas, in the same order.
fn rates(matrix: &Matrix, constant: usize) -> [f64; 16] {
    let [tn, fp, fn_, tp] = [matrix[0][0], matrix[0][1], matrix[1][0], matrix[1][1]];
    let all = tn + fp + fn_ + tp;
    let (negative, positive) = (tn + fp, fn_ + tp);
    let recall = ratio(tp, positive);
    let precision = precision(tp, tp + fp);
    let false_positive = ratio(fp, negative);
    let (constant_recall, constant_precision, constant_accuracy) = if constant == 1 {
        (
            ratio(positive, positive),
            ratio(positive, all),
            ratio(positive, all),
        )
    } else {
        (ratio(0, positive), 0.0, ratio(negative, all))
    };
    let score = |beta: f64| f_score(beta, precision, recall);
    let constant_score = |beta: f64| f_score(beta, constant_precision, constant_recall);
    [
        recall,
        precision,
        ratio(tp + tn, all),
        constant_recall,
        constant_precision,
        constant_accuracy,
        recall,
        1.0 - false_positive,
        false_positive,
        1.0 - recall,
        score(0.5),
        score(1.0),
        score(2.0),
        constant_score(0.5),
        constant_score(1.0),
        constant_score(2.0),
    ]
}

/// The members of `multiclass_classification_metrics`, in AWS's order.
pub(super) fn multiclass(confusion: &Confusion, classes: &Named, rows: u64) -> Metrics {
    const NAMES: [&str; 6] = [
        "accuracy",
        "weighted_recall",
        "weighted_precision",
        "weighted_f0_5",
        "weighted_f1",
        "weighted_f2",
    ];
    let (all, samples) = confusion.matrices(&classes.codes);
    let constant = most_predicted(&all);
    let mut metrics = Map::new();
    metrics.insert("confusion_matrix".to_owned(), classes.matrix(&all));
    let mut insert = |suffix: &str, of: &dyn Fn(&Matrix) -> [f64; 6]| {
        let of_all = of(&all);
        let of_samples: [_; SAMPLES] = std::array::from_fn(|sample| of(&samples[sample]));
        for (index, name) in NAMES.iter().enumerate() {
            let samples = std::array::from_fn(|sample| of_samples[sample][index]);
            metrics.insert(
                format!("{name}{suffix}"),
                metric(of_all[index], samples, rows),
            );
        }
    };
    insert("", &weighted);
    insert("_best_constant_classifier", &|matrix| {
        weighted(&constant_matrix(matrix, constant))
    });
    metrics
}

/// The matrix of a classifier that always predicts one class.
fn constant_matrix(matrix: &Matrix, constant: usize) -> Matrix {
    let row = |counts: &Vec<u64>| {
        let mut row = vec![0; counts.len()];
        if let Some(cell) = row.get_mut(constant) {
            *cell = counts.iter().sum();
        }
        row
    };
    matrix.iter().map(row).collect()
}

fn weighted(matrix: &Matrix) -> [f64; 6] {
    let all: u64 = matrix.iter().flatten().sum();
    let mut predicted = vec![0_u64; matrix.len()];
    for row in matrix {
        for (sum, count) in predicted.iter_mut().zip(row) {
            *sum += count;
        }
    }
    let right: u64 = (0..matrix.len()).map(|class| matrix[class][class]).sum();
    let mut metrics = [ratio(right, all), 0.0, 0.0, 0.0, 0.0, 0.0];
    for (class, row) in matrix.iter().enumerate() {
        let labels: u64 = row.iter().sum();
        if labels == 0 {
            continue;
        }
        let weight = ratio(labels, all);
        let recall = ratio(row[class], labels);
        let precision = precision(row[class], predicted[class]);
        let of_class = [
            recall,
            precision,
            f_score(0.5, precision, recall),
            f_score(1.0, precision, recall),
            f_score(2.0, precision, recall),
        ];
        for (sum, value) in metrics[1..].iter_mut().zip(of_class) {
            *sum += value * weight;
        }
    }
    metrics
}

/// The index of the class that is predicted most often; of several, the first one.
fn most_predicted(matrix: &Matrix) -> usize {
    let predicted = |class: usize| matrix.iter().map(|row| row[class]).sum::<u64>();
    let classes = (0..matrix.len()).rev();
    classes.max_by_key(|class| predicted(*class)).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn ratio(part: u64, all: u64) -> f64 {
    part as f64 / all as f64
}

fn precision(right: u64, predicted: u64) -> f64 {
    if predicted == 0 {
        0.0
    } else {
        ratio(right, predicted)
    }
}

fn f_score(beta: f64, precision: f64, recall: f64) -> f64 {
    let square = beta * beta;
    if precision + recall == 0.0 {
        0.0
    } else {
        (1.0 + square) * precision * recall / (square * precision + recall)
    }
}
