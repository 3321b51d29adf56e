//! Entry points of the fuzz targets for decoders.

use std::collections::BTreeSet;
use std::io::Write;

use mlops_local_cloud::decoders;
use mlops_pipeline::{self as pipeline, Definition, ExpressionError, Graph};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

pub use decoders::{cbor, event_pattern, form, template};

/// Checks and decodes JSON. JSON that passes the check must be within the limits and have no
/// duplicate keys, and JSON that satisfies both must pass.
pub fn json(bytes: &[u8]) {
    let checked = decoders::check_json(bytes);
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let within = decoders::is_within(&value);
    let tree: Tree = serde_json::from_slice(bytes).expect("is JSON");
    match checked {
        Ok(()) => assert!(within && tree.is_unique()),
        Err(reason) => assert!(
            !within || !tree.is_unique() || bytes.len() > decoders::MAX_VALUES,
            "{reason}"
        ),
    }
}

/// JSON with every member of its objects, as serde decodes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tree {
    Object(Members),
    Array(Vec<Tree>),
    Scalar(IgnoredAny),
}

impl Tree {
    /// Returns true if no object has a duplicate key.
    fn is_unique(&self) -> bool {
        match self {
            Self::Object(Members(members)) => {
                let keys: BTreeSet<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
                keys.len() == members.len() && members.iter().all(|(_, value)| value.is_unique())
            }
            Self::Array(items) => items.iter().all(Self::is_unique),
            Self::Scalar(_) => true,
        }
    }
}

struct Members(Vec<(String, Tree)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// Parses a pipeline definition, sorts its steps and evaluates its expressions.
pub fn definition(text: &str) {
    let Ok(definition) = Definition::checked(text) else {
        return;
    };
    let graph = Graph::new(&definition).expect("was checked");
    for node in &graph.nodes {
        let _ = pipeline::evaluate(&node.step.arguments, &Nothing);
    }
}

/// A scope in which every value is text.
struct Nothing;

impl pipeline::Scope for Nothing {
    fn parameter(&self, name: &str) -> Option<Value> {
        Some(name.into())
    }
    fn execution(&self, name: &str) -> Option<Value> {
        Some(name.into())
    }
    fn step(&self, name: &str) -> Option<Value> {
        Some(name.into())
    }
    fn property_file(&self, _: &str, file: &str) -> Result<Value, ExpressionError> {
        Ok(file.into())
    }
    fn json_object(&self, uri: &str) -> Result<Value, ExpressionError> {
        Ok(uri.into())
    }
}

/// Checks and unpacks a function's zip; nothing may appear outside its directory.
pub fn zip(bytes: &[u8]) {
    let outer = tempfile::tempdir().expect("a directory");
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).expect("is made");
    decoders::unpack(bytes, &inner);
    assert_eq!(outer.path().read_dir().expect("is there").count(), 1);
}

/// Reads an image archive.
pub fn tar(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("is written");
    let names = ["manifest.json", "index.json", "oci-layout", "a/b", "a/link"];
    for content in mlops_oci::decoders::read(file.path(), &names) {
        // The bytes of an entry are part of the archive.
        assert!(content.len() <= bytes.len());
    }
}
