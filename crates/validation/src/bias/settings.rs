//! What to analyze: the columns, the groups, the favorable outcome and the metrics.

use mlops_core::quote::short;

use super::metrics::Metric;
use super::selection::{MAX_VALUES, Selection};

/// Maximum number of facets; each is counted separately.
const MAX_FACETS: usize = 32;

/// Maximum number of names in [`Settings::headers`], and of columns in [`Settings::ignored`].
pub const MAX_COLUMNS: usize = 16 * 1024;

/// A column of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// By name.
    Name(String),
    /// By position, from 0. In captured traffic, output columns come first.
    Index(usize),
}

impl Column {
    /// Returns the position among the columns of a source; `None` if it is not one of them.
    pub(super) fn place(&self, names: &[String]) -> Option<usize> {
        match self {
            Self::Name(name) => names.iter().position(|known| known == name),
            Self::Index(index) => (*index < names.len()).then_some(*index),
        }
    }

    /// The name, or a placeholder for a position.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Index(index) => format!("column_{index}"),
        }
    }
}

/// Where predictions are.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// A column of predicted labels: values, or numbers if the favorable outcome is a threshold.
    Label(Column),
    /// A column with the probability of the positive class of a binary classifier. The predicted
    /// label is 1 above the threshold and 0 otherwise, so the outcome is reversed if 0, and not 1, is
    /// a favorable value.
    Probability {
        /// The column.
        column: Column,
        /// The threshold (AWS's default is 0.5). Unverified against AWS [probability-equal]: a
        /// probability equal to the threshold predicts 0.
        threshold: f64,
    },
}

impl Prediction {
    /// The column.
    pub fn column(&self) -> &Column {
        match self {
            Self::Label(column) | Self::Probability { column, .. } => column,
        }
    }
}

/// A facet: an attribute whose groups are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct FacetSettings {
    /// The attribute's column.
    pub column: Column,
    /// The disadvantaged group, compared with all other rows.
    pub selection: Selection,
}

/// The settings of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The column of labels; without it, only metrics of predictions are computed.
    pub label: Option<Column>,
    /// The predictions; without them, only pre-training metrics are computed.
    pub prediction: Option<Prediction>,
    /// The favorable values of label and predicted label, or the threshold above which they are
    /// favorable.
    pub favorable: Selection,
    /// The facets, in the order of the report.
    pub facets: Vec<FacetSettings>,
    /// The column whose values are the strata of CDDL and CDDPL.
    pub group: Option<Column>,
    /// Columns that are not features of the flip test (`joinsource_name_or_index`,
    /// `excluded_columns`).
    pub ignored: Vec<Column>,
    /// The names of the columns of CSV without a header, and of unnamed values in captured traffic
    /// (the features in order, without label and prediction); empty if the data has names.
    pub headers: Vec<String>,
    /// Pre-training metrics to compute; requires labels.
    pub pre_training: Vec<Metric>,
    /// Post-training metrics to compute; requires predictions, and labels if one of them compares
    /// both.
    pub post_training: Vec<Metric>,
    /// Confidence level of the intervals, between 0 and 1.
    pub confidence: f64,
}

/// The confidence level of intervals by default.
pub const CONFIDENCE: f64 = 0.95;

impl Default for Settings {
    fn default() -> Self {
        Self {
            label: None,
            prediction: None,
            favorable: Selection::Values(Vec::new()),
            facets: Vec::new(),
            group: None,
            ignored: Vec::new(),
            headers: Vec::new(),
            pre_training: Metric::PRE_TRAINING.to_vec(),
            post_training: Metric::POST_TRAINING.to_vec(),
            confidence: CONFIDENCE,
        }
    }
}

impl Settings {
    /// The predictions, if a metric needs them.
    pub(super) fn used_prediction(&self) -> Option<&Prediction> {
        let prediction = self.prediction.as_ref();
        prediction.filter(|_| !self.post_training.is_empty())
    }

    /// The names in `headers` other than label and prediction.
    pub(super) fn features(&self) -> Vec<&str> {
        let prediction = self.prediction.as_ref().map(Prediction::column);
        let other = [self.label.as_ref(), prediction];
        let is_other = |name: &String| {
            let mut other = other.iter().flatten();
            other.any(|column| matches!(column, Column::Name(other) if other == name))
        };
        let names = self.headers.iter();
        names
            .filter(|name| !is_other(name))
            .map(String::as_str)
            .collect()
    }

    /// Checks that the settings describe an analysis.
    ///
    /// # Errors
    /// The first setting that is missing, contradictory or out of range.
    pub fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        if self.facets.is_empty() {
            return Err("no facet: name the column whose groups to compare".to_owned());
        }
        if self.facets.len() > MAX_FACETS {
            return Err(format!("more than {MAX_FACETS} facets"));
        }
        if self.pre_training.is_empty() && self.post_training.is_empty() {
            return Err("nothing to compute: name a label or predictions, and metrics".to_owned());
        }
        if !self.pre_training.is_empty() && self.label.is_none() {
            return Err("pre-training metrics need labels: name their column".to_owned());
        }
        if !self.post_training.is_empty() && self.prediction.is_none() {
            return Err("post-training metrics need predictions: name their column".to_owned());
        }
        let mut post = self.post_training.iter();
        if let Some(metric) = post.find(|metric| self.label.is_none() && metric.needs_labels()) {
            return Err(format!(
                "{metric} compares predictions with labels: name the label"
            ));
        }
        if let Some(metric) = self
            .pre_training
            .iter()
            .find(|m| !Metric::PRE_TRAINING.contains(m))
        {
            return Err(format!("{metric} is not a pre-training metric"));
        }
        if let Some(metric) = self
            .post_training
            .iter()
            .find(|m| !Metric::POST_TRAINING.contains(m))
        {
            return Err(format!("{metric} is not a post-training metric"));
        }
        match &self.favorable {
            Selection::Each => {
                return Err("no favorable values of the label, and no threshold".to_owned());
            }
            Selection::Values(values) if values.is_empty() => {
                return Err("no favorable values of the label, and no threshold".to_owned());
            }
            Selection::Above(threshold) if !threshold.is_finite() => {
                return Err("the label's threshold is not finite".to_owned());
            }
            _ => {}
        }
        if let Some(Prediction::Probability { threshold, .. }) = &self.prediction
            && !(0.0..=1.0).contains(threshold)
        {
            return Err(format!(
                "the probability threshold {threshold} is not between 0 and 1"
            ));
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(format!(
                "the confidence level {} is not between 0 and 1",
                self.confidence
            ));
        }
        self.check_columns()
    }

    /// Refuses lists that are too long.
    ///
    /// # Errors
    /// The first list with more than [`MAX_COLUMNS`] columns or [`MAX_VALUES`] values.
    pub(super) fn check_sizes(&self) -> Result<(), String> {
        let names = self.headers.len();
        if names > MAX_COLUMNS {
            return Err(format!(
                "`headers` has {names} names, but at most {MAX_COLUMNS} are supported"
            ));
        }
        let ignored = self.ignored.len();
        if ignored > MAX_COLUMNS {
            return Err(format!(
                "{ignored} columns are excluded, but at most {MAX_COLUMNS} are supported"
            ));
        }
        let limited = |what: &str, selection: &Selection| match selection {
            Selection::Values(values) if values.len() > MAX_VALUES => Err(format!(
                "{what} has {} values, but at most {MAX_VALUES} are supported",
                values.len()
            )),
            _ => Ok(()),
        };
        limited("the favorable outcome", &self.favorable)?;
        self.facets.iter().try_for_each(|facet| {
            let name = short(&facet.column.label());
            limited(&format!("the facet `{name}`"), &facet.selection)
        })
    }

    fn check_columns(&self) -> Result<(), String> {
        let prediction = self.prediction.as_ref().map(Prediction::column);
        let outcome = [("label", self.label.as_ref()), ("prediction", prediction)];
        for (index, facet) in self.facets.iter().enumerate() {
            let name = facet.column.label();
            if self.facets[..index]
                .iter()
                .any(|other| other.column == facet.column)
            {
                return Err(format!("the facet `{name}` occurs twice"));
            }
            if let Some((role, _)) = outcome
                .iter()
                .find(|(_, column)| *column == Some(&facet.column))
            {
                return Err(format!("the facet `{name}` is also the {role}"));
            }
            match &facet.selection {
                Selection::Above(threshold) if !threshold.is_finite() => {
                    return Err(format!("the threshold of the facet `{name}` is not finite"));
                }
                Selection::Values(values) if values.is_empty() => {
                    return Err(format!("the facet `{name}` has no values"));
                }
                _ => {}
            }
        }
        if self.label.is_some() && self.label.as_ref() == prediction {
            return Err("label and prediction are the same column".to_owned());
        }
        Ok(())
    }
}
