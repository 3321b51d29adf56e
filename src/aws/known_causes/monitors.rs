//! What Model Monitor's and Clarify's containers print.

use super::Known;
use super::Place::{self, Job, Monitor, Stack};
use super::Signs::{Both, Lines, Reason};

/// Monitors run on schedules, and as jobs for a baseline or a check step.
const ANALYZERS: &[Place] = &[Job, Monitor];

pub(super) const ROWS: &[Known] = &[
    Known {
        kind: "no-captured-data",
        places: &[Monitor],
        signs: Both(&["Job inputs had no data"]),
        what: "no request was captured in the monitored period, or no ground truth matches one",
        fix: "send requests, check that capture is on (`mlops endpoint show`), and upload ground truth with the same event ids",
    },
    Known {
        kind: "encoding-mismatch",
        places: &[Monitor],
        signs: Both(&[
            "Encoding mismatch: Encoding is {input} for endpointInput, but Encoding is {output} for endpointOutput",
        ]),
        what: "requests are captured as {input}, responses as {output}: the monitor needs the same type for both",
        fix: "request `Accept: text/csv`, or convert the records in a preprocessor script",
    },
    Known {
        kind: "nested-json",
        places: ANALYZERS,
        signs: Both(&["We currently only support flat json"]),
        what: "the captured JSON contains arrays or nested objects",
        fix: "return flat records from a preprocessor script",
    },
    Known {
        kind: "dataset-format",
        places: ANALYZERS,
        signs: Both(&["Could not find any {format} file under directory"]),
        what: "no file in the data set has the format {format}",
        fix: "choose the format of the files (DatasetFormat.csv(header=True) for CSV), and check that the prefix is not empty",
    },
    Known {
        kind: "analyzer-environment",
        places: ANALYZERS,
        signs: Reason(&[
            "AlgorithmError: 'dataset_format', exit code: 255",
            "AlgorithmError: 'dataset_source', exit code: 255",
            "AlgorithmError: 'output_path', exit code: 255",
        ]),
        what: "the analyzer's environment lacks a variable: `{line}`",
        fix: "set dataset_format, dataset_source and output_path in the job's environment (docs/analyzer.md)",
    },
    Known {
        kind: "schedule-pending",
        places: &[Monitor, Stack],
        signs: Both(&["Monitoring schedule in status Pending"]),
        what: "the schedule was still changing",
        fix: "wait until it is Scheduled, then repeat the change",
    },
    Known {
        kind: "label-values",
        places: ANALYZERS,
        signs: Both(&["No Label values are present in the predicted Label Column"]),
        what: "none of Clarify's label_values_or_threshold occurs in the predictions",
        fix: "set probability_threshold for probabilities, or the labels as the model returns them",
    },
    Known {
        kind: "group-variable",
        places: ANALYZERS,
        signs: Lines(&["Group variable is empty or not provided"]),
        what: "Clarify's metrics CDDL and CDDPL need a group variable",
        fix: "set group_variable, or remove these metrics from the list",
    },
    Known {
        kind: "small-facet",
        places: ANALYZERS,
        signs: Lines(&["bias…IndexOutOfBounds"]),
        what: "a facet of Clarify's bias analysis has too few rows",
        fix: "analyze more rows, or choose a facet with more rows per value",
    },
];
