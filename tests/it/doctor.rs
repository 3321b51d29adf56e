//! `mlops doctor`: with and without a project, credentials and network.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox};

/// Returns the check with this name.
#[track_caller]
fn check(run: &Run, name: &str) -> Value {
    let report = run.json();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found
        .unwrap_or_else(|| panic!("no check {name}: {report:#}"))
        .clone()
}

#[track_caller]
fn outcome(run: &Run, name: &str) -> String {
    check(run, name)["outcome"].as_str().unwrap().to_owned()
}

const JSON: [&str; 3] = ["doctor", "--output", "json"];

#[test]
fn it_works_without_project_credentials_and_network() {
    let mut sandbox = Sandbox::new();
    let run = sandbox.mlops(JSON).code(4);
    let credentials = check(&run, "credentials");
    assert_eq!(credentials["finding"], "no region is configured");
    assert!(credentials["fix"].as_str().unwrap().contains("--region"));

    sandbox.set("AWS_REGION", "eu-west-1");
    let run = sandbox.mlops(JSON).code(4);
    let credentials = check(&run, "credentials");
    assert_eq!(credentials["outcome"], "fail", "{credentials}");
    assert_eq!(credentials["finding"], "no credentials are configured");
    let fix = credentials["fix"].as_str().unwrap();
    assert!(fix.contains("`aws configure sso`"), "{fix}");
    assert_eq!(outcome(&run, "project"), "not_checked");
    assert_eq!(outcome(&run, "account"), "not_checked");
    assert_eq!(outcome(&run, "local cloud"), "not_checked");
    // This machine is checked all the same.
    for name in ["git", "python", "disk: cache", "disk: project"] {
        assert_eq!(outcome(&run, name), "ok", "{name}");
    }

    let human = sandbox.mlops(["doctor"]).code(4);
    assert_eq!(human.stderr, "");
    assert!(
        human.stdout.contains("fail        credentials"),
        "{}",
        human.stdout
    );
    let last = human.stdout.lines().last().unwrap();
    assert!(last.starts_with("1 check failed"), "{last}");
}

#[test]
fn an_expired_sign_in_names_the_exact_command() {
    let sandbox = Sandbox::new();
    let home = |path: &str, text: &str| {
        let path = sandbox.home().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    home(
        ".aws/config",
        "[profile team]\nregion = eu-west-1\n\
         sso_session = team-session\nsso_account_id = 111111111111\nsso_role_name = Developer\n\n\
         [sso-session team-session]\nsso_region = eu-west-1\n\
         sso_start_url = https://team.awsapps.com/start\n",
    );
    let doctor = ["doctor", "--profile", "team", "--output", "json"];
    // Nobody signed in yet, then the sign-in expires. The name is the SHA-1 of the session's name.
    for token in [
        "",
        r#"{"accessToken":"secret-token","expiresAt":"2020-01-01T00:00:00Z"}"#,
    ] {
        if !token.is_empty() {
            home(
                ".aws/sso/cache/f5b62842f8d079291397b85a2f48dffefdf065bb.json",
                token,
            );
        }
        let run = sandbox.mlops(doctor).code(4);
        let credentials = check(&run, "credentials");
        assert_eq!(
            credentials["fix"], "run `aws sso login --profile team`",
            "{credentials}"
        );
        assert!(!run.stdout.contains("secret-token"), "{}", run.stdout);
    }
}

#[test]
fn a_project_of_the_local_cloud_is_checked_completely() {
    let sandbox = Sandbox::new();
    let init = ["init", "--local", "--name", "small", "--yes"];
    let _ = sandbox.mlops(init).success();
    let run = sandbox.mlops(JSON).success();
    for name in [
        "project",
        "credentials",
        "account",
        "region",
        "clock",
        "stacks",
        "CodeCommit",
        "local cloud",
        "git",
        "python",
    ] {
        assert_eq!(outcome(&run, name), "ok", "{name}");
    }
    assert_eq!(outcome(&run, "quotas"), "not_checked");
    assert_eq!(outcome(&run, "Model Monitor"), "not_checked");

    let human = sandbox.mlops(["doctor"]).success();
    for line in human.stdout.lines().filter(|line| !line.contains("/tmp")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(human.stdout.contains("nothing failed"), "{}", human.stdout);

    // An hour off.
    let mut late = sandbox.command("");
    late.args(JSON).env("MLOPS_NOW", "2020-01-01T00:00:00Z");
    let late = sandbox.run(late).code(3);
    let clock = check(&late, "clock");
    assert_eq!(clock["outcome"], "fail", "{clock}");

    // Another account, then a file that cannot be read.
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write("mlops.toml", toml.replace("000000000000", "111111111111"));
    let run = sandbox.mlops(JSON).code(4);
    assert_eq!(outcome(&run, "account"), "fail");
    sandbox.write("mlops.toml", "name = 1\n");
    let run = sandbox.mlops(JSON).code(3);
    assert_eq!(outcome(&run, "project"), "fail");
    assert_eq!(outcome(&run, "git"), "ok");
}

#[test]
fn a_required_engine_that_is_missing_fails() {
    let mut sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        "name = \"small\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n\
         [image]\nbuilder = \"podman\"\n",
    );
    sandbox.write("bin/python3", "#!/bin/sh\necho 3.12.1\necho ensurepip\n");
    let _ = sandbox
        .program("", "chmod", &["+x", "bin/python3"])
        .success();
    let bin = sandbox.path().join("bin");
    sandbox.set("PATH", bin.to_str().unwrap());
    let run = sandbox.mlops(JSON);
    let engines = check(&run, "container engines");
    assert_eq!(engines["outcome"], "fail", "{engines}");
    assert!(engines["finding"].as_str().unwrap().contains("podman"));
    assert_eq!(outcome(&run, "git"), "fail");
    let python = check(&run, "python");
    assert_eq!(python["outcome"], "fail", "{python}");
    assert!(python["finding"].as_str().unwrap().contains("ensurepip"));
}

/// The part of a request that a rule is for, the status and the body of its response.
type Rule = (&'static str, u16, String);

/// A server that answers like AWS: by the target or the action of a request.
struct Aws {
    endpoint: String,
    answers: Arc<Mutex<Vec<Rule>>>,
}

impl Aws {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<Vec<Rule>>> = Arc::default();
        let shared = answers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answers = shared.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &answers));
            }
        });
        Self { endpoint, answers }
    }

    /// Answers requests whose headers or body contain `part`; the latest rule wins.
    fn answer(&self, part: &'static str, status: u16, body: impl Into<String>) {
        self.answers
            .lock()
            .unwrap()
            .push((part, status, body.into()));
    }
}

fn serve(stream: TcpStream, answers: &Mutex<Vec<Rule>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            request.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        request.push_str(&String::from_utf8_lossy(&body));
        assert!(request.contains("AWS4-HMAC-SHA256"), "{request}");
        let (status, body) = {
            let answers = answers.lock().unwrap();
            let found = answers
                .iter()
                .rev()
                .find(|(part, ..)| request.contains(part));
            let none = (
                400,
                r#"{"__type":"AccessDeniedException","message":"no"}"#.to_owned(),
            );
            found.map_or(none, |(_, status, body)| (*status, body.clone()))
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\ndate: Fri, 02 Jan 2026 03:04:05 GMT\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        if reader.get_mut().write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

const CALLER: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult>\
    <Arn>arn:aws:iam::111111111111:user/ada</Arn><UserId>A</UserId>\
    <Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";

fn quota(name: &str, value: f64) -> String {
    json!({"Quota": {"QuotaName": name, "Value": value}}).to_string()
}

#[test]
fn quotas_and_closed_services_of_an_account() {
    let aws = Aws::start();
    let mut sandbox = Sandbox::new();
    sandbox
        .set("AWS_REGION", "eu-west-1")
        .set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .set("AWS_SECRET_ACCESS_KEY", "secret-key")
        .set("AWS_ENDPOINT_URL", &aws.endpoint)
        .set("MLOPS_NOW", "2026-01-02T03:04:10Z");
    aws.answer("GetCallerIdentity", 200, CALLER);
    aws.answer("L-F678F1CE", 200, quota("VPCs per Region", 2.0));
    aws.answer("L-0263D0A3", 200, quota("EC2-VPC Elastic IPs", 5.0));
    aws.answer("L-A4707A72", 200, quota("Renamed", 5.0));
    aws.answer(
        "L-614B09FD",
        200,
        quota("ml.m5.large for endpoint usage", 0.0),
    );
    // No value of its own: the default applies.
    aws.answer(
        "L-611FA074",
        400,
        r#"{"__type":"NoSuchResourceException","Message":"none"}"#,
    );
    let vpcs = "<vpcSet><item><vpcId>a</vpcId></item><item><vpcId>b</vpcId></item></vpcSet>";
    let vpcs = format!("<DescribeVpcsResponse>{vpcs}</DescribeVpcsResponse>");
    aws.answer("Action=DescribeVpcs", 200, vpcs);
    aws.answer(
        "Action=DescribeAddresses",
        403,
        "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>not allowed</Message>\
         </Error></Errors></Response>",
    );
    aws.answer("ListRepositories", 200, r#"{"repositories":[]}"#);
    let closed = r#"{"__type":"AccessDeniedException","message":"closed to new customers"}"#;
    aws.answer("ListMonitoringSchedules", 400, closed);
    let run = sandbox.mlops(JSON).code(3);
    let expect = |name: &str, outcome: &str, finding: &str| {
        let check = check(&run, name);
        assert_eq!(check["outcome"], outcome, "{check}");
        let found = check["finding"].as_str().unwrap();
        assert!(found.contains(finding), "{check}");
    };
    expect("credentials", "ok", "arn:aws:iam::111111111111:user/ada");
    expect("clock", "ok", "agrees");
    expect("VPC quota", "fail", "2 of 2 in use; 1 more needed");
    expect(
        "gateway quota",
        "not_checked",
        "L-A4707A72 is `Renamed` now",
    );
    expect("elastic IP quota", "not_checked", "UnauthorizedOperation");
    expect("endpoint quota", "fail", "0 ml.m5.large");
    expect("training quota", "not_checked", "has no quota L-611FA074");
    expect("processing quota", "not_checked", "AccessDeniedException");
    expect("notebook quota", "not_checked", "no known code");
    // An empty list proves nothing.
    expect("CodeCommit", "not_checked", "unknown");
    expect("Model Monitor", "warn", "closed to new customers");
    assert!(!run.stdout.contains("secret-key"), "{}", run.stdout);
    let page = check(&run, "VPC quota")["fix"].clone();
    assert_eq!(
        page,
        "raise `VPCs per Region` at https://eu-west-1.console.aws.amazon.com/servicequotas/home/services/vpc/quotas"
    );

    let default = quota("ml.m5.large for training job usage", 4.0);
    aws.answer("GetAWSDefaultServiceQuota", 200, default);
    aws.answer(
        "ListRepositories",
        200,
        r#"{"repositories":[{"repositoryName":"a"}]}"#,
    );
    let run = sandbox.mlops(JSON).code(3);
    assert_eq!(outcome(&run, "training quota"), "ok");
    assert_eq!(outcome(&run, "CodeCommit"), "ok");

    aws.answer(
        "GetCallerIdentity",
        403,
        "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>The security token included in \
         the request is expired</Message></Error></ErrorResponse>",
    );
    let run = sandbox.mlops(JSON).code(4);
    let credentials = check(&run, "credentials");
    let fix = credentials["fix"].as_str().unwrap();
    assert!(fix.starts_with("run `aws sso login`"), "{credentials}");
    // The clock is known from the refusal as well.
    assert_eq!(outcome(&run, "clock"), "ok");
}
