//! Issue 8, 2.6: a failure must not be interpreted as absence. Every command that reads is run
//! against an endpoint that answers every request with the same failure.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::sandbox::{Run, Sandbox};

const ACCOUNT: &str = "111122223333";

/// The endpoint's response to all but the first requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A service's error: the status, the code and the message.
    Error(u16, &'static str, &'static str),
    /// A proxy's error page, with this status.
    Page(u16),
    /// No failure: the requested resource does not exist, in SageMaker's words.
    Absence,
    /// The caller may not see whether the resource exists: the words of absence, with the reason.
    Hidden,
}

const FAULTS: &[Fault] = &[
    Fault::Error(400, "ValidationException", "1 validation error detected"),
    Fault::Error(400, "ValidationError", "Rate exceeded"),
    Fault::Error(403, "AccessDeniedException", "not authorized"),
    Fault::Error(403, "AccessDenied", "Access Denied"),
    Fault::Error(500, "InternalFailure", "an internal error"),
    // An access problem in the words of absence.
    Fault::Error(
        403,
        "AccessDeniedException",
        "ModelPackageGroup small does not exist",
    ),
    Fault::Hidden,
    Fault::Page(200),
    Fault::Page(404),
];

/// Starts an endpoint that reports the project's stacks and fails all other requests. If `stacks`
/// is false, it fails those, too.
fn serve(fault: Fault, stacks: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(move |head: &str, body: &str| answer(fault, stacks, head, body));
    std::thread::spawn(move || {
        // The thread ends with the process; a test starts only a few.
        for client in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || one(client, &*answer));
        }
    });
    format!("http://{address}")
}

fn one(mut client: TcpStream, answer: &dyn Fn(&str, &str) -> String) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    let end = loop {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    let length: usize = header("content-length:").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + length {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    client.write_all(answer(&head, &body).as_bytes()).ok()
}

/// `head` is in lower case.
fn answer(fault: Fault, stacks: bool, head: &str, body: &str) -> String {
    // Credential=KEY/DATE/REGION/SERVICE/aws4_request
    let scope = head
        .lines()
        .find_map(|line| line.strip_prefix("authorization:"));
    let service = scope.and_then(|scope| scope.split('/').nth(3));
    let service = service.unwrap_or_default();
    let xml = |body: String| response(200, "text/xml", &body);
    if body.contains("Action=GetCallerIdentity") {
        return xml(format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{ACCOUNT}</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>"
        ));
    }
    if stacks && body.contains("Action=DescribeStacks") {
        let mut outputs = String::new();
        for name in [
            "DataBucket",
            "ArtifactBucket",
            "ImageRepositoryName",
            "ImageRepositoryUri",
            "ModelPackageGroupName",
            "CaptureBucket",
            "TrainingRoleArn",
            "EndpointRoleArn",
            "DataScientistRoleArn",
            "ValidationRoleArn",
            "DeployerRoleArn",
            "KeyArn",
        ] {
            outputs.push_str(&format!(
                "<member><OutputKey>{name}</OutputKey><OutputValue>small</OutputValue></member>"
            ));
        }
        return xml(format!(
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>\
             <StackName>s</StackName><StackStatus>CREATE_COMPLETE</StackStatus>\
             <Outputs>{outputs}</Outputs></member></Stacks></DescribeStacksResult>\
             </DescribeStacksResponse>"
        ));
    }
    let json = |status, code: &str, message: &str| {
        let body = format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}");
        response(status, "application/x-amz-json-1.1", &body)
    };
    match fault {
        Fault::Absence | Fault::Hidden => {
            let hidden = fault == Fault::Hidden;
            let words = |absent, hidden_words| if hidden { hidden_words } else { absent };
            if head.contains(".describeendpoint\r\n") {
                let message = words(
                    "Could not find endpoint \\\"arn:aws:sagemaker:us-east-1:111122223333:endpoint/small\\\".",
                    "Could not find endpoint \\\"small\\\": you are not authorized to see \\\"small\\\".",
                );
                return json(400, "ValidationException", message);
            }
            if head.contains(".listmodelpackages\r\n") {
                let message = words(
                    "ModelPackageGroup arn:aws:sagemaker:us-east-1:111122223333:model-package-group/small does not exist.",
                    "ModelPackageGroup small: you are not authorized, or it does not exist.",
                );
                return json(400, "ValidationException", message);
            }
            if service == "sagemaker" {
                let message = words(
                    "Pipeline 'small' does not exist.",
                    "You are not authorized, or Pipeline 'small' does not exist.",
                );
                return json(400, "ResourceNotFound", message);
            }
            let message = words(
                "Stack with id small-data does not exist",
                "Stack with id small-data: you are not authorized, or it does not exist",
            );
            let body = format!(
                "<ErrorResponse><Error><Code>ValidationError</Code><Message>{message}</Message>\
                 </Error></ErrorResponse>"
            );
            response(400, "text/xml", &body)
        }
        Fault::Page(status) => response(status, "text/html", "<html><p>Please log in</p></html>"),
        Fault::Error(status, code, message) => match service {
            "s3" => response(
                status,
                "application/xml",
                &format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
            ),
            "cloudformation" | "sts" => response(
                status,
                "text/xml",
                &format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
                     <Message>{message}</Message></Error></ErrorResponse>"
                ),
            ),
            _ => json(status, code, message),
        },
    }
}

fn response(status: u16, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn project() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        format!("name = \"small\"\naccount = \"{ACCOUNT}\"\nregion = \"us-east-1\"\n"),
    );
    sandbox.set("AWS_ACCESS_KEY_ID", "test");
    sandbox.set("AWS_SECRET_ACCESS_KEY", "test");
    sandbox.set("AWS_MAX_ATTEMPTS", "1");
    sandbox
}

fn run(sandbox: &Sandbox, endpoint: &str, command: &str) -> Run {
    let arguments = ["--endpoint-url", endpoint, "--yes"];
    sandbox.mlops(arguments.into_iter().chain(command.split(' ')))
}

/// Every command that reads resources of the account.
const READS: &[&str] = &[
    "status",
    "models list",
    "models show 1",
    "models compare 1 2",
    "runs list",
    "runs show",
    "runs show abc",
    "runs logs abc",
    "runs why",
    "runs why abc",
    "data versions flights",
    "data pull flights there",
    "data verify flights",
    "data diff flights@latest flights@previous",
    "image list",
    "image show develop",
    "image scan develop",
    "monitor report",
    "monitor run",
    "lineage",
    "lineage 1",
    "endpoint show",
    "endpoint logs",
    "endpoint delete --dry-run",
    "invoke --file mlops.toml",
    "promote",
    "promote 1",
    "rollback",
    "rollback --to 1",
    "releases list",
    "releases show 1",
    "releases diff 1 2",
    "releases verify",
];

#[test]
fn issue_8_2_6_no_failure_is_read_as_absence() {
    let sandbox = project();
    let mut wrong = Vec::new();
    for fault in FAULTS {
        for stacks in [true, false] {
            let endpoint = serve(*fault, stacks);
            for command in READS {
                let run = run(&sandbox, &endpoint, command);
                // Exit code 2 would mean an invalid command line, and therefore an error in this
                // table.
                if matches!(run.code, Some(0 | 2) | None) {
                    wrong.push(format!(
                        "{fault:?}, stacks {stacks}, {command}: {:?}\n{}{}",
                        run.code, run.stdout, run.stderr
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_missing_resource_is_not_a_failure() {
    let sandbox = project();
    let endpoint = serve(Fault::Absence, true);
    let models = run(&sandbox, &endpoint, "models list").success();
    assert!(models.stdout.contains("no models"), "{}", models.stdout);
    let _ = run(&sandbox, &endpoint, "runs list").success();
    let status = run(&sandbox, &serve(Fault::Absence, false), "status").success();
    assert!(status.stdout.contains("not deployed"), "{}", status.stdout);
}
