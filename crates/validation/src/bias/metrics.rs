//! The bias metrics of SageMaker Clarify, as functions of counts.
//!
//! `a` is the advantaged group (all rows outside of the facet's group), `d` the disadvantaged one
//! (the facet's group); n¹ and n⁰ are positive and negative labels, n̂¹ and n̂⁰ positive and negative
//! predictions. Formulas: "Pre-training Bias Metrics" and "Post-training Data and Model Bias
//! Metrics" in the SageMaker developer guide. Quotients: 0/0 is 0, and x/0 is infinite.

use std::fmt;

/// Number of counts in [`Cells`].
pub(super) const CELLS: usize = 12;

/// A bias metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Conditional demographic disparity in labels.
    CDDL,
    /// Class imbalance: the difference of the groups' rows, `a` − `d`, divided by all rows.
    CI,
    /// Difference in positive proportions in labels.
    DPL,
    /// Jensen–Shannon divergence of the labels, natural logarithm.
    JS,
    /// Kullback–Leibler divergence of the labels of `a` from those of `d`, natural logarithm.
    KL,
    /// Kolmogorov–Smirnov distance of the labels: the largest difference.
    KS,
    /// L₂ norm of the difference of the labels' distributions.
    LP,
    /// Total variation distance of the labels: half the L₁ norm.
    TVD,
    /// Accuracy difference, `a` − `d`.
    AD,
    /// Conditional demographic disparity in predicted labels.
    CDDPL,
    /// Difference in acceptance rates (precision), `a` − `d`.
    DAR,
    /// Difference in conditional acceptance (n¹ / n̂¹), `a` − `d`.
    DCA,
    /// Difference in conditional rejection (n⁰ / n̂⁰), `d` − `a`.
    DCR,
    /// Disparate impact: the ratio of positive predictions, `d` / `a`.
    DI,
    /// Difference in positive proportions in predicted labels.
    DPPL,
    /// Difference in rejection rates (true negatives / n̂⁰), `d` − `a`.
    DRR,
    /// Flip test; computed from rows, not counts.
    FT,
    /// Generalized entropy of the benefits ŷ − y + 1, α = 2.
    GE,
    /// Recall difference, `a` − `d`.
    RD,
    /// Specificity difference, `d` − `a`.
    SD,
    /// Treatment equality: false negatives / false positives, `d` − `a`.
    TE,
}

impl Metric {
    /// The pre-training metrics, in the order of AWS's files.
    pub const PRE_TRAINING: [Self; 8] = [
        Self::CDDL,
        Self::CI,
        Self::DPL,
        Self::JS,
        Self::KL,
        Self::KS,
        Self::LP,
        Self::TVD,
    ];

    /// The post-training metrics, in the order of AWS's files.
    pub const POST_TRAINING: [Self; 13] = [
        Self::AD,
        Self::CDDPL,
        Self::DAR,
        Self::DCA,
        Self::DCR,
        Self::DI,
        Self::DPPL,
        Self::DRR,
        Self::FT,
        Self::GE,
        Self::RD,
        Self::SD,
        Self::TE,
    ];

    /// The name and description in AWS's files.
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::CDDL => ("CDDL", "Conditional Demographic Disparity in Labels (CDDL)"),
            Self::CI => ("CI", "Class Imbalance (CI)"),
            Self::DPL => ("DPL", "Difference in Positive Proportions in Labels (DPL)"),
            Self::JS => ("JS", "Jensen-Shannon Divergence (JS)"),
            Self::KL => ("KL", "Kullback-Liebler Divergence (KL)"),
            Self::KS => ("KS", "Kolmogorov-Smirnov Distance (KS)"),
            Self::LP => ("LP", "L-p Norm (LP)"),
            Self::TVD => ("TVD", "Total Variation Distance (TVD)"),
            Self::AD => ("AD", "Accuracy Difference (AD)"),
            Self::CDDPL => (
                "CDDPL",
                "Conditional Demographic Disparity in Predicted Labels (CDDPL)",
            ),
            Self::DAR => ("DAR", "Difference in Acceptance Rates (DAR)"),
            Self::DCA => ("DCA", "Difference in Conditional Acceptance (DCA)"),
            Self::DCR => ("DCR", "Difference in Conditional Rejection (DCR)"),
            Self::DI => ("DI", "Disparate Impact (DI)"),
            Self::DPPL => (
                "DPPL",
                "Difference in Positive Proportions in Predicted Labels (DPPL)",
            ),
            Self::DRR => ("DRR", "Difference in Rejection Rates (DRR)"),
            Self::FT => ("FT", "Flip Test (FT)"),
            Self::GE => ("GE", "Generalized Entropy (GE)"),
            Self::RD => ("RD", "Recall Difference (RD)"),
            Self::SD => ("SD", "Specificity Difference (SD)"),
            Self::TE => ("TE", "Treatment Equality (TE)"),
        }
    }

    /// The short name (`CI`).
    pub const fn name(self) -> &'static str {
        self.texts().0
    }

    /// The description in AWS's files (`Class Imbalance (CI)`).
    pub const fn description(self) -> &'static str {
        self.texts().1
    }

    /// Returns whether the metric compares predictions with labels, so that it needs both.
    pub(super) fn needs_labels(self) -> bool {
        !matches!(self, Self::CDDPL | Self::DI | Self::DPPL | Self::FT)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The prediction of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predicted {
    Missing = 0,
    Negative = 1,
    Positive = 2,
}

/// Numbers of rows by group (`a`, `d`), label (negative, positive) and prediction (missing, negative,
/// positive).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cells(pub(super) [u64; CELLS]);

impl Cells {
    /// The index of a count.
    pub(super) fn index(facet: bool, label: bool, predicted: Predicted) -> usize {
        usize::from(facet) * 6 + usize::from(label) * 3 + predicted as usize
    }

    fn at(&self, facet: bool, label: bool, predicted: Predicted) -> f64 {
        number(self.0[Self::index(facet, label, predicted)])
    }

    /// Rows of a group with a label, with any prediction or without one.
    fn labeled(&self, facet: bool, label: bool) -> f64 {
        let first = Self::index(facet, label, Predicted::Missing);
        number(self.0[first..first + 3].iter().sum())
    }

    /// Rows of a group with a prediction, with any label.
    fn predicted(&self, facet: bool, positive: bool) -> f64 {
        let predicted = sign(positive);
        self.at(facet, false, predicted) + self.at(facet, true, predicted)
    }
}

fn sign(positive: bool) -> Predicted {
    if positive {
        Predicted::Positive
    } else {
        Predicted::Negative
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn number(count: u64) -> f64 {
    count as f64
}

/// The counts of one group of a facet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All rows.
    pub(super) all: Cells,
    /// The rows of each value of the group variable; empty without a group variable. Rows in which
    /// it is missing are in none.
    pub(super) groups: Vec<Cells>,
}

/// The text in AWS's files for a conditional metric without a group variable.
const NO_GROUP: &str = "Group variable is empty or not provided";

impl Counts {
    /// Computes a metric.
    ///
    /// # Errors
    /// The metric is undefined for these counts, or is not a function of counts (`FT`).
    pub(super) fn metric(&self, metric: Metric) -> Result<f64, &'static str> {
        match metric {
            Metric::CI | Metric::DPL => self.proportions(metric),
            Metric::CDDL => self.conditional_disparity(Cells::labeled),
            Metric::CDDPL => self.conditional_disparity(Cells::predicted),
            Metric::KL | Metric::JS | Metric::LP | Metric::TVD | Metric::KS => {
                self.divergence(metric)
            }
            Metric::GE => self.entropy(),
            Metric::FT => Err("the flip test needs rows"),
            _ => {
                let (a, d) = (self.outcome(false)?, self.outcome(true)?);
                Ok(compare(metric, a, d))
            }
        }
    }

    fn proportions(&self, metric: Metric) -> Result<f64, &'static str> {
        let of = |facet| {
            (
                self.all.labeled(facet, false),
                self.all.labeled(facet, true),
            )
        };
        let ((a0, a1), (d0, d1)) = (of(false), of(true));
        let (a, d) = (present(a0 + a1, false)?, present(d0 + d1, true)?);
        Ok(match metric {
            Metric::CI => (a - d) / (a + d),
            _ => a1 / a - d1 / d,
        })
    }

    /// Distances between the two groups' distributions of labels. As in AWS's files, a label that
    /// one of the groups lacks does not count, so that KL can be negative.
    fn divergence(&self, metric: Metric) -> Result<f64, &'static str> {
        let of = |facet, label| self.all.labeled(facet, label);
        let total = |facet| present(of(facet, false) + of(facet, true), facet);
        let (a, d) = (total(false)?, total(true)?);
        let shares: Vec<(f64, f64)> = [false, true]
            .into_iter()
            .map(|label| (of(false, label) / a, of(true, label) / d))
            .filter(|(a, d)| *a > 0.0 && *d > 0.0)
            .collect();
        if shares.is_empty() {
            return Err("no label occurs in both groups");
        }
        let sum =
            |term: &dyn Fn(f64, f64) -> f64| shares.iter().map(|(a, d)| term(*a, *d)).sum::<f64>();
        Ok(match metric {
            Metric::KL => sum(&|a, d| a * (a / d).ln()),
            Metric::JS => {
                let to_middle = |p: f64, q: f64| p * (p / (0.5 * (p + q))).ln();
                0.5 * (sum(&to_middle) + sum(&|a, d| to_middle(d, a)))
            }
            Metric::LP => sum(&|a, d| (a - d).powi(2)).sqrt(),
            Metric::TVD => 0.5 * sum(&|a, d| (a - d).abs()),
            _ => shares
                .iter()
                .map(|(a, d)| (a - d).abs())
                .fold(0.0, f64::max),
        })
    }

    /// The average of the demographic disparity over the values of the group variable, weighted by
    /// their rows: the facet's share of rejected rows minus its share of accepted ones.
    fn conditional_disparity(
        &self,
        count: fn(&Cells, bool, bool) -> f64,
    ) -> Result<f64, &'static str> {
        if self.groups.is_empty() {
            return Err(NO_GROUP);
        }
        let total =
            |cells: &Cells, outcome| count(cells, false, outcome) + count(cells, true, outcome);
        if total(&self.all, true) == 0.0 {
            return Err("no positive labels");
        }
        if total(&self.all, false) == 0.0 {
            return Err("no negative labels");
        }
        let (mut weighted, mut rows) = (0.0, 0.0);
        for group in &self.groups {
            let (rejected, accepted) = (total(group, false), total(group, true));
            let share = |outcome, of| {
                if of == 0.0 {
                    0.0
                } else {
                    count(group, true, outcome) / of
                }
            };
            weighted += (rejected + accepted) * (share(false, rejected) - share(true, accepted));
            rows += rejected + accepted;
        }
        Ok(divide(weighted, rows))
    }

    /// Generalized entropy of the benefits 0 (false negative), 1 and 2 (false positive) of all rows.
    fn entropy(&self) -> Result<f64, &'static str> {
        let of = |label, predicted| {
            self.all.at(false, label, predicted) + self.all.at(true, label, predicted)
        };
        let (negative, positive) = (Predicted::Negative, Predicted::Positive);
        let (single, double) = (
            of(false, negative) + of(true, positive),
            of(false, positive),
        );
        let rows = single + double + of(true, negative);
        let mean = divide(single + 2.0 * double, rows);
        if mean == 0.0 {
            return Err("every prediction is a false negative");
        }
        let squares = (single + 4.0 * double) / (mean * mean);
        Ok((squares - rows) / (2.0 * rows))
    }

    fn outcome(&self, facet: bool) -> Result<Outcome, &'static str> {
        let at = |label, positive| self.all.at(facet, label, sign(positive));
        let outcome = Outcome {
            tp: at(true, true),
            fp: at(false, true),
            fn_: at(true, false),
            tn: at(false, false),
        };
        present(outcome.rows(), facet)?;
        Ok(outcome)
    }
}

/// Returns the number of rows of a group, or the error for an empty one.
fn present(rows: f64, facet: bool) -> Result<f64, &'static str> {
    match (rows > 0.0, facet) {
        (true, _) => Ok(rows),
        (false, true) => Err("the facet has no rows in this group"),
        (false, false) => Err("the facet has no rows outside of this group"),
    }
}

/// The confusion matrix of one group.
#[derive(Clone, Copy)]
struct Outcome {
    tp: f64,
    fp: f64,
    fn_: f64,
    tn: f64,
}

impl Outcome {
    fn rows(self) -> f64 {
        self.tp + self.fp + self.fn_ + self.tn
    }

    fn accepted(self) -> f64 {
        (self.tp + self.fp) / self.rows()
    }
}

/// The metrics that compare the confusion matrices of the two groups.
fn compare(metric: Metric, a: Outcome, d: Outcome) -> f64 {
    match metric {
        Metric::DI => divide(d.accepted(), a.accepted()),
        Metric::DPPL => a.accepted() - d.accepted(),
        Metric::AD => minus(a, d, |g| divide(g.tp + g.tn, g.rows())),
        Metric::DAR => minus(a, d, |g| divide(g.tp, g.tp + g.fp)),
        Metric::DRR => minus(d, a, |g| divide(g.tn, g.tn + g.fn_)),
        Metric::DCA => minus(a, d, |g| divide(g.tp + g.fn_, g.tp + g.fp)),
        Metric::DCR => minus(d, a, |g| divide(g.tn + g.fp, g.tn + g.fn_)),
        Metric::RD => minus(a, d, |g| divide(g.tp, g.tp + g.fn_)),
        Metric::SD => minus(d, a, |g| divide(g.tn, g.tn + g.fp)),
        _ => minus(d, a, |g| divide(g.fn_, g.fp)),
    }
}

/// The difference of a quotient between two groups; 0 if both are infinite.
fn minus(one: Outcome, other: Outcome, quotient: impl Fn(Outcome) -> f64) -> f64 {
    let (one, other) = (quotient(one), quotient(other));
    if one.is_infinite() && other.is_infinite() {
        return 0.0;
    }
    one - other
}

/// 0/0 is 0, and x/0 is infinite, as in AWS's files.
fn divide(above: f64, below: f64) -> f64 {
    if above == 0.0 && below == 0.0 {
        0.0
    } else {
        above / below
    }
}
