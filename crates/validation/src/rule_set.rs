//! Rule sets, and where constraints.json stores the selection.

use serde::{Deserialize, Serialize};

/// The member of `constraints.json` for opt-in settings.
pub const KEY: &str = "mlops_constraints";
/// The member of [`KEY`] that selects the rules: [`RuleSet`].
pub const RULES: &str = "rules";

/// The rules for cases in which AWS's analyzer is known to differ from what we recommend. See
/// docs/validation.md, "Two sets of rules".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSet {
    /// The behavior of AWS's analyzer.
    #[default]
    Aws,
    /// Also detects drift of columns with few values and of columns whose type changed, counts
    /// integers as Fractional, adds a margin to the suggested completeness, and names missing and
    /// new columns.
    Mlops,
}
