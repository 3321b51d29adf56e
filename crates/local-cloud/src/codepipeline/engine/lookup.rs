//! What a change reads: executions by id or by what they did, and whether more may begin.

use super::super::declaration::ExecutionMode;
use super::super::records::{Execution, ended, key, no_execution, numbers, prefix};
use super::Board;
use crate::api::ApiResult;

/// Maximum number of executions in progress of a pipeline that is QUEUED or PARALLEL (quotas of the user guide).
pub(in crate::codepipeline) const MAX_OPEN: usize = 50;

/// Maximum number of executions in progress of a pipeline that is SUPERSEDED. Only rollbacks come near: without them,
/// each of at most 50 stages has one execution in it and one before it.
const MAX_SUPERSEDED: usize = 150;

/// Maximum number of rollbacks in progress of a pipeline. AWS has no such quota.
const MAX_ROLLBACKS: usize = 50;

/// Number of records that are read at once in a search of the history.
const CHUNK: usize = 100;

impl Board<'_> {
    /// The position of the execution in progress with this id.
    pub(in crate::codepipeline) fn position(&self, id: &str) -> Option<usize> {
        let mut entries = self.entries.iter();
        entries.position(|entry| entry.execution.id == id)
    }

    /// The execution with this id, in progress or not.
    pub(in crate::codepipeline) fn find(&self, id: &str) -> ApiResult<Execution> {
        if let Some(at) = self.position(id) {
            return Ok(self.entries[at].execution.clone());
        }
        let number = numbers(self.cloud).get_in(self.tx, &format!("{}/{id}", self.name()))?;
        let found = match number {
            Some(number) => ended(self.cloud).get_in(self.tx, &key(self.name(), number))?,
            None => None,
        };
        found.ok_or_else(|| no_execution(self.name(), id))
    }

    /// The newest execution that is wanted, in progress or not.
    pub(super) fn newest(
        &self,
        is_wanted: impl Fn(&Execution) -> bool,
    ) -> ApiResult<Option<Execution>> {
        let open = self.entries.iter().rev().map(|entry| &entry.execution);
        let open = open.filter(|it| is_wanted(it)).max_by_key(|it| it.number);
        let mut end: Option<String> = None;
        loop {
            let prefix = prefix(self.name());
            let chunk = ended(self.cloud).last_in(self.tx, &prefix, end.as_deref(), CHUNK)?;
            let Some((last, _)) = chunk.last() else {
                return Ok(open.cloned());
            };
            end = Some(last.clone());
            let mut chunk = chunk.into_iter().map(|(_, execution)| execution);
            let found =
                chunk.find(|it| open.is_some_and(|open| open.number > it.number) || is_wanted(it));
            match (found, open) {
                (Some(found), Some(open)) if open.number > found.number => {
                    return Ok(Some(open.clone()));
                }
                (Some(found), _) => return Ok(Some(found)),
                (None, _) => {}
            }
        }
    }

    /// True if no more executions may be in progress.
    pub(in crate::codepipeline) fn is_full(&self) -> bool {
        self.entries.len() >= self.limit()
    }

    fn limit(&self) -> usize {
        match self.pipeline.declaration.execution_mode {
            ExecutionMode::Superseded => MAX_SUPERSEDED,
            ExecutionMode::Queued | ExecutionMode::Parallel => MAX_OPEN,
        }
    }

    /// True if no more rollbacks may be in progress, apart from `ending` executions that are about to end.
    pub(in crate::codepipeline) fn is_full_of_rollbacks(&self, ending: usize) -> bool {
        let rollbacks = self.entries.iter();
        let rollbacks = rollbacks.filter(|entry| entry.execution.rollback.is_some());
        self.entries.len() - ending >= self.limit() || rollbacks.count() >= MAX_ROLLBACKS
    }

    /// True before an action has ended.
    pub(in crate::codepipeline) fn is_running(&self, number: u64, run: &str) -> bool {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.execution.number == number);
        let run = entry.and_then(|entry| entry.execution.run(run));
        run.is_some_and(|(_, run)| run.is_open())
    }

    /// True if the pipeline, or the structure of an execution in progress, has a stage.
    pub(in crate::codepipeline) fn has_stage(&self, name: &str) -> bool {
        let mut entries = self.entries.iter();
        self.pipeline.declaration.stage(name).is_some()
            || entries.any(|entry| entry.structure.stage(name).is_some())
    }
}
