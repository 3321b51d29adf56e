//! Where the statements of a policy are in its text.

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The first and the last character of each statement of a valid policy.
pub(crate) fn statements(text: &str) -> Vec<(Position, Position)> {
    let mut found = Vec::new();
    let mut at = Position { line: 1, column: 0 };
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    let mut string = String::new();
    // Whether the value of `Statement` has begun, and the depth at which its objects begin.
    let mut objects: Option<usize> = None;
    let mut start = at;
    for character in text.chars() {
        if character == '\n' {
            at = Position {
                line: at.line + 1,
                column: 0,
            };
        } else {
            at.column += 1;
        }
        if in_text {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '"' => in_text = false,
                _ => string.push(character),
            }
            continue;
        }
        match character {
            '"' => {
                in_text = true;
                string.clear();
            }
            ':' if depth == 1 && string == "Statement" => objects = Some(1),
            ',' if depth == 1 => objects = None,
            '[' => {
                if depth == 1 && objects.is_some() {
                    objects = Some(2);
                }
                depth += 1;
            }
            '{' => {
                if objects == Some(depth) {
                    start = at;
                }
                depth += 1;
            }
            ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if objects == Some(depth) {
                    found.push((start, at));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_in_a_list_or_alone() {
        let at = |line, column| Position { line, column };
        let list = "{\"Id\": \"Statement\", \"Statement\": [\n  {\"a\": {\"b\": \"}\"}},\n{\n}]}";
        assert_eq!(
            statements(list),
            [(at(2, 3), at(2, 19)), (at(3, 1), at(4, 1))]
        );
        let alone = "{\"Statement\": {\"a\": [{}]}, \"Version\": {}}";
        assert_eq!(statements(alone), [(at(1, 15), at(1, 25))]);
    }
}
