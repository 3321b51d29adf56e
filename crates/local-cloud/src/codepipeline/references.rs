//! References to variables in the configuration of actions: `#{NAMESPACE.KEY}` (pure).

/// A reference in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// The whole text, `#{a.b}`.
    pub(super) text: &'a str,
    /// Namespace and key; `None` if the text between the braces is not of this form.
    pub(super) name: Option<(&'a str, &'a str)>,
}

/// Where the next reference in a text begins, and the position after it.
fn next(text: &str) -> Option<(usize, usize)> {
    let start = text.find("#{")?;
    let end = text[start..].find('}')?;
    Some((start, start + end + 1))
}

/// The references in a text, in order. Text after `#{` without a closing brace is no reference.
pub(super) fn all(text: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((start, end)) = next(rest) {
        let whole = &rest[start..end];
        let name = whole[2..whole.len() - 1].split_once('.');
        let name = name.filter(|(namespace, key)| !namespace.is_empty() && !key.is_empty());
        found.push(Reference { text: whole, name });
        rest = &rest[end..];
    }
    found
}

/// Why a text cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// This reference has no value.
    Missing(String),
    /// The resolved text is too long.
    TooLong,
}

/// Replaces each reference with its value. The result has at most `longest` bytes: references can repeat a large value
/// any number of times. Values are not searched for references.
pub(super) fn resolve<V: AsRef<str>>(
    text: &str,
    longest: usize,
    value: impl Fn(&str, &str) -> Option<V>,
) -> Result<String, Unresolved> {
    let mut resolved = String::new();
    let mut push = |part: &str| {
        if part.len() > longest - resolved.len() {
            return Err(Unresolved::TooLong);
        }
        resolved.push_str(part);
        Ok(())
    };
    let mut rest = text;
    while let Some((start, end)) = next(rest) {
        let whole = &rest[start..end];
        let found = whole[2..whole.len() - 1]
            .split_once('.')
            .and_then(|(namespace, key)| value(namespace, key))
            .ok_or_else(|| Unresolved::Missing(whole.to_owned()))?;
        push(&rest[..start])?;
        push(found.as_ref())?;
        rest = &rest[end..];
    }
    push(rest)?;
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_a_namespace_and_a_key() {
        let found = all("a #{x.y} #{} #{b} #{c.} #{d.e.f} #{open");
        let names: Vec<_> = found.iter().map(|reference| reference.name).collect();
        let expected = [Some(("x", "y")), None, None, None, Some(("d", "e.f"))];
        assert_eq!(names, expected);
        assert_eq!(found[0].text, "#{x.y}");
        assert!(all("# {a.b} {a.b} #a.b").is_empty());
    }

    #[test]
    fn values_replace_references_once() {
        let value = |namespace: &str, key: &str| {
            let value = format!("{namespace}/{key}#{{x.y}}");
            (namespace != "none").then_some(value)
        };
        let resolve = |text: &str| resolve(text, 100, value);
        let missing = |text: &str| -> Result<String, Unresolved> {
            Err(Unresolved::Missing(text.to_owned()))
        };
        assert_eq!(resolve("-#{a.b}-").unwrap(), "-a/b#{x.y}-");
        assert_eq!(resolve("plain").unwrap(), "plain");
        assert_eq!(resolve("#{a.b}#{none.c}"), missing("#{none.c}"));
        assert_eq!(resolve("#{wrong}"), missing("#{wrong}"));
    }

    #[test]
    fn a_text_stops_growing_at_its_limit() {
        let large = "x".repeat(40);
        let reads = std::cell::Cell::new(0);
        let value = |_: &str, _: &str| {
            reads.set(reads.get() + 1);
            Some(&large)
        };
        assert_eq!(resolve("#{a.b}#{a.b}....", 84, value).unwrap().len(), 84);
        assert_eq!(
            resolve("#{a.b}#{a.b}.....", 84, value),
            Err(Unresolved::TooLong)
        );
        reads.set(0);
        let many = "#{a.b}".repeat(1000);
        assert_eq!(resolve(&many, 100, value), Err(Unresolved::TooLong));
        assert_eq!(reads.get(), 3);
    }
}
