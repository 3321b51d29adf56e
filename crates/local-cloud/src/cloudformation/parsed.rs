//! Cache of parsed templates. The engine needs a stack's template for each step, and clients describe a stack
//! several times per second while they wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::template::Template;
use crate::Cloud;
use crate::api::ApiResult;

/// The templates that are kept. A project has eight stacks, and a template has at most 1 MiB.
const KEPT: usize = 32;

/// Templates by their text.
#[derive(Debug, Default)]
struct Parsed(Mutex<HashMap<String, Arc<Template>>>);

/// The template with this text.
pub(super) fn template(cloud: &Cloud, text: &str) -> ApiResult<Arc<Template>> {
    let parsed = &cloud.state::<Parsed>().0;
    let lock = || parsed.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = lock().get(text) {
        return Ok(found.clone());
    }
    let template = Arc::new(Template::parse(text)?);
    let mut kept = lock();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(text.to_owned(), template.clone());
    Ok(template)
}
