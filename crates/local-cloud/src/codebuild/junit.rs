//! Reads test results in the XML of `JUnit`. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::interrupt::Interrupt;

/// Maximum nesting of elements; suites contain suites.
const MAX_DEPTH: usize = 100;

/// Maximum length of the message of a test, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 1024;

/// Number of events between two checks for the interrupt.
const CHECK: usize = 1000;

/// The result of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TestStatus {
    Succeeded,
    Failed,
    Error,
    Skipped,
}

impl TestStatus {
    /// All results.
    pub(super) const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Error, Self::Skipped];

    /// Its name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Error => "ERROR",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    /// All tests of a suite share its name.
    pub(super) suite: Option<Arc<str>>,
    pub(super) class: Option<String>,
    pub(super) name: String,
    pub(super) status: TestStatus,
    pub(super) nanoseconds: u64,
    pub(super) message: Option<String>,
}

/// The tests of a report: the first of them, and what is known of all.
#[derive(Debug, Default)]
pub(super) struct Tests {
    /// The first tests, each with the number of its file.
    pub(super) first: Vec<(usize, Test)>,
    /// The number of tests with each result.
    pub(super) counts: BTreeMap<TestStatus, u64>,
    /// The time of all tests.
    pub(super) nanoseconds: u64,
}

impl Tests {
    /// The number of tests.
    pub(super) fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The number of tests with a result.
    pub(super) fn with(&self, status: TestStatus) -> u64 {
        self.counts.get(&status).copied().unwrap_or_default()
    }

    fn add(&mut self, test: Test, file: usize, most: usize) {
        *self.counts.entry(test.status).or_default() += 1;
        self.nanoseconds = self.nanoseconds.saturating_add(test.nanoseconds);
        if self.first.len() < most {
            self.first.push((file, test));
        }
    }
}

/// The start of a text, of at most `most` bytes.
fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A name in an attribute.
fn named(element: &BytesStart<'_>, name: &str) -> Option<String> {
    attribute(element, name).map(|text| shortened(&text, MAX_NAME).to_owned())
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(unescaped(
        String::from_utf8_lossy(&found.value).into_owned(),
    ))
}

/// A text with its entities replaced, or as it is if one is unknown.
fn unescaped(text: String) -> String {
    match quick_xml::escape::unescape(&text) {
        Ok(Cow::Owned(replaced)) => replaced,
        _ => text,
    }
}

/// A duration in seconds, such as `0.012` or `1,234.5`.
fn nanoseconds(text: Option<String>) -> u64 {
    let seconds: f64 = text
        .and_then(|text| text.replace(',', "").parse().ok())
        .unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limited before"
    )]
    let nanoseconds = (seconds.clamp(0.0, 1e9) * 1e9).round() as u64;
    nanoseconds
}

/// Reads the tests of a file and adds them to the others, of which `most` are kept.
///
/// # Errors
/// What is wrong with the file. The tests before the mistake have been added.
pub(super) fn parse(
    contents: &str,
    (file, most): (usize, usize),
    tests: &mut Tests,
    interrupt: &Interrupt,
) -> Result<(), String> {
    let mut reader = Reader::from_str(contents);
    let mut suites: Vec<Option<Arc<str>>> = Vec::new();
    let mut current: Option<Test> = None;
    let mut is_junit = false;
    let mut depth = 0;
    let mut events = 0_usize;
    // True inside an element whose text is the message.
    let mut reads_message = false;
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        events += 1;
        if events.is_multiple_of(CHECK) {
            interrupt.check().map_err(|error| error.message)?;
        }
        match &event {
            Event::Start(element) | Event::Empty(element) => {
                let is_empty = matches!(event, Event::Empty(_));
                depth += usize::from(!is_empty);
                if depth > MAX_DEPTH {
                    return Err(format!(
                        "elements are nested more than {MAX_DEPTH} levels deep"
                    ));
                }
                match element.local_name().as_ref() {
                    b"testsuites" => is_junit = true,
                    b"testsuite" => {
                        is_junit = true;
                        if !is_empty {
                            suites.push(named(element, "name").map(Arc::from));
                        }
                    }
                    b"testcase" => {
                        let test = Test {
                            suite: suites.last().cloned().flatten(),
                            class: named(element, "classname"),
                            name: named(element, "name").unwrap_or_default(),
                            status: TestStatus::Succeeded,
                            nanoseconds: nanoseconds(attribute(element, "time")),
                            message: None,
                        };
                        if is_empty {
                            tests.add(test, file, most);
                        } else {
                            current = Some(test);
                        }
                    }
                    name => {
                        let status = match name {
                            b"failure" => TestStatus::Failed,
                            b"error" => TestStatus::Error,
                            b"skipped" => TestStatus::Skipped,
                            _ => continue,
                        };
                        if let Some(test) = &mut current {
                            test.status = status;
                            let message = attribute(element, "message");
                            test.message =
                                message.map(|text| shortened(&text, MAX_MESSAGE).to_owned());
                            reads_message = !is_empty && test.message.is_none();
                        }
                    }
                }
            }
            Event::Text(part) if reads_message => add(&mut current, &String::from_utf8_lossy(part)),
            Event::CData(part) if reads_message => {
                add(&mut current, &String::from_utf8_lossy(part));
            }
            Event::GeneralRef(name) if reads_message => {
                let entity = format!("&{};", String::from_utf8_lossy(name));
                add(&mut current, &unescaped(entity));
            }
            Event::End(element) => {
                depth = depth.saturating_sub(1);
                match element.local_name().as_ref() {
                    b"testsuite" => drop(suites.pop()),
                    b"testcase" => {
                        if let Some(mut test) = current.take() {
                            let message = test.message.map(|text| text.trim().to_owned());
                            test.message = message.filter(|message| !message.is_empty());
                            tests.add(test, file, most);
                        }
                    }
                    b"failure" | b"error" | b"skipped" => reads_message = false,
                    _ => {}
                }
            }
            Event::Eof if depth > 0 => return Err("the file ends inside an element".to_owned()),
            Event::Eof if !is_junit => return Err("the file has no testsuite".to_owned()),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// Adds a part of the message of a test.
fn add(current: &mut Option<Test>, part: &str) {
    if let Some(test) = current {
        let message = test.message.get_or_insert_default();
        let left = MAX_MESSAGE.saturating_sub(message.len());
        message.push_str(shortened(part, left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Test>, String> {
        let mut tests = Tests::default();
        super::parse(text, (0, 500), &mut tests, &Interrupt::default())?;
        Ok(tests.first.into_iter().map(|(_, test)| test).collect())
    }

    #[test]
    fn many_tests_with_long_names_take_little_memory() {
        let long = "x".repeat(100_000);
        let case = format!("<testcase name=\"{long}\"><error>{long}</error></testcase>");
        let text = format!("<testsuite name=\"{long}\">{}</testsuite>", case.repeat(20));
        let mut tests = Tests::default();
        let interrupt = Interrupt::default();
        for file in 0..2 {
            super::parse(&text, (file, 30), &mut tests, &interrupt).unwrap();
        }
        assert_eq!((tests.first.len(), tests.count()), (30, 40));
        assert_eq!(tests.with(TestStatus::Error), 40);
        assert_eq!(tests.first[29].0, 1);
        for (_, test) in &tests.first {
            let message = test.message.as_deref().unwrap();
            assert_eq!((test.name.len(), message.len()), (MAX_NAME, MAX_MESSAGE));
        }
        let suite = |at: usize| tests.first[at].1.suite.clone().unwrap();
        assert!(Arc::ptr_eq(&suite(0), &suite(19)), "one copy for a file");
        interrupt.set();
        let many = format!("<testsuite>{}</testsuite>", "<testcase/>".repeat(2000));
        assert!(super::parse(&many, (0, 1), &mut tests, &interrupt).is_err());
    }

    #[test]
    fn the_results_of_pytest() {
        let tests = parse(
            r#"<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.1">
  <properties><property name="a" value="b"/></properties>
  <testcase classname="test_a.TestX" name="test_one[&lt;1&gt;]" time="0.0015"/>
  <testcase classname="test_a" name="test_two" time="1,000.5"><failure message="assert 1 == 2">def test_two():
&gt;   assert 1 == 2</failure></testcase>
  <testcase classname="test_a" name="test_three"><error> it &amp; it <![CDATA[<broke>]]></error></testcase>
  <testcase classname="test_a" name="test_four" time="x"><skipped/></testcase>
</testsuite></testsuites>"#,
        )
        .unwrap();
        let statuses: Vec<&str> = tests.iter().map(|test| test.status.name()).collect();
        assert_eq!(statuses, ["SUCCEEDED", "FAILED", "ERROR", "SKIPPED"]);
        assert_eq!(tests[0].name, "test_one[<1>]");
        assert_eq!(tests[0].suite.as_deref(), Some("pytest"));
        assert_eq!(tests[0].class.as_deref(), Some("test_a.TestX"));
        assert_eq!(tests[0].nanoseconds, 1_500_000);
        assert_eq!(tests[1].nanoseconds, 1_000_500_000_000);
        assert_eq!(tests[1].message.as_deref(), Some("assert 1 == 2"));
        assert_eq!(tests[2].message.as_deref(), Some("it & it <broke>"));
        assert_eq!(tests[3].message, None);
    }

    #[test]
    fn suites_can_contain_suites() {
        let tests = parse(
            r#"<testsuite name="a"><testsuite name="b"><testcase name="x"/></testsuite><testcase name="y"/></testsuite>"#,
        )
        .unwrap();
        let suites: Vec<_> = tests
            .iter()
            .map(|test| test.suite.as_deref().unwrap())
            .collect();
        assert_eq!(suites, ["b", "a"]);
    }

    #[test]
    fn what_is_not_junit_is_an_error() {
        for text in [
            "",
            "<html></html>",
            "<testsuite><testcase>",
            "not xml",
            "<a></b>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "<testsuite>".repeat(200) + &"</testsuite>".repeat(200);
        assert!(parse(&deep).unwrap_err().contains("levels deep"));
        // An entity is never expanded, so none can grow.
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><testsuite name=\"&a;\"><testcase name=\"&a;\"/></testsuite>";
        assert_eq!(parse(bomb).unwrap()[0].name, "&a;");
    }
}
