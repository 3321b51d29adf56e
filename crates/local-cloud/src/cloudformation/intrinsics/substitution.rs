//! The text of `Fn::Sub`: its variables and the text between them.

/// A fragment of a `Fn::Sub` text.
pub(super) enum Fragment<'a> {
    /// Literal text.
    Text(&'a str),
    /// The name in `${Name}`.
    Variable(&'a str),
    /// The text of `${!Text}`, which evaluates to `${Text}`.
    Literal(&'a str),
}

/// The fragments of a `Fn::Sub` text, in order.
pub(super) fn fragments(text: &str) -> Vec<Fragment<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else {
            break;
        };
        found.push(Fragment::Text(&rest[..start]));
        let name = &rest[start + 2..start + end];
        found.push(match name.strip_prefix('!') {
            Some(literal) => Fragment::Literal(literal),
            None => Fragment::Variable(name.trim()),
        });
        rest = &rest[start + end + 1..];
    }
    found.push(Fragment::Text(rest));
    found
}

/// The variables of a `Fn::Sub` text.
pub(crate) fn placeholders(text: &str) -> Vec<&str> {
    fragments(text)
        .into_iter()
        .filter_map(|fragment| match fragment {
            Fragment::Variable(name) => Some(name),
            Fragment::Text(_) | Fragment::Literal(_) => None,
        })
        .collect()
}
