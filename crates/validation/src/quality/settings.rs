//! The settings of an analysis of model quality, as the analyzer's environment spells them.

use mlops_core::quote::short;

use super::super::rule_set::RuleSet;
use super::Problem;
use super::path::Path;

/// The threshold of AWS's analyzer if none is set.
const THRESHOLD: f64 = 0.5;

/// The location of a value in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// The position of a column, from 0.
    Index(usize),
    /// The name of a column, or the key of an object.
    Name(String),
    /// A JSON path (`$.score`).
    Path(Path),
}

impl Attribute {
    /// Parses a JSON path (`$…`), an index (digits) or a name.
    ///
    /// # Errors
    /// The text is empty, or an unsupported JSON path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the attribute is empty".to_owned());
        }
        if text.starts_with('$') {
            return Path::parse(text).map(Self::Path);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .map(Self::Index)
                .map_err(|_| format!("`{}` is too large for an index", short(text)));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(&short(name)),
            Self::Path(path) => write!(f, "{path}"),
        }
    }
}

/// What to compute, and where the values are.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The type of the model.
    pub problem: Problem,
    /// The predicted value or class; `None` if it is derived from the probability and `threshold`.
    pub prediction: Option<Attribute>,
    /// The probability of the positive class. Binary classification only; without it there are no
    /// curves and no areas.
    pub probability: Option<Attribute>,
    /// A greater probability predicts the positive class, if there is no `prediction`.
    ///
    /// unverified against AWS [probability-threshold]: whether a probability equal to the threshold
    /// is positive; here it is not, as in Spark's `Binarizer`.
    pub threshold: f64,
    /// The label. `None` for ground truth records with one value per row.
    pub label: Option<Attribute>,
    /// Whose rules decide what is a violation.
    pub rules: RuleSet,
}

impl Settings {
    /// Parses the variables `problem_type`, `inference_attribute`, `probability_attribute`,
    /// `probability_threshold_attribute` and `ground_truth_attribute`; `variable` returns one of
    /// them. An empty variable counts as not set.
    ///
    /// The rules are AWS's: a problem type is required; binary classification needs a prediction or
    /// a probability, the others a prediction. The threshold is 0.5 if it is not set, as in AWS's
    /// analyzer.
    ///
    /// # Errors
    /// The first variable that is missing, invalid or does not fit the problem type, by name.
    pub fn parse<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let set = |name: &str| {
            variable(name)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let attribute = |name: &str| {
            set(name)
                .map(|text| Attribute::parse(text).map_err(|error| format!("{name}: {error}")))
                .transpose()
        };
        let problem = match set("problem_type") {
            None => return Err("problem_type is not set".to_owned()),
            Some(text) => Problem::parse(text).ok_or_else(|| {
                format!(
                    "problem_type is `{}`; it can be Regression, BinaryClassification or \
                     MulticlassClassification",
                    short(text)
                )
            })?,
        };
        let prediction = attribute("inference_attribute")?;
        let probability = attribute("probability_attribute")?;
        let threshold = set("probability_threshold_attribute");
        if problem == Problem::BinaryClassification {
            if prediction.is_none() && probability.is_none() {
                return Err(
                    "BinaryClassification needs inference_attribute or probability_attribute"
                        .to_owned(),
                );
            }
        } else if prediction.is_none() {
            return Err(format!("{} needs inference_attribute", problem.name()));
        } else if probability.is_some() {
            return Err(format!(
                "probability_attribute is for BinaryClassification, and problem_type is {}",
                problem.name()
            ));
        }
        if threshold.is_some() && probability.is_none() {
            return Err(
                "probability_threshold_attribute is set, but probability_attribute is not"
                    .to_owned(),
            );
        }
        Ok(Self {
            problem,
            prediction,
            probability,
            threshold: threshold.map_or(Ok(THRESHOLD), parse_threshold)?,
            label: attribute("ground_truth_attribute")?,
            rules: RuleSet::default(),
        })
    }
}

fn parse_threshold(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| {
            format!(
                "probability_threshold_attribute is `{}`; it must be a number from 0 to 1",
                short(text)
            )
        })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &'static str)]) -> Result<Settings, String> {
        Settings::parse(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| *value)
        })
    }

    /// The environment of real jobs (describe-processing-job).
    #[test]
    fn the_environment_of_aws_jobs_is_parsed() {
        let binary = parse(&[
            ("problem_type", "BinaryClassification"),
            ("probability_attribute", "0"),
            ("probability_threshold_attribute", "0.500000"),
            ("inference_attribute", ""),
        ])
        .unwrap();
        assert_eq!(binary.probability, Some(Attribute::Index(0)));
        assert_eq!((binary.prediction, binary.threshold), (None, 0.5));
        let regression = parse(&[
            ("problem_type", "Regression"),
            ("inference_attribute", " 0 "),
        ]);
        assert_eq!(regression.unwrap().prediction, Some(Attribute::Index(0)));
        let named = parse(&[
            ("problem_type", "multiclassclassification"),
            ("inference_attribute", "$.SageMakerOutput.predicted_label"),
            ("ground_truth_attribute", "label"),
        ])
        .unwrap();
        assert_eq!(named.label, Some(Attribute::Name("label".to_owned())));
        assert!(matches!(named.prediction, Some(Attribute::Path(_))));
        let default = parse(&[
            ("problem_type", "BinaryClassification"),
            ("probability_attribute", "p"),
        ]);
        assert_eq!(default.unwrap().threshold, 0.5);
    }

    #[test]
    fn bad_settings_are_named() {
        let binary = ("problem_type", "BinaryClassification");
        let regression = ("problem_type", "Regression");
        for (variables, message) in [
            (vec![], "problem_type is not set"),
            (
                vec![("problem_type", "Ranking")],
                "problem_type is `Ranking`",
            ),
            (
                vec![binary],
                "BinaryClassification needs inference_attribute or",
            ),
            (vec![regression], "Regression needs inference_attribute"),
            (
                vec![
                    regression,
                    ("inference_attribute", "0"),
                    ("probability_attribute", "1"),
                ],
                "probability_attribute is for BinaryClassification",
            ),
            (
                vec![
                    binary,
                    ("inference_attribute", "0"),
                    ("probability_threshold_attribute", "0.5"),
                ],
                "probability_attribute is not",
            ),
            (
                vec![
                    binary,
                    ("probability_attribute", "0"),
                    ("probability_threshold_attribute", "1.5"),
                ],
                "is `1.5`; it must be a number from 0 to 1",
            ),
            (
                vec![
                    binary,
                    ("probability_attribute", "0"),
                    ("probability_threshold_attribute", "NaN"),
                ],
                "is `NaN`",
            ),
            (
                vec![regression, ("inference_attribute", "$.a[?(@.b)]")],
                "inference_attribute: ",
            ),
            (
                vec![
                    regression,
                    ("inference_attribute", "99999999999999999999999"),
                ],
                "too large for an index",
            ),
        ] {
            let error = parse(&variables).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
