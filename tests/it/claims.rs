//! Claims about AWS that nobody has verified: each has an id, and tests/aws checks some of them.

use std::collections::BTreeSet;
use std::path::Path;

/// Returns the text of each source file of the program and the crates.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending = vec![root.join("src"), root.join("crates")];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn every_unverified_claim_has_an_id_of_its_own() {
    // A comment may break between any two words.
    let gap = r"(?:\s|//[/!]?)+";
    let mark = format!(r"(?i)unverified{gap}against{gap}AWS(?:{gap}\[([a-z0-9-]+)\])?");
    let mark = regex::Regex::new(&mark).unwrap();
    let mut ids = BTreeSet::new();
    let mut wrong = String::new();
    for (name, text) in sources() {
        for found in mark.captures_iter(&text) {
            let line = 1 + text[..found.get(0).unwrap().start()].matches('\n').count();
            match found.get(1).map(|id| id.as_str().to_owned()) {
                None => wrong.push_str(&format!("{name}:{line}: no id\n")),
                Some(id) if !ids.insert(id.clone()) => {
                    wrong.push_str(&format!("{name}:{line}: {id} is the id of another claim\n"));
                }
                Some(_) => {}
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "write `unverified against AWS [ID]: …` (CONTRIBUTING.md):\n{wrong}"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws/claims.py");
    let script = std::fs::read_to_string(script).unwrap();
    let checked = regex::Regex::new(r#"@claim\("([^"]+)"\)"#).unwrap();
    for found in checked.captures_iter(&script) {
        assert!(
            ids.contains(&found[1]),
            "no source has the claim {}",
            &found[1]
        );
    }
}
