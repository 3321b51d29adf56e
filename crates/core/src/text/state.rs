//! Colors of states: done, in progress, failed.

use super::clean;

/// Suffix of the state of a version that an endpoint serves.
pub const LIVE: &str = ", live";

/// The meaning of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Good,
    Pending,
    Bad,
}

/// Classifies a state of AWS or of `mlops`; `None` if it is neutral or unknown.
pub(super) fn state_of(text: &str) -> Option<Meaning> {
    Some(match text.strip_suffix(LIVE).unwrap_or(text) {
        "Succeeded" | "Completed" | "COMPLETE" | "OK" | "InService" | "Approved" | "ACTIVE"
        | "created" | "updated" => Meaning::Good,
        "Executing"
        | "InProgress"
        | "Starting"
        | "Stopping"
        | "Creating"
        | "Updating"
        | "SystemUpdating"
        | "Pending"
        | "PENDING"
        | "IN_PROGRESS"
        | "PendingManualApproval" => Meaning::Pending,
        "Failed"
        | "FAILED"
        | "Refused"
        | "Rejected"
        | "Stopped"
        | "RollingBack"
        | "UpdateRollbackFailed"
        | "ALARM"
        | "OutOfService" => Meaning::Bad,
        stack if stack.contains("ROLLBACK") || stack.ends_with("_FAILED") => Meaning::Bad,
        stack if stack.ends_with("_IN_PROGRESS") => Meaning::Pending,
        stack if stack.ends_with("_COMPLETE") => Meaning::Good,
        _ => return None,
    })
}

/// Formats a state, colored if stdout supports colors.
pub fn state(text: &str) -> String {
    let text = clean(text);
    let styled = console::style(&text);
    match state_of(&text) {
        Some(Meaning::Good) => styled.green().to_string(),
        Some(Meaning::Pending) => styled.yellow().to_string(),
        Some(Meaning::Bad) => styled.red().bold().to_string(),
        None => text,
    }
}

/// Colors every word of a line that is a state.
pub fn states(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let bare = word.trim_end_matches([',', ':']);
        state(bare) + &clean(&word[bare.len()..])
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_stacks_are_read_by_their_endings() {
        assert_eq!(state_of("UPDATE_ROLLBACK_COMPLETE"), Some(Meaning::Bad));
        assert_eq!(state_of("CREATE_COMPLETE"), Some(Meaning::Good));
        assert_eq!(state_of("UPDATE_IN_PROGRESS"), Some(Meaning::Pending));
        assert_eq!(state_of("DELETE_FAILED"), Some(Meaning::Bad));
        assert_eq!(state_of("develop"), None);
        assert_eq!(state_of("Approved, live"), Some(Meaning::Good));
    }

    #[test]
    fn a_line_keeps_its_text() {
        let line = "flights InService, live:  version 1";
        assert_eq!(console::strip_ansi_codes(&states(line)), line);
    }
}
