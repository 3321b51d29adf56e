//! Parses the lines of captured traffic, of ground truth, and of both merged. Only the members that
//! the analysis needs are copied; the features of a request, most of the line, are skipped.

use std::borrow::Cow;

use memchr::memchr2;

use super::super::capture::Content;

/// One line.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the format")]
pub(super) struct Event<'a> {
    /// Whether the line has `captureData`.
    pub(super) is_captured: bool,
    /// `endpointOutput`, or `batchTransformOutput` of a merged batch transform.
    pub(super) output: Option<Payload<'a>>,
    /// `groundTruthData`.
    pub(super) truth: Option<Payload<'a>>,
    pub(super) event_id: Option<Cow<'a, str>>,
    pub(super) inference_id: Option<Cow<'a, str>>,
    /// `inferenceTime`.
    pub(super) time: Option<Cow<'a, str>>,
}

/// The data of one side of an event.
#[derive(Debug, Default)]
pub(super) struct Payload<'a> {
    pub(super) content_type: Cow<'a, str>,
    pub(super) data: Cow<'a, str>,
    pub(super) encoding: Cow<'a, str>,
}

impl Payload<'_> {
    /// Decodes the data.
    ///
    /// # Errors
    /// The encoding is unknown, or the data is not text.
    pub(super) fn content(&self) -> Result<Content<'_>, String> {
        Content::of(&self.encoding, &self.data, &self.content_type)
    }
}

impl<'a> Event<'a> {
    /// Parses a line. Members that are skipped are not checked in detail.
    ///
    /// # Errors
    /// The line is not a JSON object, or a needed member has another type.
    pub(super) fn parse(line: &'a str) -> Result<Self, String> {
        let mut event = Self::default();
        let mut cursor = Cursor { text: line, at: 0 };
        cursor
            .object(|cursor, key| event.member(cursor, key))
            .and_then(|()| {
                if cursor.peek() == 0 {
                    Ok(())
                } else {
                    Err(cursor.unexpected())
                }
            })
            .map_err(
                |error| match serde_json::from_str::<serde::de::IgnoredAny>(line) {
                    Ok(_) => error,
                    Err(invalid) => format!("not JSON: {invalid}"),
                },
            )?;
        Ok(event)
    }

    /// The id that ground truth refers to: the inference id if the caller set one, else the event
    /// id.
    pub(super) fn id(&self) -> Option<&str> {
        self.inference_id.as_deref().or(self.event_id.as_deref())
    }

    fn member(&mut self, cursor: &mut Cursor<'a>, key: &str) -> Result<(), String> {
        match key {
            "captureData" => {
                self.is_captured = true;
                cursor.object(|cursor, key| match key {
                    "endpointOutput" | "batchTransformOutput" => {
                        self.output = cursor.payload()?;
                        Ok(())
                    }
                    _ => cursor.skip(),
                })
            }
            "groundTruthData" => {
                self.truth = cursor.payload()?;
                Ok(())
            }
            "eventMetadata" => cursor.object(|cursor, key| {
                let member = match key {
                    "eventId" => &mut self.event_id,
                    "inferenceId" => &mut self.inference_id,
                    "inferenceTime" => &mut self.time,
                    _ => return cursor.skip(),
                };
                *member = cursor.optional_string()?;
                Ok(())
            }),
            _ => cursor.skip(),
        }
    }
}

/// A position in a line.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

/// A scalar: the text of a number or a literal, or a string.
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Null,
    /// An object or an array, which is skipped.
    Nested,
}

impl<'a> Cursor<'a> {
    /// Returns the next byte that is not white space; 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Parses an object; `each` consumes the value of a member.
    pub(super) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        self.expect(b'{')?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != b'"' {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            self.expect(b':')?;
            each(self, &key)?;
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Parses a value and skips it if it is nested.
    pub(super) fn scalar(&mut self) -> Result<Scalar<'a>, String> {
        match self.peek() {
            b'"' => self.string().map(Scalar::Text),
            b'{' | b'[' => self.skip().map(|()| Scalar::Nested),
            _ => {
                let text = self.literal()?;
                Ok(if text == "null" {
                    Scalar::Null
                } else {
                    Scalar::Text(text.into())
                })
            }
        }
    }

    /// Skips a value: the braces and brackets outside of strings match.
    pub(super) fn skip(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                b'"' => {
                    self.raw_string()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.literal()?;
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn payload(&mut self) -> Result<Option<Payload<'a>>, String> {
        if self.peek() == b'n' {
            self.skip()?;
            return Ok(None);
        }
        let mut payload = Payload::default();
        let mut has_data = false;
        self.object(|cursor, key| {
            let member = match key {
                "data" => {
                    has_data = true;
                    &mut payload.data
                }
                "encoding" => &mut payload.encoding,
                "observedContentType" => &mut payload.content_type,
                _ => return cursor.skip(),
            };
            *member = cursor.optional_string()?.unwrap_or_default();
            Ok(())
        })?;
        if has_data {
            Ok(Some(payload))
        } else {
            Err("`data` is missing".to_owned())
        }
    }

    fn optional_string(&mut self) -> Result<Option<Cow<'a, str>>, String> {
        match self.peek() {
            b'"' => self.string().map(Some),
            b'n' if self.literal()? == "null" => Ok(None),
            _ => Err(self.unexpected()),
        }
    }

    /// The number, `true`, `false` or `null` that starts here.
    fn literal(&mut self) -> Result<&'a str, String> {
        self.peek();
        let rest = &self.text[self.at..];
        let end = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.unexpected());
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.at;
        if self.raw_string()? {
            let quoted = &self.text[start..self.at];
            return serde_json::from_str::<String>(quoted)
                .map(Cow::Owned)
                .map_err(|error| format!("an invalid string: {error}"));
        }
        Ok(Cow::Borrowed(&self.text[start + 1..self.at - 1]))
    }

    /// Moves past a string; returns whether it has escapes.
    fn raw_string(&mut self) -> Result<bool, String> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        let mut escaped = false;
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            at += found;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(escaped);
            }
            escaped = true;
            at += 2;
        }
        Err(format!(
            "the string at column {} is never closed",
            self.at + 1
        ))
    }

    fn expect(&mut self, wanted: u8) -> Result<(), String> {
        if self.peek() == wanted {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn unexpected(&mut self) -> String {
        self.peek();
        match self.text[self.at..].chars().next() {
            None => "the line ends too early".to_owned(),
            Some(found) => format!("unexpected `{found}` at column {}", self.at + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = r#"{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"1,\"a{[\",2","encoding":"CSV"},"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":"0.5\n","encoding":"CSV"}},"eventMetadata":{"eventId":"e1","customAttributes":["a=1"],"inferenceId":"i1","inferenceTime":"2022-04-18T00:21:48Z"},"eventVersion":"0"}"#;

    #[test]
    fn a_captured_event_is_parsed() {
        let event = Event::parse(CAPTURED).unwrap();
        let output = event.output.as_ref().unwrap();
        assert!(event.is_captured && event.truth.is_none());
        assert_eq!((&*output.data, &*output.encoding), ("0.5\n", "CSV"));
        assert_eq!(
            (event.id(), event.time.as_deref()),
            (Some("i1"), Some("2022-04-18T00:21:48Z"))
        );
        let spaced = CAPTURED
            .replace(':', " : ")
            .replace("{\"", " { \"")
            .replace("00 : 21 : 48", "00:21:48");
        assert_eq!(Event::parse(&spaced).unwrap().id(), Some("i1"));
    }

    #[test]
    fn ground_truth_and_merged_lines_are_parsed() {
        let truth = r#"{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"a\u00e9","inferenceId":null},"eventVersion":"0"}"#;
        let event = Event::parse(truth).unwrap();
        assert_eq!((event.id(), event.is_captured), (Some("aé"), false));
        assert_eq!(event.truth.unwrap().data, "1");
        let merged = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/aws-output/captured-data/from-notebooks/aws-76.jsonl"
        ))
        .unwrap();
        let event = Event::parse(merged.trim_end()).unwrap();
        assert_eq!(event.truth.unwrap().data, r#"{"label": 1}"#);
        assert!(
            event
                .output
                .unwrap()
                .data
                .starts_with(r#"{"SageMakerOutput":{"#)
        );
    }

    /// Every line of AWS's captured traffic, compared with a general parser.
    #[test]
    fn real_traffic_is_parsed_as_serde_json_does() {
        let directory = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/aws-output/captured-data/from-notebooks"
        );
        let mut count = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            for line in std::fs::read_to_string(file.unwrap().path())
                .unwrap()
                .lines()
            {
                let expected: serde_json::Value = serde_json::from_str(line).unwrap();
                let event = Event::parse(line).unwrap();
                let data = &expected["captureData"]["endpointOutput"]["data"];
                if let Some(output) = event.output.filter(|_| data.is_string()) {
                    assert_eq!(output.data, data.as_str().unwrap());
                }
                let meta = &expected["eventMetadata"];
                assert_eq!(event.event_id.as_deref(), meta["eventId"].as_str());
                assert_eq!(event.inference_id.as_deref(), meta["inferenceId"].as_str());
                count += 1;
            }
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn broken_lines_are_refused() {
        for (line, message) in [
            ("", "not JSON"),
            ("[]", "unexpected `[`"),
            ("{\"captureData\":1}", "unexpected `1` at column 16"),
            (&CAPTURED[..CAPTURED.len() - 1], "not JSON: EOF"),
            (&CAPTURED[..200], "not JSON: EOF"),
            ("{\"a\":\"\\\"", "not JSON"),
            ("{\"a\":1} {", "not JSON: trailing characters"),
            (
                r#"{"groundTruthData":{"encoding":"CSV"}}"#,
                "`data` is missing",
            ),
            (r#"{"groundTruthData":{"data":1}}"#, "unexpected `1`"),
        ] {
            let error = Event::parse(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
