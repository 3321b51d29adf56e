//! No two files of a package import each other, except a module and its descendants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// A module's path within its package; empty for lib.rs.
type Module = Vec<String>;

/// Pairs in the local cloud that still import each other; do not add pairs.
const REMAINING: &[(&str, &str)] = &[];

/// The tests at the end of a file.
static TESTS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^#\[cfg\(test\)\]\n(#\[.*\n)*(pub )?mod \w+ \{"));

/// Comments and strings.
static SKIPPED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r##"(?s)//[^\n]*|r#+".*?"#+|r?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'"##)
});

static ITEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"\buse ([^;]+);"));
static CHILD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bmod (\w+);"));
static INLINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\w+::)+\w+"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

const PACKAGES: [&str; 6] = [
    "src",
    "crates/core/src",
    "crates/oci/src",
    "crates/pipeline/src",
    "crates/validation/src",
    "crates/local-cloud/src",
];

/// The source files of a package by module, without main.rs.
fn files(root: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let below = path.strip_prefix(root).unwrap().with_extension("");
            let mut module: Module = below.iter().map(|p| p.to_str().unwrap().into()).collect();
            if module == ["main"] {
                continue;
            }
            if module == ["lib"] {
                module.clear();
            }
            found.insert(module, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// Returns only the code: no comments, no string contents, and no tests at the end of the file.
fn code(text: &str) -> String {
    let text = TESTS
        .find(text)
        .map_or(text, |found| &text[..found.start()]);
    SKIPPED.replace_all(text, "_").into_owned()
}

/// Returns the paths of a `use` tree, each with the name that it binds.
fn paths(tree: &str, prefix: &[String], found: &mut Vec<(Module, String)>) {
    let tree = tree.trim();
    if let Some((head, list)) = tree.split_once('{') {
        let mut prefix = prefix.to_vec();
        prefix.extend(
            head.split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned),
        );
        let list = list.strip_suffix('}').unwrap_or(list);
        let (mut depth, mut start) = (0, 0);
        for (at, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    paths(&list[start..at], &prefix, found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        paths(&list[start..], &prefix, found);
    } else if !tree.is_empty() {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut whole = prefix.to_vec();
        whole.extend(path.trim().split("::").map(str::to_owned));
        if whole.last().is_some_and(|last| last == "self") {
            whole.pop();
        }
        let name = match alias.trim() {
            "" => whole.last().cloned().unwrap_or_default(),
            alias => alias.to_owned(),
        };
        found.push((whole, name));
    }
}

/// Returns the names that lib.rs imports, such as `Cloud`, with their true paths.
fn root_names(files: &BTreeMap<Module, String>) -> BTreeMap<String, Module> {
    let text = files.get(&Module::new()).map_or("", String::as_str);
    let mut found = Vec::new();
    for item in ITEM.captures_iter(&code(text)) {
        paths(&item[1], &[], &mut found);
    }
    found.into_iter().map(|(path, name)| (name, path)).collect()
}

/// Returns the modules that a file references.
fn imports(
    files: &BTreeMap<Module, String>,
    root_names: &BTreeMap<String, Module>,
    module: &Module,
    text: &str,
) -> BTreeSet<Module> {
    let text = code(text);
    let mut aliases: BTreeMap<String, Module> = BTreeMap::new();
    for name in CHILD.captures_iter(&text) {
        let path = [&module[..], &[name[1].to_owned()]].concat();
        if files.contains_key(&path) {
            aliases.insert(name[1].to_owned(), path);
        }
    }
    let resolve = |path: &[String], aliases: &BTreeMap<String, Module>| -> Option<Module> {
        let first = path.first()?;
        let (base, rest) = match first.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let kept = module.len().checked_sub(up)?;
                (module[..kept].to_vec(), &path[up..])
            }
            name => (aliases.get(name)?.clone(), &path[1..]),
        };
        let path = [base, rest.to_vec()].concat();
        let Some((first, rest)) = path.split_first() else {
            return Some(path);
        };
        match root_names.get(first) {
            Some(true_path) if !files.contains_key(&path[..1]) => {
                Some([&true_path[..], rest].concat())
            }
            _ => Some(path),
        }
    };
    let mut named = BTreeSet::new();
    let mut add = |path: &[String]| {
        let file = (0..=path.len()).rev().map(|length| path[..length].to_vec());
        if let Some(file) = file.into_iter().find(|file| files.contains_key(file))
            && file != *module
        {
            named.insert(file);
        }
    };
    for item in ITEM.captures_iter(&text) {
        let mut found = Vec::new();
        paths(&item[1], &[], &mut found);
        for (path, name) in found {
            if let Some(path) = resolve(&path, &aliases) {
                add(&path);
                if files.contains_key(&path) {
                    aliases.insert(name, path);
                }
            }
        }
    }
    for path in INLINE.find_iter(&ITEM.replace_all(&text, "")) {
        let path: Module = path.as_str().split("::").map(str::to_owned).collect();
        if let Some(path) = resolve(&path, &aliases) {
            add(&path);
        }
    }
    named
}

/// Returns the pairs of files that import each other.
fn circles(files: &BTreeMap<Module, String>) -> Vec<(String, String)> {
    let root_names = root_names(files);
    let all: BTreeMap<&Module, BTreeSet<Module>> = files
        .iter()
        .map(|(module, text)| (module, imports(files, &root_names, module, text)))
        .collect();
    let mut found = Vec::new();
    for (module, named) in &all {
        for other in named.iter().filter(|other| *module < other) {
            if all[other].contains(*module) && !other.starts_with(module) {
                found.push((module.join("/"), other.join("/")));
            }
        }
    }
    found
}

#[test]
fn no_two_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for package in PACKAGES {
        for (a, b) in circles(&files(&root.join(package))) {
            let known = REMAINING.iter().any(|known| {
                package == "crates/local-cloud/src" && (known.0, known.1) == (&*a, &*b)
            });
            if !known {
                found.push(format!("{package}: {a} and {b}"));
            }
        }
    }
    assert!(found.is_empty(), "import each other:\n{}", found.join("\n"));
}

#[test]
fn circles_are_found_in_every_spelling() {
    let package = |a: &str, b: &str| -> BTreeMap<Module, String> {
        let path = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
        BTreeMap::from([
            (Module::new(), "mod x; use x::b::B as Other;".to_owned()),
            (path("x"), "mod a; mod b; use a::A;".to_owned()),
            (path("x/a"), a.to_owned()),
            (path("x/b"), b.to_owned()),
        ])
    };
    for spelling in [
        "use super::b::B;",
        "use crate::x::{c::{self, D}, b};",
        "use super::{b as other};",
        "fn f() { crate::x::b::f() }",
        "use crate::x; fn f() { x::b::f() }",
        "use super::super::x::b::*;",
        "use crate::Other;",
        "use crate::{x::c, Other as O};",
    ] {
        let found = circles(&package(spelling, "use super::a;"));
        assert_eq!(found, [("x/a".to_owned(), "x/b".to_owned())], "{spelling}");
    }
    for spelling in [
        "// use super::b;",
        "const TEXT: &str = \"crate::x::b::f\";",
        "use super::c::b;",
        "#[cfg(test)]\nmod tests {\n    use super::super::b;\n}",
    ] {
        assert!(
            circles(&package(spelling, "use super::a;")).is_empty(),
            "{spelling}"
        );
    }
}
