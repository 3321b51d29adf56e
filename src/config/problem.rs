//! Explains errors in a TOML file. A repository can make `mlops.toml` a symbolic link to a secret,
//! so the error gives line, column and key, and never quotes a value.

use mlops_core::quote;

/// Why a TOML file is invalid: line, column and key, without any value of the file.
pub fn toml_problem(bytes: &[u8], error: &toml::de::Error) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let place = place(bytes, error.valid_up_to());
            return format!("{place}: the file is not UTF-8");
        }
    };
    let span = error.span().unwrap_or_default();
    let place = place(bytes, span.start);
    if toml::from_str::<toml::Table>(text).is_err() {
        // The parser's own messages do not quote the file.
        return format!("{place}: {}", quote::bounded(error.message()));
    }
    let value = text
        .get(span)
        .and_then(|value| toml::from_str::<toml::Table>(&format!("value = {value}")).ok())
        .and_then(|table| table.get("value")?.as_str().map(str::to_owned));
    let message = quote::bounded(&without_value(error.message(), value.as_deref()));
    match key(error) {
        Some(key) => format!("{place}, `{}`: {message}", quote::short(&key)),
        None => format!("{place}: {message}"),
    }
}

/// Returns the path of the key whose value is invalid.
fn key(error: &toml::de::Error) -> Option<String> {
    // The library reports the path only if it has no text to quote.
    let mut bare = error.clone();
    bare.set_input(None);
    let shown = bare.to_string();
    let shown = shown.strip_prefix(error.message())?.trim();
    let key = shown.strip_prefix("in `")?.strip_suffix('`')?;
    Some(key.to_owned())
}

/// Returns the message of a deserializer without the value that it rejected.
fn without_value(message: &str, value: Option<&str>) -> String {
    let known = quote::without_value(message);
    if known != message {
        return known;
    }
    let is_about_a_key = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .any(|start| message.starts_with(start));
    let Some(value) = value.filter(|_| !is_about_a_key) else {
        return message.to_owned();
    };
    let mut message = message.to_owned();
    for form in [
        value.to_owned(),
        quote::short(value),
        mlops_core::text::clean(value),
    ] {
        message = message.replace(&format!("`{form}`"), "the value");
        message = message.replace(&format!("{form:?}"), "the value");
        if form.chars().count() > 3 {
            message = message.replace(&form, "…");
        }
    }
    message
}

/// Formats the position of a byte in a text.
fn place(bytes: &[u8], at: usize) -> String {
    let before = &bytes[..at.min(bytes.len())];
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let column = 1 + String::from_utf8_lossy(&before[start..]).chars().count();
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only errors are of interest")]
    struct File {
        name: mlops_core::names::ProjectName,
        count: Option<u8>,
        pinned: Option<jiff::Timestamp>,
        color: Option<Color>,
        inner: Option<Box<File>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
        Green,
    }

    fn problem(text: &str) -> String {
        toml_problem(
            text.as_bytes(),
            &toml::from_slice::<File>(text.as_bytes()).unwrap_err(),
        )
    }

    #[test]
    fn a_toml_problem_names_position_and_key_but_no_value() {
        for (text, expected) in [
            ("name = 5 5", "line 1, column 8: "),
            ("secret-token-1", "line 1, column "),
            (
                "[default]\naws_secret_access_key = secret-token-1\n",
                "line 2, column 25",
            ),
            (
                "name = \"secret-token-1!\"",
                "line 1, column 8, `name`: the value is not a project name",
            ),
            (
                "name = \"a`, expected secret-token-1\"",
                "`name`: the value is not a project name",
            ),
            (
                "name = 12345678",
                "`name`: invalid type: integer, expected a string",
            ),
            (
                "name = \"ab\"\n\n[inner]\nname = \"ab\"\ncount = \"secret-token-1, expected x\"",
                "line 5, column 9, `inner.count`: invalid type: string, expected u8",
            ),
            (
                "name = \"ab\"\ncolor = \"secret-token-1\"",
                "unknown value, expected `red` or `green`",
            ),
            (
                "name = \"ab\"\npinned = \"secret-token-1\"",
                "line 2, column 10, `pinned`: ",
            ),
            (
                "name = \"ab\"\nnam = \"secret-token-1\"",
                "unknown field `nam`, expected one of `name`",
            ),
        ] {
            let shown = problem(text);
            assert!(shown.contains(expected), "{text}: {shown}");
            assert!(
                !shown.contains("secret-token") && !shown.contains("12345678"),
                "{shown}"
            );
        }
        let long = problem(&format!("name = \"ab\"\n{} = 1", "k".repeat(100_000)));
        assert!(
            long.contains("unknown field `kkk") && long.len() < 500,
            "{long}"
        );
        let latin = toml_problem(
            b"name = \"ab\"\nx = \"\xf6\"",
            &toml::from_slice::<File>(b"\xf6").unwrap_err(),
        );
        assert_eq!(latin, "line 2, column 6: the file is not UTF-8");
    }
}
