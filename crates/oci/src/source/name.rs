//! Resolves a name to an image of an archive or a layout.
//!
//! The same image is called `docker.io/team/app:1` by buildah and podman, `team/app:1` by Docker,
//! and `1` in an OCI layout; users may write any of these.

use crate::registry::ImageReference;

/// An image, and its names in the source.
#[derive(Debug)]
pub(crate) struct NamedImage<'a, T> {
    pub(crate) image: T,
    pub(crate) names: Vec<&'a str>,
}

/// Returns the images that `wanted` names, or all; `same` decides whether two entries are one
/// image. An exact match has precedence, then other spellings of the same name, then a tag alone.
pub(crate) fn choose_by_name<T: Copy>(
    all: &[NamedImage<'_, T>],
    wanted: Option<&str>,
    same: impl Fn(T, T) -> bool,
) -> Vec<T> {
    let find = |means: &dyn Fn(&str) -> bool| {
        let mut found: Vec<T> = Vec::new();
        for named in all {
            let meant = wanted.is_none() || named.names.iter().any(|name| means(name));
            if meant && !found.iter().any(|other| same(*other, named.image)) {
                found.push(named.image);
            }
        }
        found
    };
    let wanted = wanted.unwrap_or_default();
    let whole = normal(wanted);
    let exact = find(&|name| name == wanted);
    if !exact.is_empty() {
        return exact;
    }
    let spelled = find(&|name| whole.is_some() && normal(name) == whole);
    if !spelled.is_empty() {
        return spelled;
    }
    find(&|name| {
        name.parse::<ImageReference>()
            .is_ok_and(|name| name.tag.is_some_and(|tag| tag.as_str() == wanted))
    })
}

/// Normalizes a name to include its host, `library/` and its tag.
fn normal(name: &str) -> Option<String> {
    let name: ImageReference = name.parse().ok()?;
    Some(format!(
        "{}/{}:{}",
        name.host,
        name.repository,
        name.target()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&[&'static str]], wanted: Option<&str>) -> Vec<usize> {
        let all: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(image, names)| NamedImage {
                image,
                names: names.to_vec(),
            })
            .collect();
        choose_by_name(&all, wanted, |one, other| one == other)
    }

    #[test]
    fn every_spelling_of_a_name_means_the_image() {
        for (stored, wanted) in [
            ("docker.io/team/app:1", "team/app:1"),
            ("docker.io/team/app:1", "docker.io/team/app:1"),
            ("docker.io/team/app:1", "index.docker.io/team/app:1"),
            ("docker.io/team/app:1", "1"),
            ("team/app:1", "docker.io/team/app:1"),
            ("docker.io/library/app:latest", "app"),
            ("app:latest", "docker.io/library/app"),
            ("localhost/app:latest", "localhost/app"),
            ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"),
            ("1.0", "1.0"),
        ] {
            assert_eq!(
                chosen(&[&["x:y"], &[stored]], Some(wanted)),
                [1],
                "{stored} {wanted}"
            );
        }
        for (stored, wanted) in [
            ("docker.io/team/app:1", "app:1"),
            ("docker.io/team/app:1", "other/app:1"),
            ("docker.io/team/app:1", "team/app"),
            ("quay.io/team/app:1", "team/app:1"),
            ("localhost/app:1", "app:1"),
        ] {
            assert!(
                chosen(&[&[stored]], Some(wanted)).is_empty(),
                "{stored} {wanted}"
            );
        }
    }

    #[test]
    fn an_exact_name_takes_precedence() {
        let names: &[&[&str]] = &[&["docker.io/library/app:1"], &["app:1"], &["other:1"]];
        assert_eq!(chosen(names, Some("app:1")), [1]);
        assert_eq!(chosen(names, Some("index.docker.io/library/app:1")), [0, 1]);
        assert_eq!(chosen(names, Some("1")), [0, 1, 2]);
        assert_eq!(chosen(names, None), [0, 1, 2]);
    }

    #[test]
    fn an_image_with_two_names_is_one_image() {
        let all = [("a:1", 7), ("a:latest", 7), ("b:1", 8)].map(|(name, image)| NamedImage {
            image,
            names: vec![name],
        });
        let same = |one, other| one == other;
        assert_eq!(choose_by_name(&all[..2], None, same), [7]);
        assert_eq!(choose_by_name(&all, None, same), [7, 8]);
        assert_eq!(choose_by_name(&all, Some("a"), same), [7]);
    }
}
