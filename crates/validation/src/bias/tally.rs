//! Counts the rows of each combination of facet value, label, prediction and group while they are
//! read. Every metric but the flip test is a function of these counts, so memory depends on the number
//! of combinations and not of rows.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use mlops_core::quote::short;

use super::flip::{Flips, Sample};
use super::metrics::{Cells, Counts, Metric, Predicted};
use super::rows::Rows;
use super::selection::{Classifier, Group, Selection, bounded, numeric};
use super::settings::{Column, Prediction, Settings};

/// Maximum number of values of the group variable.
const MAX_STRATA: usize = 65_536;

/// Maximum number of combinations that are counted, over all facets: about 64 MiB.
const MAX_COMBINATIONS: usize = 1_000_000;

/// Maximum number of groups of all facets, times the values of the group variable. Metrics and intervals
/// take time in proportion to it.
pub(super) const MAX_GROUPED: usize = 4 * 1024 * 1024;

/// The stratum of rows without a value of the group variable.
const NO_STRATUM: u32 = u32::MAX;

/// The class of a missing prediction.
const NO_PREDICTION: u32 = u32::MAX;

/// A combination of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    facet: u32,
    stratum: u32,
    label: u32,
    predicted: u32,
}

/// Places of the wanted columns among the cells of a row; `None` if the source lacks the column.
#[derive(Debug, Default)]
struct Layout {
    label: Option<usize>,
    predicted: Option<usize>,
    group: Option<usize>,
    facets: Vec<Option<usize>>,
    /// Features of the flip test: their index in the sample, and the place.
    features: Vec<(usize, usize)>,
}

/// One facet.
#[derive(Debug)]
struct FacetTally {
    name: String,
    classifier: Classifier,
    counts: HashMap<Key, u64>,
    missing: u64,
}

/// Rows that did not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Rows without a label.
    pub no_label: u64,
    /// Rows without a prediction; they count for pre-training metrics only.
    pub no_prediction: u64,
    /// Rows without a value of a facet, by facet.
    pub no_facet: Vec<(String, u64)>,
}

/// The counts while rows are read.
pub(super) struct Tally<'a> {
    settings: &'a Settings,
    ignored: Ignored<'a>,
    layout: Layout,
    /// The roles whose column has been found in some source.
    found: Found,
    label: Option<Classifier>,
    predicted: Option<Classifier>,
    facets: Vec<FacetTally>,
    strata: HashMap<String, u32>,
    combinations: usize,
    sample: Option<Sample>,
    rows: u64,
    skipped: Skipped,
}

/// The columns that are not features of the flip test.
struct Ignored<'a> {
    names: HashSet<&'a str>,
    positions: HashSet<usize>,
}

impl<'a> Ignored<'a> {
    fn new(columns: &'a [Column]) -> Self {
        let names = columns.iter().filter_map(|column| match column {
            Column::Name(name) => Some(name.as_str()),
            Column::Index(_) => None,
        });
        let positions = columns.iter().filter_map(|column| match column {
            Column::Name(_) => None,
            Column::Index(index) => Some(*index),
        });
        Self {
            names: names.collect(),
            positions: positions.collect(),
        }
    }

    fn has(&self, index: usize, name: &str) -> bool {
        self.names.contains(name) || self.positions.contains(&index)
    }
}

/// Which columns have been found, and the last source's columns, for the error if one has not.
#[derive(Debug, Default)]
struct Found {
    label: bool,
    predicted: bool,
    group: bool,
    facets: Vec<bool>,
    names: Vec<String>,
    /// The name of the label, or of the prediction without labels.
    outcome: String,
}

/// One group of a facet, counted.
pub(super) struct GroupCounts {
    pub(super) text: String,
    pub(super) counts: Counts,
    /// The flip test, if it was requested.
    pub(super) flips: Option<Result<Flips, String>>,
}

/// The finished counts. Those of a group are added up when they are needed, because each has counts of
/// every stratum.
pub(super) struct Tallied {
    /// Rows that were read.
    pub(super) rows: u64,
    pub(super) skipped: Skipped,
    /// The column of labels, or of predictions if there are no labels.
    pub(super) label: String,
    /// The favorable labels, as text.
    pub(super) label_text: String,
    /// The favorable predictions, as text.
    pub(super) predicted_text: String,
    /// The facets and their groups.
    pub(super) facets: Vec<TalliedFacet>,
    outcome: Outcome,
    sample: Option<Sample>,
}

/// A facet and its groups.
pub(super) struct TalliedFacet {
    pub(super) name: String,
    groups: Vec<Group>,
    counts: HashMap<Key, u64>,
}

impl Tallied {
    /// Number of groups of all facets.
    pub(super) fn group_count(&self) -> usize {
        self.facets.iter().map(|facet| facet.groups.len()).sum()
    }

    /// The counts of the groups of the facet at this index, one after another.
    pub(super) fn groups(&self, index: usize) -> impl Iterator<Item = GroupCounts> {
        let facets = self.facets.get(index).into_iter();
        facets.flat_map(move |facet| {
            facet.groups.iter().map(move |group| GroupCounts {
                text: group.text.clone(),
                counts: self.outcome.counts(&facet.counts, group),
                flips: self.sample.as_ref().map(|sample| {
                    let positive = |class| self.outcome.predicted(class);
                    sample.flips(index, &facet.name, |class| group.has(class), positive)
                }),
            })
        })
    }
}

impl<'a> Tally<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        let favorable = || Classifier::new(settings.favorable.clone());
        let facets = settings.facets.iter().map(|facet| FacetTally {
            name: facet.column.label(),
            classifier: Classifier::new(facet.selection.clone()),
            counts: HashMap::new(),
            missing: 0,
        });
        Self {
            settings,
            ignored: Ignored::new(&settings.ignored),
            layout: Layout::default(),
            found: Found {
                facets: vec![false; settings.facets.len()],
                ..Found::default()
            },
            label: settings.label.as_ref().map(|_| favorable()),
            predicted: settings.used_prediction().map(|_| favorable()),
            facets: facets.collect(),
            strata: HashMap::new(),
            combinations: 0,
            sample: settings
                .post_training
                .contains(&Metric::FT)
                .then(Sample::new),
            rows: 0,
            skipped: Skipped::default(),
        }
    }

    /// Returns whether no row has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the class of a row's prediction.
    fn prediction(&mut self, text: Option<&str>) -> Result<u32, String> {
        let (Some(text), Some(classifier)) = (text, &mut self.predicted) else {
            return Ok(NO_PREDICTION);
        };
        match self.settings.used_prediction() {
            Some(Prediction::Probability { threshold, .. }) => {
                let (value, _) = numeric(text)
                    .ok_or_else(|| format!("the probability `{}` is not a number", short(text)))?;
                Ok(u32::from(value > *threshold))
            }
            _ => classifier.classify(text),
        }
    }

    fn stratum(&mut self, text: Option<&str>) -> Result<u32, String> {
        let Some(text) = text else {
            return Ok(NO_STRATUM);
        };
        if let Some(stratum) = self.strata.get(text) {
            return Ok(*stratum);
        }
        bounded(text).map_err(|error| format!("the group variable has {error}"))?;
        if self.strata.len() == MAX_STRATA {
            return Err(format!(
                "the group variable has more than {MAX_STRATA} values: choose a column of categories"
            ));
        }
        let stratum = u32::try_from(self.strata.len()).unwrap_or(NO_STRATUM);
        self.strata.insert(text.to_owned(), stratum);
        Ok(stratum)
    }

    /// Ends the counts.
    ///
    /// # Errors
    /// A column was not found in any source, or has no values; or there are more groups and strata than
    /// [`MAX_GROUPED`].
    pub(super) fn finish(mut self) -> Result<Tallied, String> {
        self.check_found()?;
        let labels = self.label.as_ref().map(|label| label.groups(None));
        let both = match (
            &self.label,
            &self.predicted,
            self.settings.used_prediction(),
        ) {
            (Some(label), predicted, Some(Prediction::Label(_))) => {
                label.groups(predicted.as_ref())
            }
            (Some(label), _, _) => label.groups(None),
            (None, Some(predicted), _) => predicted.groups(None),
            (None, None, _) => Vec::new(),
        };
        let labels = labels.unwrap_or_else(|| both.clone());
        let (Some(label), Some(predicted)) = (labels.into_iter().next(), both.into_iter().next())
        else {
            return Err("no favorable outcome".to_owned());
        };
        let missing = self.facets.iter().filter(|facet| facet.missing > 0);
        self.skipped.no_facet = missing
            .map(|facet| (facet.name.clone(), facet.missing))
            .collect();
        let mut facets = Vec::with_capacity(self.facets.len());
        for facet in self.facets {
            let groups = facet.classifier.groups(None);
            if groups.is_empty() {
                return Err(format!("the facet `{}` has no values", facet.name));
            }
            facets.push(TalliedFacet {
                name: facet.name,
                groups,
                counts: facet.counts,
            });
        }
        let tallied = Tallied {
            rows: self.rows,
            label: self.found.outcome,
            label_text: label.text.clone(),
            predicted_text: predicted.text.clone(),
            facets,
            skipped: self.skipped,
            outcome: Outcome {
                label: self.label.is_some().then_some(label),
                predicted,
                reversed: reversed(self.settings),
                ranks: ranks(&self.strata),
            },
            sample: self.sample,
        };
        grouped(tallied.group_count(), self.strata.len())?;
        Ok(tallied)
    }

    /// Refuses data without a configured column.
    fn check_found(&self) -> Result<(), String> {
        let prediction = self.settings.used_prediction().map(Prediction::column);
        let facets = self.settings.facets.iter().map(|facet| &facet.column);
        let facets = facets
            .zip(&self.found.facets)
            .map(|(column, found)| ("facet", Some(column), *found));
        let others = [
            ("label", self.settings.label.as_ref(), self.found.label),
            ("prediction", prediction, self.found.predicted),
            (
                "group variable",
                self.settings.group.as_ref(),
                self.found.group,
            ),
        ];
        for (role, column, found) in others.into_iter().chain(facets) {
            if let (Some(column), false) = (column, found) {
                let names: Vec<String> =
                    self.found.names.iter().take(20).map(|n| short(n)).collect();
                return Err(format!(
                    "the data has no column `{}` ({role}); its columns are {}",
                    column.label(),
                    names.join(", ")
                ));
            }
        }
        if self.settings.label.is_some() && self.skipped.no_label == self.rows {
            return Err("no row has a label: has the ground truth been merged?".to_owned());
        }
        Ok(())
    }
}

/// Refuses more groups and strata than [`MAX_GROUPED`].
fn grouped(groups: usize, strata: usize) -> Result<(), String> {
    if groups.saturating_mul(strata) > MAX_GROUPED {
        return Err(format!(
            "{groups} groups of facets and {strata} values of the group variable: their product is \
             limited to {MAX_GROUPED}; choose a group variable with fewer values, or name the groups"
        ));
    }
    Ok(())
}

/// Returns whether a predicted 0 is favorable, and a predicted 1 is not.
fn reversed(settings: &Settings) -> bool {
    if !matches!(settings.prediction, Some(Prediction::Probability { .. })) {
        return false;
    }
    let has = |number: f64| {
        let is = |text: &str| numeric(text).is_some_and(|(value, _)| (value - number).abs() == 0.0);
        match &settings.favorable {
            Selection::Values(values) => values.iter().any(|value| is(value.text())),
            Selection::ValueOrThreshold(value) => is(value.text()),
            _ => false,
        }
    };
    has(0.0) && !has(1.0)
}

/// Which classes of label and prediction are favorable.
struct Outcome {
    label: Option<Group>,
    predicted: Group,
    reversed: bool,
    /// The place of each stratum in the order of their texts, so that sums of the same rows in another
    /// order are the same.
    ranks: Vec<usize>,
}

/// The rank of each stratum by its text.
fn ranks(strata: &HashMap<String, u32>) -> Vec<usize> {
    let mut texts: Vec<(&String, u32)> = strata.iter().map(|(text, id)| (text, *id)).collect();
    texts.sort_unstable();
    let mut ranks = vec![0; texts.len()];
    for (rank, (_, id)) in texts.iter().enumerate() {
        if let Some(place) = usize::try_from(*id).ok().and_then(|id| ranks.get_mut(id)) {
            *place = rank;
        }
    }
    ranks
}

impl Outcome {
    fn predicted(&self, class: u32) -> Predicted {
        match class {
            NO_PREDICTION => Predicted::Missing,
            class if self.predicted.has(class) != self.reversed => Predicted::Positive,
            _ => Predicted::Negative,
        }
    }

    /// Adds up the counts for one group of a facet.
    fn counts(&self, counted: &HashMap<Key, u64>, group: &Group) -> Counts {
        let mut counts = Counts {
            all: Cells::default(),
            groups: vec![Cells::default(); self.ranks.len()],
        };
        for (key, count) in counted {
            let label = self.label.as_ref();
            let label = label.is_some_and(|label| label.has(key.label));
            let cell = Cells::index(group.has(key.facet), label, self.predicted(key.predicted));
            counts.all.0[cell] += count;
            let stratum = usize::try_from(key.stratum).ok();
            if let Some(rank) = stratum.and_then(|stratum| self.ranks.get(stratum)) {
                counts.groups[*rank].0[cell] += count;
            }
        }
        counts
    }
}

impl Rows for Tally<'_> {
    fn layout(&mut self, names: &[String], features: Range<usize>) -> Result<Vec<usize>, String> {
        let settings = self.settings;
        let place = |column: Option<&Column>| column.and_then(|column| column.place(names));
        let label = place(settings.label.as_ref());
        let predicted = place(settings.prediction.as_ref().map(Prediction::column));
        let group = place(settings.group.as_ref());
        let facets: Vec<Option<usize>> = settings
            .facets
            .iter()
            .map(|facet| place(Some(&facet.column)))
            .collect();
        self.found.label |= label.is_some();
        self.found.predicted |= predicted.is_some();
        self.found.group |= group.is_some();
        for (index, facet) in facets.iter().enumerate() {
            self.found.facets[index] |= facet.is_some();
            if let Some(at) = facet {
                self.facets[index].name.clone_from(&names[*at]);
            }
        }
        let outcome = if settings.label.is_some() {
            label
        } else {
            predicted
        };
        if let Some(at) = outcome {
            self.found.outcome.clone_from(&names[at]);
        }
        self.found.names = names.to_vec();
        let mut wanted: Vec<usize> = [label, predicted, group].into_iter().flatten().collect();
        wanted.extend(facets.iter().flatten());
        let ignored = &self.ignored;
        let own = features.filter(|index| {
            let outcome = Some(*index) == label || Some(*index) == predicted;
            !outcome && !ignored.has(*index, &names[*index])
        });
        let features: Vec<(usize, usize)> = match &mut self.sample {
            Some(sample) => own
                .map(|index| Ok((sample.feature(&names[index])?, index)))
                .collect::<Result<_, String>>()?,
            None => Vec::new(),
        };
        wanted.extend(features.iter().map(|(_, index)| index));
        wanted.sort_unstable();
        wanted.dedup();
        let cell = |index: Option<usize>| wanted.binary_search(&index?).ok();
        self.layout = Layout {
            label: cell(label),
            predicted: cell(predicted),
            group: cell(group),
            facets: facets.into_iter().map(cell).collect(),
            features: features
                .into_iter()
                .filter_map(|(feature, index)| Some((feature, cell(Some(index))?)))
                .collect(),
        };
        Ok(wanted)
    }

    fn row(&mut self, cells: &[Option<&str>]) -> Result<(), String> {
        self.rows += 1;
        let at = |place: Option<usize>| place.and_then(|place| cells[place]);
        let label = match (&mut self.label, at(self.layout.label)) {
            (None, _) => 0,
            (Some(classifier), Some(text)) => classifier.classify(text)?,
            (Some(_), None) => {
                self.skipped.no_label += 1;
                return Ok(());
            }
        };
        let predicted = self.prediction(at(self.layout.predicted))?;
        let missing = predicted == NO_PREDICTION;
        self.skipped.no_prediction += u64::from(missing && self.predicted.is_some());
        let stratum = self.stratum(at(self.layout.group))?;
        let mut classes = Vec::with_capacity(self.facets.len());
        for (facet, place) in self.facets.iter_mut().zip(&self.layout.facets) {
            let Some(text) = at(*place) else {
                facet.missing += 1;
                classes.push(None);
                continue;
            };
            let class = facet
                .classifier
                .classify(text)
                .map_err(|error| format!("the facet `{}` has {error}", facet.name))?;
            classes.push(Some(class));
            let known = facet.counts.len();
            let key = Key {
                facet: class,
                stratum,
                label,
                predicted,
            };
            *facet.counts.entry(key).or_default() += 1;
            self.combinations += facet.counts.len() - known;
        }
        if self.combinations > MAX_COMBINATIONS {
            return Err(format!(
                "more than {MAX_COMBINATIONS} combinations of facet values and groups: choose a \
                 group variable with fewer values"
            ));
        }
        if let Some(sample) = &mut self.sample
            && !missing
        {
            let features = self.layout.features.iter();
            let values = features.map(|(feature, place)| (*feature, cells[*place]));
            sample.add(&classes, predicted, values);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_times_strata_are_limited() {
        grouped(64, MAX_STRATA).unwrap();
        let error = grouped(65, MAX_STRATA).unwrap_err();
        assert!(
            error.starts_with("65 groups of facets and 65536 values of the group variable"),
            "{error}"
        );
        assert!(error.contains("limited to 4194304"), "{error}");
    }

    #[test]
    fn ignored_columns_are_found_by_name_and_by_position() {
        let columns = [Column::Name("b".to_owned()), Column::Index(3)];
        let ignored = Ignored::new(&columns);
        let names = ["a", "b", "c", "d"].into_iter().enumerate();
        let found: Vec<bool> = names.map(|(at, name)| ignored.has(at, name)).collect();
        assert_eq!(found, [false, true, false, true]);
    }
}
