//! The engine: carries out what [`plan`] decides, in one transaction with what caused it.
//!
//! ```text
//! a request, the end of an action, a timeout ── change: records of the pipeline ── plan::next ── apply ─┐
//!                                                  │                                  ▲                 │
//!                                                  │                                  └─────────────────┘
//!                                                  └── commit ── queue ── executor ── actions::run ── finish
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Transaction;

use super::announce::{self, State};
use super::catalog::{self, Provider};
use super::declaration::{Declaration, RetryMode};
use super::outcome::{Ended, Failure};
use super::plan::{self, Open, Step};
use super::records::{
    ActionRun, ActionStatus, Execution, ExecutionStatus, Job, Location, Pipeline, Rollback,
    StageRun, StageStatus, Stop, Trigger, TriggerType, jobs, key, no_pipeline, numbers, open,
    pipelines, prefix, structure_in,
};
use super::records::{RevisionOverride, ended};
use crate::api::{ApiError, ApiResult};
use crate::clock::{self, Topic, Work};
use crate::cloud::Busy;
use crate::{Cloud, events};

mod lookup;

pub(super) use lookup::MAX_OPEN;

/// Maximum number of steps of one change: far more than the executions and actions of a pipeline need.
const MAX_STEPS: usize = 100_000;

/// An action that starts.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) pipeline: String,
    /// The number of the execution.
    pub(super) number: u64,
    /// The id of the run.
    pub(super) run: String,
}

/// An execution in progress.
pub(super) struct Entry {
    pub(super) execution: Execution,
    /// The structure that it runs with.
    pub(super) structure: Arc<Declaration>,
    was_open: bool,
    is_changed: bool,
}

/// A pipeline and its executions in progress, inside a transaction.
pub(super) struct Board<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) tx: &'a Transaction<'a>,
    pub(super) pipeline: Pipeline,
    /// By their numbers.
    pub(super) entries: Vec<Entry>,
    pub(super) now: Timestamp,
    launches: Vec<Launch>,
}

/// A new execution.
pub(super) struct New {
    pub(super) trigger: Trigger,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) overrides: Vec<RevisionOverride>,
}

/// Changes a pipeline, and carries out everything that follows from it.
pub(super) fn change<R>(
    cloud: &Cloud,
    pipeline: &str,
    work: impl FnOnce(&mut Board<'_>) -> ApiResult<R>,
) -> ApiResult<R> {
    let (result, launches) = cloud.store().transaction(|tx| {
        let mut board = Board::read(cloud, tx, pipeline)?;
        let result = work(&mut board)?;
        board.settle()?;
        board.write()?;
        Ok((result, board.launches))
    })?;
    events::deliver_soon(cloud);
    let started = launches.into_iter().map(|launch| Started {
        work: cloud
            .clock()
            .begin(format!("action {} of pipeline {pipeline}", launch.run)),
        busy: cloud.busy(),
        launch,
    });
    queue(cloud).extend(started);
    cloud.clock().announce(CHANGES);
    Ok(result)
}

/// Announced after pipelines have changed: actions may have started, and deadlines may be new.
pub(super) const CHANGES: Topic = Topic("changes of pipelines");

/// An action that has started. The server is not idle, and the cloud's time waits, until it runs.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) launch: Launch,
    pub(super) work: Work,
    pub(super) busy: Busy,
}

/// The actions that have started and do not run yet.
#[derive(Debug, Default)]
struct Queue(Mutex<Vec<Started>>);

fn queue(cloud: &Cloud) -> MutexGuard<'_, Vec<Started>> {
    let queue = &cloud.state::<Queue>().0;
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the actions that have started since the last call.
pub(super) fn take_started(cloud: &Cloud) -> Vec<Started> {
    std::mem::take(&mut *queue(cloud))
}

impl<'a> Board<'a> {
    fn read(cloud: &'a Cloud, tx: &'a Transaction<'a>, name: &str) -> ApiResult<Self> {
        let found = pipelines(cloud).get_in(tx, name)?;
        let pipeline = found.ok_or_else(|| no_pipeline(name))?;
        let mut board = Self {
            cloud,
            tx,
            pipeline,
            entries: Vec::new(),
            now: cloud.clock().now(),
            launches: Vec::new(),
        };
        for (_, execution) in open(cloud).list_in(tx, &prefix(name))? {
            board.add(execution, true)?;
        }
        Ok(board)
    }

    /// Runs an action that has started before.
    pub(super) fn launch_again(&mut self, launch: Launch) {
        self.launches.push(launch);
    }

    /// The name of the pipeline.
    pub(super) fn name(&self) -> &str {
        &self.pipeline.declaration.name
    }

    /// The current time in responses.
    pub(super) fn seconds(&self) -> f64 {
        clock::seconds(self.now)
    }

    fn add(&mut self, execution: Execution, was_open: bool) -> ApiResult<usize> {
        let mut known = self.entries.iter();
        let structure = match known.find(|it| it.execution.version == execution.version) {
            Some(entry) => entry.structure.clone(),
            None => Arc::new(structure_in(
                self.cloud,
                self.tx,
                self.name(),
                execution.version,
            )?),
        };
        self.entries.push(Entry {
            execution,
            structure,
            was_open,
            is_changed: false,
        });
        Ok(self.entries.len() - 1)
    }

    /// An execution that will be written.
    pub(super) fn execution(&mut self, at: usize) -> &mut Execution {
        let now = self.seconds();
        let entry = &mut self.entries[at];
        entry.is_changed = true;
        entry.execution.updated = now;
        &mut entry.execution
    }

    /// Continues an execution that has ended.
    pub(super) fn reopen(&mut self, id: &str) -> ApiResult<usize> {
        let execution = self.find(id)?;
        let key = key(self.name(), execution.number);
        ended(self.cloud).remove_in(self.tx, &key)?;
        let at = self.add(execution, true)?;
        let execution = self.execution(at);
        execution.status = ExecutionStatus::InProgress;
        execution.stop = None;
        self.entries.sort_by_key(|entry| entry.execution.number);
        self.position(id)
            .ok_or_else(|| ApiError::internal("an execution that was reopened is missing"))
    }

    /// Adds an execution, and returns its id.
    pub(super) fn start(&mut self, new: New) -> ApiResult<String> {
        self.begin(new, None, Vec::new())
    }

    /// Adds an execution that restores a stage as an earlier execution left it, and returns its id.
    pub(super) fn roll_back(
        &mut self,
        target: &Execution,
        stage: &str,
        trigger: Trigger,
    ) -> ApiResult<String> {
        let new = New {
            trigger,
            variables: target.variables.clone(),
            overrides: target.overrides.clone(),
        };
        let rollback = Rollback {
            target: target.id.clone(),
            stage: stage.to_owned(),
        };
        // The artifacts and variables of earlier stages, and none of this or later ones.
        let position = self.pipeline.declaration.stage(stage).unwrap_or(0);
        let before = &self.pipeline.declaration.stages[..position];
        let runs = before.iter().filter_map(|stage| target.stage(&stage.name));
        let runs = runs.flat_map(|stage| {
            stage
                .runs
                .iter()
                .map(|run| (stage.name.clone(), run.clone()))
        });
        self.begin(new, Some((rollback, target)), runs.collect())
    }

    fn begin(
        &mut self,
        new: New,
        rollback: Option<(Rollback, &Execution)>,
        restored: Vec<(String, ActionRun)>,
    ) -> ApiResult<String> {
        let id = uuid::Uuid::new_v4().to_string();
        let now = self.seconds();
        self.pipeline.executions += 1;
        self.pipeline.arrivals += 1;
        let declaration = &self.pipeline.declaration;
        let mut execution = Execution {
            id: id.clone(),
            number: self.pipeline.executions,
            version: declaration.version,
            mode: declaration.execution_mode,
            status: ExecutionStatus::InProgress,
            summary: None,
            started: now,
            updated: now,
            trigger: new.trigger,
            stop: None,
            variables: new.variables,
            overrides: new.overrides,
            revisions: Vec::new(),
            artifacts: BTreeMap::new(),
            outputs: BTreeMap::new(),
            rollback: None,
            arrival: self.pipeline.arrivals,
            stages: Vec::new(),
        };
        if let Some((rollback, target)) = rollback {
            execution.summary = Some(format!("Rollback to pipelineExecutionId {}", target.id));
            execution.rollback = Some(rollback);
            execution.revisions.clone_from(&target.revisions);
            for (stage, run) in restored {
                let action = declaration.action(&stage, &run.action);
                keep(
                    &mut execution,
                    action.and_then(|it| it.namespace.as_deref()),
                    &run,
                );
            }
        }
        let number = format!("{}/{id}", declaration.name);
        numbers(self.cloud).put_in(self.tx, &number, &execution.number)?;
        let at = self.add(execution, false)?;
        self.execution(at);
        self.announce_execution(at, State::Started)?;
        Ok(id)
    }

    /// Carries out steps until the pipeline waits.
    fn settle(&mut self) -> ApiResult<()> {
        for _ in 0..MAX_STEPS {
            let transitions = self.pipeline.transitions.iter();
            let closed = transitions.filter(|(_, transition)| !transition.is_enabled);
            let closed: BTreeSet<&str> = closed.map(|(stage, _)| stage.as_str()).collect();
            let entries = self.entries.iter().map(|entry| Open {
                execution: &entry.execution,
                pipeline: &entry.structure,
            });
            let entries: Vec<Open<'_>> = entries.collect();
            let Some(step) = plan::next(&entries, &closed) else {
                return Ok(());
            };
            self.apply(step)?;
        }
        Err(ApiError::internal("the pipeline does not come to rest"))
    }

    fn apply(&mut self, step: Step) -> ApiResult<()> {
        match step {
            Step::Enter { execution, stage } => self.enter(execution, stage),
            Step::Supersede { execution } => self.end(execution, ExecutionStatus::Superseded),
            Step::Start {
                execution,
                stage,
                actions,
            } => actions
                .into_iter()
                .try_for_each(|action| self.start_action(execution, stage, action)),
            Step::Retry { execution, mode } => self.retry(execution, mode, true),
            Step::EndStage { execution, status } => self.end_stage(execution, status),
            Step::FailAndRollBack { execution } => self.fail_and_roll_back(execution),
            Step::End { execution, status } => self.end(execution, status),
        }
    }

    fn enter(&mut self, at: usize, stage: usize) -> ApiResult<()> {
        let run = StageRun::begin(&self.entries[at].structure.stages[stage]);
        let (name, number) = (run.name.clone(), self.entries[at].execution.number);
        self.execution(at).stages.push(run);
        self.pipeline.entered.insert(name.clone(), number);
        self.announce_stage(at, &name, State::Started)
    }

    fn start_action(&mut self, at: usize, stage: usize, action: usize) -> ApiResult<()> {
        let structure = self.entries[at].structure.clone();
        let (stage, action) = (
            &structure.stages[stage],
            &structure.stages[stage].actions[action],
        );
        let kind = catalog::find(&action.action_type_id);
        let timeout = kind.map_or(0, |kind| kind.timeout);
        let minutes = action.timeout_in_minutes.unwrap_or(timeout);
        let deadline = self.now + SignedDuration::from_mins(i64::from(minutes));
        let mut run = ActionRun::begin(action, self.seconds(), deadline.as_millisecond());
        let execution = &self.entries[at].execution;
        let number = execution.number;
        let mut missing = None;
        for input in &action.input_artifacts {
            match execution.artifacts.get(&input.name) {
                Some(location) => run.inputs.push((input.name.clone(), location.clone())),
                None => missing = Some(&input.name),
            }
        }
        let launch = Launch {
            pipeline: self.name().to_owned(),
            number,
            run: run.id.clone(),
        };
        if kind.is_some_and(|kind| kind.runs == Provider::Lambda) {
            let pipeline = launch.pipeline.clone();
            jobs(self.cloud).put_in(self.tx, &run.id, &Job { pipeline, number })?;
        }
        let name = format!("{}/{}", stage.name, action.name);
        self.pipeline.runs.insert(name, (number, run.id.clone()));
        let id = run.id.clone();
        if let Some(stage) = self.execution(at).stages.last_mut() {
            stage.runs.push(run);
        }
        self.announce_action(at, &id, State::Started)?;
        let Some(missing) = missing else {
            self.launches.push(launch);
            return Ok(());
        };
        // The action that produces it was skipped, or failed before the stage was restored.
        let message = format!(
            "The input artifact {missing} of the action {} does not exist",
            action.name
        );
        let failure = Failure::new("ConfigurationError", message);
        self.finish(number, &id, &Ended::Failed(failure))
    }

    /// Runs the failed actions of the current stage again, or all.
    pub(super) fn retry(
        &mut self,
        at: usize,
        mode: RetryMode,
        is_automatic: bool,
    ) -> ApiResult<()> {
        let Some(stage) = self.execution(at).stages.last_mut() else {
            return Ok(());
        };
        stage.retry(mode);
        stage.last_retry_was_automatic = is_automatic;
        if is_automatic {
            stage.automatic_retries += 1;
        } else {
            stage.manual_retries += 1;
        }
        let name = stage.name.clone();
        if !is_automatic {
            self.announce_execution(at, State::Resumed)?;
        }
        self.announce_stage(at, &name, State::Resumed)
    }

    fn end_stage(&mut self, at: usize, status: StageStatus) -> ApiResult<()> {
        self.pipeline.arrivals += 1;
        let arrival = self.pipeline.arrivals;
        let execution = self.execution(at);
        execution.arrival = arrival;
        let Some(stage) = execution.stages.last_mut() else {
            return Ok(());
        };
        stage.status = status;
        let name = stage.name.clone();
        let state = match status {
            StageStatus::Succeeded | StageStatus::Skipped => State::Succeeded,
            StageStatus::Stopped | StageStatus::Stopping => State::Stopped,
            StageStatus::Failed | StageStatus::InProgress => State::Failed,
        };
        self.announce_stage(at, &name, state)
    }

    fn fail_and_roll_back(&mut self, at: usize) -> ApiResult<()> {
        let (failed, version) = {
            let execution = &self.entries[at].execution;
            (execution.id.clone(), execution.version)
        };
        let stage = self.entries[at].execution.stages.last();
        let stage = stage.map(|stage| stage.name.clone()).unwrap_or_default();
        self.end_stage(at, StageStatus::Failed)?;
        // Only to an execution with the current structure.
        if version != self.pipeline.declaration.version || self.is_full_of_rollbacks(1) {
            return Ok(());
        }
        let target = self.newest(|it| plan::can_restore(it, &stage, version))?;
        let Some(target) = target else {
            return Ok(());
        };
        let trigger = Trigger {
            trigger_type: TriggerType::AutomatedRollback,
            trigger_detail: failed,
        };
        self.roll_back(&target, &stage, trigger).map(drop)
    }

    fn end(&mut self, at: usize, status: ExecutionStatus) -> ApiResult<()> {
        self.execution(at).status = status;
        let state = match status {
            ExecutionStatus::Succeeded => State::Succeeded,
            ExecutionStatus::Superseded => State::Superseded,
            ExecutionStatus::Stopped => State::Stopped,
            _ => State::Failed,
        };
        self.announce_execution(at, state)?;
        let entry = self.entries.remove(at);
        let key = key(self.name(), entry.execution.number);
        if entry.was_open {
            open(self.cloud).remove_in(self.tx, &key)?;
        }
        ended(self.cloud).put_in(self.tx, &key, &entry.execution)
    }

    /// Stops an execution: its actions may end, or are abandoned.
    pub(super) fn stop(&mut self, at: usize, stop: Stop) -> ApiResult<()> {
        let was_stopping = self.entries[at].execution.status == ExecutionStatus::Stopping;
        let now = self.seconds();
        let is_abandoned = stop.is_abandoned;
        let execution = self.execution(at);
        execution.status = ExecutionStatus::Stopping;
        execution.stop = Some(stop);
        let mut abandoned = Vec::new();
        let mut stopping = None;
        if let Some(stage) = execution.stages.last_mut()
            && stage.status == StageStatus::InProgress
        {
            stage.status = StageStatus::Stopping;
            stopping = Some(stage.name.clone());
        }
        if is_abandoned && let Some(stage) = execution.stages.last_mut() {
            for run in stage.runs.iter_mut().filter(|run| run.is_open()) {
                run.status = ActionStatus::Abandoned;
                run.updated = now;
                abandoned.push(run.id.clone());
            }
        }
        if !was_stopping {
            self.announce_execution(at, State::Stopping)?;
        }
        if let Some(stage) = stopping {
            self.announce_stage(at, &stage, State::Stopping)?;
        }
        for run in abandoned {
            self.announce_action(at, &run, State::Abandoned)?;
        }
        Ok(())
    }

    /// Records the end of an action. Does nothing if it has ended before.
    pub(super) fn finish(&mut self, number: u64, run: &str, ended: &Ended) -> ApiResult<()> {
        let mut entries = self.entries.iter();
        let at = entries.position(|entry| {
            let found = entry.execution.run(run);
            entry.execution.number == number && found.is_some_and(|(_, run)| run.is_open())
        });
        let Some(at) = at else {
            return Ok(());
        };
        let excess = match ended {
            Ended::Succeeded(output) => output.excess().map(Ended::Failed),
            Ended::Failed(_) => None,
        };
        let ended = excess.as_ref().unwrap_or(ended);
        let now = self.seconds();
        let structure = self.entries[at].structure.clone();
        let execution = self.execution(at);
        let Some(found) = execution.run_mut(run) else {
            return Ok(());
        };
        found.updated = now;
        let state = match ended {
            Ended::Succeeded(output) => {
                found.status = ActionStatus::Succeeded;
                output.write(found);
                State::Succeeded
            }
            Ended::Failed(failure) => {
                found.status = ActionStatus::Failed;
                failure.write(found);
                State::Failed
            }
        };
        let found = found.clone();
        if found.status == ActionStatus::Succeeded {
            let stage = execution.run(run).map(|(stage, _)| stage.name.clone());
            let action = stage.and_then(|stage| structure.action(&stage, &found.action));
            keep(
                execution,
                action.and_then(|it| it.namespace.as_deref()),
                &found,
            );
        }
        self.announce_action(at, run, state)
    }

    fn write(&mut self) -> ApiResult<()> {
        let name = self.name().to_owned();
        for entry in self.entries.iter().filter(|entry| entry.is_changed) {
            let key = key(&name, entry.execution.number);
            open(self.cloud).put_in(self.tx, &key, &entry.execution)?;
        }
        pipelines(self.cloud).put_in(self.tx, &name, &self.pipeline)
    }

    fn announce_execution(&self, at: usize, state: State) -> ApiResult<()> {
        let execution = &self.entries[at].execution;
        let event = announce::execution(self.cloud, self.name(), execution, state);
        events::publish_in(self.tx, self.cloud, event)
    }

    fn announce_stage(&self, at: usize, stage: &str, state: State) -> ApiResult<()> {
        let execution = &self.entries[at].execution;
        let event = announce::stage(self.cloud, self.name(), execution, stage, state);
        events::publish_in(self.tx, self.cloud, event)
    }

    fn announce_action(&self, at: usize, run: &str, state: State) -> ApiResult<()> {
        let entry = &self.entries[at];
        let Some((stage, run)) = entry.execution.run(run) else {
            return Ok(());
        };
        let Some(action) = entry.structure.action(&stage.name, &run.action) else {
            return Ok(());
        };
        let place = (self.name(), &entry.execution, stage.name.as_str());
        let event = announce::action(self.cloud, place, action, run, state);
        events::publish_in(self.tx, self.cloud, event)
    }
}

/// Keeps what an action has produced for the actions after it.
fn keep(execution: &mut Execution, namespace: Option<&str>, run: &ActionRun) {
    if run.status != ActionStatus::Succeeded {
        return;
    }
    for (name, location) in &run.outputs {
        let location: Location = location.clone();
        execution.artifacts.insert(name.clone(), location);
    }
    if let Some(namespace) = namespace {
        let variables = run.variables.clone();
        execution.outputs.insert(namespace.to_owned(), variables);
    }
    if let Some(revision) = &run.revision {
        let revisions = &mut execution.revisions;
        revisions.retain(|known| known.action != revision.action);
        revisions.push(revision.clone());
    }
}
