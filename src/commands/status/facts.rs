//! The state of a project as pairs of a name and a word, to be compared.

use std::collections::BTreeMap;

use super::StatusReport;
use crate::aws::project_runs::short;
use crate::releases::store::Outcome;

impl StatusReport {
    /// Returns the state of each part that can change, by its name.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        let mut add = |what: String, state: String| {
            facts.insert(what, state);
        };
        for stack in &self.stacks {
            let status = stack.status.as_deref().unwrap_or("not deployed");
            add(format!("stack {}", stack.part.as_str()), status.to_owned());
        }
        if let Some(notebook) = &self.notebook {
            add("notebook".to_owned(), notebook.status.clone());
        }
        if let Some(image) = &self.image {
            add(
                "image".to_owned(),
                format!("sha256:{}", image.digest.short()),
            );
        }
        if let Some(version) = self.data.as_ref().and_then(|data| data.version.clone()) {
            add("data".to_owned(), format!("version {version}"));
        }
        for run in &self.runs {
            add(format!("run {}", run.id), run.status.to_string());
        }
        for delivered in &self.delivery {
            if let (Some(run), Some(status)) = (&delivered.run, &delivered.status) {
                let name = format!("{} {}", delivered.pipeline.name, short(run));
                add(name, status.to_string());
            }
        }
        for waiting in &self.waiting {
            // Versions have their own state.
            if waiting.run.is_some() {
                let state = format!("waits for {}", waiting.waits_for);
                add(waiting.what.clone(), state);
            }
        }
        for model in &self.models {
            add(
                format!("version {}", model.version),
                model.status.to_string(),
            );
        }
        if let Some(endpoint) = &self.endpoint {
            add("endpoint".to_owned(), endpoint.status.to_string());
        }
        if let Some(live) = self.live {
            add("live".to_owned(), format!("version {live}"));
        }
        if let Some(last) = &self.last_release {
            let word = last.outcome.map_or("in progress", Outcome::as_str);
            add(format!("release {}", last.release), word.to_owned());
        }
        if let Some(monitor) = &self.monitor {
            let found = format!("{} violations at {}", monitor.violations, monitor.time);
            add("monitoring".to_owned(), found);
        }
        for billed in &self.billed {
            add(
                format!("billed by the hour, {}", billed.name),
                billed.to_string(),
            );
        }
        facts
    }
}
