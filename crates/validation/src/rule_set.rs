//! Which set of rules holds, and where constraints.json says it.

use serde::{Deserialize, Serialize};

/// The member of `constraints.json` that holds them.
pub const KEY: &str = "mlops_constraints";
/// The member of it that says which rules hold: [`RuleSet`].
pub const RULES: &str = "rules";

/// Which rules decide where AWS's analyzer is known to do something else than what is best here.
/// docs/validation.md, "Two sets of rules".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSet {
    /// What AWS's analyzer does.
    #[default]
    Aws,
    /// Drift of columns of few values and of columns whose type changed, whole numbers are
    /// Fractional, a margin for suggested completeness, the names of missing and new columns.
    Mlops,
}
