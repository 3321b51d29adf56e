//! Selects the captured files that a window needs, which are in one directory per hour
//! (`…/yyyy/mm/dd/hh/FILE`).

use super::capture::Window;

impl Window {
    /// Returns whether captured traffic under this key or path can be in the window. A key of any
    /// other form can have any time.
    pub fn may_hold(&self, key: &str) -> bool {
        let Some(hour) = hour(key) else {
            return true;
        };
        // Requests around the turn of the hour may be in the next hour's directory.
        let slack = jiff::SignedDuration::from_hours(1);
        let end = hour + slack;
        self.since.is_none_or(|since| end + slack > since)
            && self.until.is_none_or(|until| hour - slack < until)
    }
}

fn hour(key: &str) -> Option<jiff::Timestamp> {
    let mut parts = key.rsplit('/').skip(1);
    let (hour, day, month, year) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    format!("{year}-{month}-{day}T{hour}:00:00Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_outside_the_window_are_not_read() {
        let key = |hour: u32| format!("capture/e/v/2026/11/22/{hour:02}/a.jsonl");
        let at = |text: &str| Some(text.parse().unwrap());
        let window = Window {
            since: at("2026-11-22T10:30:00Z"),
            until: at("2026-11-22T12:00:00Z"),
        };
        let read: Vec<u32> = (0..24).filter(|h| window.may_hold(&key(*h))).collect();
        assert_eq!(read, [9, 10, 11, 12]);
        assert!(window.may_hold("capture/a.jsonl"));
    }
}
