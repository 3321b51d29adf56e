//! docs/causes.md: the table for people.

use super::{EXCEPTION, GATE, PERMISSION, Place, rows, server};

const TOP: &str = "\
# Known causes of failures

`mlops runs why`, `mlops train`, `mlops promote` and `mlops endpoint show` name the likely cause of a failure. They look
for these texts in the reason that the service reports and in the last lines of the log, only where the text means this
cause. The kind is the field `cause.kind` of JSON reports. In a text, `{name}` is any name, and `…` any text. Of a
failure without a known text, nothing is guessed: `mlops runs why` prints `unknown` and the log. Texts of stacks are
found in the actions of pipelines only, and no command reads monitors yet.

The last line of a log that names a cause decides, and the exception that ended a Python program: what was logged before
its traceback was handled.

";

/// A cause that is found by parsing, not by a text alone.
struct Parsed {
    kind: &'static str,
    places: &'static [Place],
    sign: &'static str,
    what: &'static str,
    fix: &'static str,
}

const PARSED: &[Parsed] = &[
    Parsed {
        kind: GATE,
        places: &[Place::Step],
        sign: "a Fail step of the pipeline ended the run",
        what: "a condition did not hold: the metric, its value and the limit",
        fix: "train a better model, or change the limit",
    },
    Parsed {
        kind: PERMISSION,
        places: &Place::ALL,
        sign: "`User: {arn} is not authorized to perform: {action} on resource: {arn}`",
        what: "the role lacks the action on the resource; which type of policy does not allow or denies it",
        fix: "the statement to add, as JSON, and to which policy; a Deny is named, with the advice to use another role",
    },
    Parsed {
        kind: EXCEPTION,
        places: &[Place::Job, Place::Server, Place::Build, Place::Monitor],
        sign: "a Python traceback without a text of this table",
        what: "file and line of your own program, and the exception",
        fix: "correct this line, or the data that it gets",
    },
    Parsed {
        kind: server::PING,
        places: &[Place::Server],
        sign: "`GET /ping` with a status other than 200 in the access log",
        what: "the server has no route for it, or reports an error",
        fix: "answer 200 as soon as the model is loaded",
    },
    Parsed {
        kind: server::WRONG_PORT,
        places: &[Place::Server],
        sign: "another port, or 127.0.0.1, in the server's log; `Address already in use`",
        what: "SageMaker does not reach the server",
        fix: "listen on 0.0.0.0 and the port in SAGEMAKER_BIND_TO_PORT, or 8080",
    },
    Parsed {
        kind: server::TIMEOUT,
        places: &[Place::Server],
        sign: "`did not pass the ping health check`, and a log without a reason",
        what: "the server did not answer in time",
        fix: "listen before loading the model, or allow more time",
    },
];

/// Returns docs/causes.md.
pub fn page() -> String {
    let mut page = TOP.to_owned();
    page.push_str("| kind | where | text | cause | fix |\n|---|---|---|---|---|\n");
    for row in rows() {
        let signs: Vec<String> = row
            .signs
            .all()
            .iter()
            .map(|sign| code(sign.trim_start_matches('^')))
            .collect();
        let what = row.what.replace(": `{line}`", "");
        page.push_str(&line(
            row.kind,
            row.places,
            &signs.join("<br>"),
            &what,
            row.fix,
        ));
    }
    page.push_str("\nThese are found by parsing:\n\n");
    page.push_str("| kind | where | found in | cause | fix |\n|---|---|---|---|---|\n");
    for row in PARSED {
        page.push_str(&line(row.kind, row.places, row.sign, row.what, row.fix));
    }
    page
}

fn line(kind: &str, places: &[Place], sign: &str, what: &str, fix: &str) -> String {
    let places: Vec<&str> = places.iter().map(|place| place.name()).collect();
    let cell = |text: &str| text.replace('|', "\\|");
    format!(
        "| `{kind}` | {} | {} | {} | {} |\n",
        places.join(", "),
        cell(sign),
        cell(what),
        cell(fix)
    )
}

/// A text as code, also if it contains a backquote.
fn code(text: &str) -> String {
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}
