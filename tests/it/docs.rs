//! Checks that the links and paths in the documentation exist.

use std::path::{Path, PathBuf};

/// The hand-written pages: README.md, CONTRIBUTING.md, docs/, and those next to the code.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![
        root.join("README.md"),
        root.join("CONTRIBUTING.md"),
        root.join("src/README.md"),
    ];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        pages.push(entry.unwrap().path());
    }
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        pages.push(entry.unwrap().path().join("README.md"));
    }
    pages
}

#[test]
fn links_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)#\s]+)(#[^)]*)?\)").unwrap();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for found in link.captures_iter(&text) {
            let target = &found[1];
            assert!(
                target.contains("://") || page.parent().unwrap().join(target).exists(),
                "{}: {target} does not exist",
                page.display()
            );
        }
    }
}

#[test]
fn paths_of_the_repository_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path =
        regex::Regex::new(r"`((?:src|crates|tests|tools|benches|fuzz|docs)/[A-Za-z0-9_./-]+)`")
            .unwrap();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for found in path.captures_iter(&text) {
            let name = &found[1];
            // NAME is a placeholder for a file that the reader creates.
            assert!(
                name.contains("NAME") || root.join(name).exists(),
                "{}: {name} does not exist",
                page.display()
            );
        }
    }
}
