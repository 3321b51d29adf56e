//! The text of `Fn::Sub`: its variables and what is between them.

/// A part of a `Fn::Sub` text.
pub(super) enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// The name in `${Name}`.
    Variable(&'a str),
    /// The text of `${!Text}`, which stands for `${Text}`.
    Literal(&'a str),
}

/// The parts of a `Fn::Sub` text, in their order.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else {
            break;
        };
        found.push(Piece::Text(&rest[..start]));
        let name = &rest[start + 2..start + end];
        found.push(match name.strip_prefix('!') {
            Some(literal) => Piece::Literal(literal),
            None => Piece::Variable(name.trim()),
        });
        rest = &rest[start + end + 1..];
    }
    found.push(Piece::Text(rest));
    found
}

/// The variables of a `Fn::Sub` text.
pub(crate) fn placeholders(text: &str) -> Vec<&str> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name),
            Piece::Text(_) | Piece::Literal(_) => None,
        })
        .collect()
}
