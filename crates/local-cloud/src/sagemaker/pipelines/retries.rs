//! Retries: which failures of a step are retried, and when.

use std::time::Duration;

use mlops_pipeline::{Exception, RetryPolicy, Step, StepType};

use super::ApiError;

/// The policies of a running step, with the retries they have used.
#[derive(Debug, Default)]
pub(super) struct Retries {
    policies: Vec<(RetryPolicy, u32)>,
    started: f64,
}

impl Retries {
    /// The policies of a step that starts now. Faults and throttling by the services are
    /// retried even without a policy; a policy for them takes precedence.
    pub(super) fn new(step: &Step, now: f64) -> Self {
        let mut policies = step.retries().unwrap_or_default();
        // Condition and Fail steps call no service.
        if !matches!(step.kind, StepType::Condition | StepType::Fail) {
            policies.push(RetryPolicy::automatic());
        }
        Self {
            policies: policies.into_iter().map(|policy| (policy, 0)).collect(),
            started: now,
        }
    }

    /// The pause before the next attempt after a failure; `None` if the failure is final.
    pub(super) fn next(&mut self, exception: Option<Exception>, now: f64) -> Option<Duration> {
        let exception = exception?;
        let elapsed = Duration::try_from_secs_f64(now - self.started).unwrap_or_default();
        let (policy, used) = self
            .policies
            .iter_mut()
            .find(|(policy, _)| policy.covers(exception))?;
        let wait = policy.wait(*used, elapsed)?;
        *used += 1;
        Some(wait)
    }
}

/// The exception of a step's call.
pub(super) fn of_call(error: &ApiError) -> Option<Exception> {
    match error.code.as_str() {
        "NotImplemented" => None,
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" => {
            Some(Exception::Throttling)
        }
        "ResourceLimitExceeded" => Some(Exception::ResourceLimit),
        _ if error.status >= 500 => Some(Exception::ServiceFault),
        _ => None,
    }
}

/// The exception of a job that failed with this reason.
pub(super) fn of_job(reason: &str) -> Option<Exception> {
    let starts = |word: &str| reason.starts_with(word);
    if starts("InternalServerError") {
        Some(Exception::JobInternalError)
    } else if starts("CapacityError") || reason.contains("InsufficientCapacity") {
        Some(Exception::CapacityError)
    } else if starts("ResourceLimitExceeded") {
        Some(Exception::ResourceLimit)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn step(policies: &Value) -> Step {
        serde_json::from_value(json!({"Name": "S", "Type": "Training", "RetryPolicies": policies}))
            .unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Issue 8, 3.3: each policy counts its own retries; an exception without one is final.
    #[test]
    fn issue_8_3_3_each_policy_has_its_own_limit() {
        let mut retries = Retries::new(
            &step(&json!([
                {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "MaxAttempts": 2, "BackoffRate": 1},
                {"ExceptionType": ["SageMaker.CAPACITY_ERROR"], "ExpireAfterMin": 1,
                 "IntervalSeconds": 10}])),
            100.0,
        );
        let internal = Some(Exception::JobInternalError);
        let capacity = Some(Exception::CapacityError);
        assert_eq!(retries.next(internal, 100.0), Some(SECOND));
        assert_eq!(retries.next(capacity, 110.0), Some(10 * SECOND));
        assert_eq!(retries.next(internal, 120.0), Some(SECOND));
        assert_eq!(retries.next(internal, 130.0), None);
        assert_eq!(retries.next(capacity, 159.0), Some(20 * SECOND));
        assert_eq!(retries.next(capacity, 160.0), None);
        assert_eq!(retries.next(Some(Exception::ResourceLimit), 100.0), None);
        assert_eq!(retries.next(None, 100.0), None);
    }

    #[test]
    fn issue_8_3_3_a_policy_replaces_the_default_retries() {
        let fault = Some(Exception::ServiceFault);
        let mut automatic = Retries::new(&step(&json!([])), 0.0);
        assert_eq!(automatic.next(fault, 0.0), Some(SECOND));
        assert_eq!(automatic.next(Some(Exception::JobInternalError), 0.0), None);
        let mut never = Retries::new(
            &step(&json!([{"ExceptionType": ["Step.SERVICE_FAULT"], "MaxAttempts": 0}])),
            0.0,
        );
        assert_eq!(never.next(fault, 0.0), None);
        assert_eq!(never.next(Some(Exception::Throttling), 0.0), Some(SECOND));
    }

    #[test]
    fn exceptions_come_from_calls_and_from_failure_reasons() {
        let call = |error: ApiError| of_call(&error);
        assert_eq!(
            call(ApiError::internal("disk")),
            Some(Exception::ServiceFault)
        );
        assert_eq!(call(ApiError::not_implemented("x")), None);
        assert_eq!(call(ApiError::validation("x")), None);
        assert_eq!(
            call(ApiError::new("ThrottlingException", "Rate exceeded")),
            Some(Exception::Throttling)
        );
        assert_eq!(
            call(ApiError::new("ResourceLimitExceeded", "x")),
            Some(Exception::ResourceLimit)
        );
        for (reason, expected) in [
            (
                "InternalServerError: disk full",
                Some(Exception::JobInternalError),
            ),
            (
                "CapacityError: Unable to provision requested ML compute capacity.",
                Some(Exception::CapacityError),
            ),
            ("AlgorithmError: InternalServerError, exit code: 1", None),
            ("ClientError: no such image", None),
        ] {
            assert_eq!(of_job(reason), expected, "{reason}");
        }
    }
}
