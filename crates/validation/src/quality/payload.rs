//! Locates one value per row in the data of an event: CSV without a header, or JSON.

use mlops_core::quote::short;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

use super::super::capture::Content;
use super::super::csv;
use super::settings::Attribute;
use super::values::Cell;

/// Maximum number of values in a document of JSON, or in CSV with quotes: in memory, an object
/// with one value takes about 600 bytes, 300 MB in total.
const MAX_VALUES: usize = 1 << 20;

/// Receives the values of a column, one per row.
pub(super) type Sink<'s> = dyn FnMut(Cell<'_>) -> Result<(), String> + 's;

impl Content<'_> {
    /// Passes on the attribute's value of every row. Without an attribute, rows must have one value.
    ///
    /// # Errors
    /// A row lacks the attribute, or is not a scalar; errors of the sink.
    pub(super) fn column(
        &self,
        attribute: Option<&Attribute>,
        sink: &mut Sink<'_>,
    ) -> Result<(), String> {
        match self {
            Self::Csv(text) => csv_column(text, attribute, sink),
            Self::Json(text) => json_column(text, attribute, sink),
        }
    }

    /// Passes on the values of the only line of CSV, as rows; false if there are several lines.
    /// AWS's built-in algorithms separate the predictions of several rows by commas.
    ///
    /// # Errors
    /// Errors of the sink.
    pub(super) fn line(&self, sink: &mut Sink<'_>) -> Result<bool, String> {
        let Self::Csv(text) = self else {
            return Ok(false);
        };
        let mut lines = lines(text);
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Ok(false);
        };
        line.split(',').try_for_each(|cell| sink(cell_of(cell)))?;
        Ok(true)
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r'])
        .filter(|line| !line.trim_ascii().is_empty())
}

fn cell_of(text: &str) -> Cell<'_> {
    match text.trim() {
        "" => Cell::Missing,
        text => Cell::Text(text),
    }
}

fn csv_column(
    text: &str,
    attribute: Option<&Attribute>,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    // Lines with quotes are rare. Of the others, nothing is allocated.
    if !text.contains('"') {
        return lines(text).try_for_each(|line| csv_row(line.split(','), attribute, sink));
    }
    let separators = text.bytes().filter(|byte| b",\n\r".contains(byte));
    check_count(separators.count() + 1)?;
    csv::table(text)?
        .iter()
        .try_for_each(|row| csv_row(row.iter().map(String::as_str), attribute, sink))
}

fn csv_row<'t>(
    mut cells: impl Iterator<Item = &'t str> + Clone,
    attribute: Option<&Attribute>,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    let all = cells.clone();
    if let Some(Attribute::Index(index)) = attribute {
        let cell = cells.nth(*index);
        return sink(cell_of(cell.ok_or_else(|| too_short(*index, all.count()))?));
    }
    match (cells.next(), cells.next(), attribute) {
        // The name of a column in the baseline's table; the record has nothing else.
        (Some(cell), None, _) => sink(cell_of(cell)),
        (_, _, None) => Err(format!(
            "{} values in a row; set the index of one of them",
            all.count()
        )),
        (_, _, Some(name)) => Err(format!(
            "`{name}` cannot be found: the data is CSV without names; use the column's index, from 0"
        )),
    }
}

fn too_short(index: usize, found: usize) -> String {
    format!("index {index} of a row with {found} values (indices start at 0)")
}

fn check_count(values: usize) -> Result<(), String> {
    if values > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values: split the data"));
    }
    Ok(())
}

/// Refuses documents with more than [`MAX_VALUES`] values, before memory is allocated for them.
///
/// # Errors
/// The first document that is not JSON, or too large.
pub(super) fn check_documents(text: &str) -> Result<(), String> {
    // Every value has a byte.
    if text.len() <= MAX_VALUES {
        return Ok(());
    }
    let mut documents = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(document) = documents.next() {
        document.map_err(|error| format!("not JSON: {error}"))?;
        let end = documents.byte_offset();
        check_count(values(&text.as_bytes()[start..end]))?;
        start = end;
    }
    Ok(())
}

/// Maximum number of values in a valid document: each but the first one follows a bracket, a brace or a
/// comma.
fn values(document: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (1, false, false);
    for byte in document {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

fn json_column(
    text: &str,
    attribute: Option<&Attribute>,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    check_documents(text)?;
    for document in Deserializer::from_str(text).into_iter::<Value>() {
        let document = document.map_err(|error| format!("not JSON: {error}"))?;
        match (&document, attribute) {
            (_, Some(Attribute::Path(path))) => {
                let found = path.find(&document);
                if found.is_empty() {
                    return Err(format!("there is no `{path}`"));
                }
                found
                    .into_iter()
                    .try_for_each(|value| scalar(value, sink))?;
            }
            // Several rows.
            (Value::Array(rows), _)
                if rows
                    .first()
                    .is_some_and(|row| row.is_object() || row.is_array()) =>
            {
                rows.iter()
                    .try_for_each(|row| json_row(row, attribute, sink))?;
            }
            // A column of values, as in ground truth.
            (Value::Array(rows), None) => rows.iter().try_for_each(|row| scalar(row, sink))?,
            (row, _) => json_row(row, attribute, sink)?,
        }
    }
    Ok(())
}

fn json_row(row: &Value, attribute: Option<&Attribute>, sink: &mut Sink<'_>) -> Result<(), String> {
    let missing = |what: &dyn std::fmt::Display| format!("there is no `{what}`");
    let value = match (row, attribute) {
        (Value::Object(members), Some(Attribute::Name(name))) => {
            members.get(name).ok_or_else(|| missing(&short(name)))?
        }
        (Value::Object(members), Some(Attribute::Index(index))) => members
            .values()
            .nth(*index)
            .ok_or_else(|| too_short(*index, members.len()))?,
        (Value::Array(values), Some(Attribute::Index(index))) => values
            .get(*index)
            .ok_or_else(|| too_short(*index, values.len()))?,
        (Value::Object(members), None) if members.len() == 1 => {
            members.values().next().unwrap_or(&Value::Null)
        }
        (Value::Array(values), _) if values.len() == 1 => &values[0],
        (Value::Object(_) | Value::Array(_), None) => {
            return Err("several values in a row; set the attribute of one of them".to_owned());
        }
        (Value::Array(_), Some(name)) => return Err(missing(name)),
        (_, Some(Attribute::Index(index))) if *index > 0 => return Err(too_short(*index, 1)),
        (value, _) => value,
    };
    scalar(value, sink)
}

fn scalar(value: &Value, sink: &mut Sink<'_>) -> Result<(), String> {
    match value {
        Value::Null => sink(Cell::Missing),
        Value::Bool(true) => sink(Cell::Text("true")),
        Value::Bool(false) => sink(Cell::Text("false")),
        Value::Number(number) => sink(Cell::Text(&number.to_string())),
        Value::String(text) => sink(cell_of(text)),
        Value::Array(_) | Value::Object(_) => {
            Err("the value is an array or an object, not a number or a text".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Payload;
    use super::*;

    fn column(data: &str, encoding: &str, attribute: Option<&str>) -> Result<Vec<String>, String> {
        let payload = Payload {
            content_type: "application/json".into(),
            data: data.into(),
            encoding: encoding.into(),
        };
        let attribute = attribute.map(|text| Attribute::parse(text).unwrap());
        let mut values = Vec::new();
        payload.content()?.column(attribute.as_ref(), &mut |cell| {
            values.push(match cell {
                Cell::Missing => "-".to_owned(),
                Cell::Number(value) => value.to_string(),
                Cell::Text(text) => text.to_owned(),
            });
            Ok(())
        })?;
        Ok(values)
    }

    #[test]
    fn a_value_per_row_is_located() {
        for (data, encoding, attribute, expected) in [
            ("0.25", "CSV", Some("0"), vec!["0.25"]),
            ("1,0.25\n0,0.5\r\n\n", "CSV", Some("1"), vec!["0.25", "0.5"]),
            ("1,\"a,b\"\n0,", "CSV", Some("1"), vec!["a,b", "-"]),
            ("1\n0\n", "CSV", None, vec!["1", "0"]),
            ("\"a,b\"\r\n\n\"c\"", "CSV", None, vec!["a,b", "c"]),
            ("1", "CSV", Some("label"), vec!["1"]),
            ("0.5", "JSON", Some("0"), vec!["0.5"]),
            ("{\"label\": 1}", "JSON", None, vec!["1"]),
            ("{\"label\": 1,\"a\":2}", "JSON", Some("label"), vec!["1"]),
            (
                "{\"p\":\"a\"}\n{\"p\":null}",
                "JSON",
                Some("p"),
                vec!["a", "-"],
            ),
            (
                "[{\"p\":1},{\"p\":true}]",
                "JSON",
                Some("p"),
                vec!["1", "true"],
            ),
            ("[[1,0.5],[0,0.25]]", "JSON", Some("1"), vec!["0.5", "0.25"]),
            ("[1,0.5]", "JSON", Some("1"), vec!["0.5"]),
            ("[1,0]", "JSON", None, vec!["1", "0"]),
            (
                "{\"predictions\":[{\"score\":9007199254740993}]}",
                "JSON",
                Some("$.predictions[*].score"),
                vec!["9007199254740993"],
            ),
            ("eyJwIjogM30=", "BASE64", Some("p"), vec!["3"]),
        ] {
            assert_eq!(
                column(data, encoding, attribute).unwrap(),
                expected,
                "{data}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (data, encoding, attribute, message) in [
            ("1,2", "CSV", Some("2"), "index 2 of a row with 2 values"),
            (
                "1,2",
                "CSV",
                Some("p"),
                "`p` cannot be found: the data is CSV",
            ),
            ("1,2", "CSV", Some("$.p"), "`$.p` cannot be found"),
            ("1,2", "CSV", None, "2 values in a row"),
            ("{\"a\":1,\"b\":2}", "JSON", None, "several values"),
            ("{\"a\":1}", "JSON", Some("p"), "there is no `p`"),
            ("{\"a\":[1]}", "JSON", Some("a"), "is an array or an object"),
            ("{\"a\":1}", "JSON", Some("$.b"), "there is no `$.b`"),
            ("{\"a\"", "JSON", Some("a"), "not JSON"),
            ("1\n\n\"x", "CSV", Some("0"), "line 3: a quote is opened"),
            ("/w==", "BASE64", Some("0"), "is not text"),
            ("x", "XML", Some("0"), "unknown encoding `XML`"),
        ] {
            let error = column(data, encoding, attribute).unwrap_err();
            assert!(error.contains(message), "{data}: {error}");
        }
    }

    #[test]
    fn payloads_with_millions_of_values_are_refused() {
        let many = |part: &str| part.repeat(MAX_VALUES);
        for (data, encoding, attribute) in [
            (format!("[{}1]", many("1,")), "JSON", None),
            (format!("{{\"p\":[{}1]}}", many("1,")), "JSON", Some("$.p")),
            (format!("1 {}{}", many("["), many("]")), "JSON", None),
            (format!("\"1\"{}", many("\n1")), "CSV", None),
            (format!("\"1\"{}", many(",")), "CSV", Some("0")),
        ] {
            let error = column(&data, encoding, attribute).unwrap_err();
            assert!(error.contains("more than 1048576 values"), "{error}");
        }
        // A text is one value, and documents are parsed one after another.
        let text = many(",");
        let documents = format!("[\"{text}\"] [\"\\\"{text}\"]");
        assert_eq!(column(&documents, "JSON", None).unwrap().len(), 2);
        // Nothing is copied.
        let wide = column(&many(","), "CSV", None).unwrap_err();
        assert!(wide.starts_with("1048577 values in a row"), "{wide}");
    }

    #[test]
    fn one_line_may_be_a_column() {
        let mut values = Vec::new();
        let content = Content::Csv("0.1,0.2,0.3\n".into());
        let one = content.line(&mut |cell| {
            values.push(format!("{cell:?}"));
            Ok(())
        });
        assert_eq!((one, values.len()), (Ok(true), 3));
        assert_eq!(Content::Csv("1\n2".into()).line(&mut |_| Ok(())), Ok(false));
    }
}
