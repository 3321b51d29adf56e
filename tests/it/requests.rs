//! Requests that try to crash the server, or that are ambiguous (issue 8, 1.5 and 1.6).

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::sandbox::Sandbox;

/// A running server, and its process id at the start.
struct Server {
    sandbox: Sandbox,
    address: String,
    process: u64,
}

impl Server {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let _ = sandbox
            .mlops(["local", "start", "--detach", "--port", "0"])
            .success();
        let (address, process) = Self::status(&sandbox);
        Self {
            sandbox,
            address,
            process,
        }
    }

    fn status(sandbox: &Sandbox) -> (String, u64) {
        let status = sandbox
            .mlops(["local", "status", "--output", "json"])
            .success()
            .json();
        let endpoint = status["endpoint"].as_str().unwrap();
        (
            endpoint.strip_prefix("http://").unwrap().to_owned(),
            status["pid"].as_u64().unwrap(),
        )
    }

    /// Checks that the server is still the same process.
    #[track_caller]
    fn lives(&self) {
        assert_eq!(Self::status(&self.sandbox).1, self.process);
    }

    /// Sends bytes and returns the response: status line, headers, body.
    fn exchange(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends one signed request.
    fn send(&self, line: &str, service: &str, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}{headers}Content-Length: {}\r\n\r\n",
            self.address,
            signed(service),
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat())
    }

    fn form(&self, service: &str, body: &str) -> String {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.send("POST /", service, headers, body.as_bytes())
    }

    fn json(&self, service: &str, target: &str, body: &str) -> String {
        let headers =
            format!("Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {target}\r\n");
        self.send("POST /", service, &headers, body.as_bytes())
    }
}

fn signed(service: &str) -> String {
    format!(
        "Authorization: AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0\r\n"
    )
}

/// Returns `inner` nested in `levels` pairs of `open` and `close`.
fn nested(open: &str, inner: &str, close: &str, levels: usize) -> String {
    [open.repeat(levels), inner.to_owned(), close.repeat(levels)].concat()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[test]
fn issue_8_1_5_no_depth_ends_the_server() {
    let server = Server::start();
    let refused = |answer: &str, code: &str| {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains(code), "{answer}");
        server.lives();
    };
    for levels in [65, 1_000, 100_000] {
        let form = format!(
            "Action=ListRoles&Version=2010-05-08&A{}=x",
            ".A".repeat(levels)
        );
        for service in ["iam", "sts", "cloudformation", "ec2"] {
            refused(
                &server.form(service, &form),
                "<Code>MalformedQueryString</Code>",
            );
        }
        let json = nested("{\"A\":[", "0", "]}", levels);
        for (service, target) in [
            ("sagemaker", "SageMaker.CreatePipeline"),
            ("kms", "TrentService.CreateKey"),
            ("logs", "Logs_20140328.PutLogEvents"),
        ] {
            refused(
                &server.json(service, target, &json),
                "SerializationException",
            );
        }
        let function = server.send("POST /2015-03-31/functions", "lambda", "", json.as_bytes());
        refused(&function, "InvalidRequestContentException");
        let yaml = format!("Resources: {}", nested("[", "", "]", levels + 40));
        for template in [&json.replace("\"A\"", "\"Resources\""), &yaml] {
            let form = format!("Action=ValidateTemplate&TemplateBody={}", encoded(template));
            refused(
                &server.form("cloudformation", &form),
                "<Code>ValidationError</Code>",
            );
        }
    }
    // Each alias would expand to ten times the previous one.
    let bomb =
        "Resources:\n  A: &a [x]\n  B: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n  C: [*b,*b,*b]\n";
    let form = format!("Action=ValidateTemplate&TemplateBody={}", encoded(bomb));
    refused(
        &server.form("cloudformation", &form),
        "aliases are not supported",
    );
}

#[test]
fn issue_8_1_5_documents_in_requests_may_be_as_deep_as_their_limit() {
    let server = Server::start();
    // As deep as a template may be, and evaluated.
    let join = nested("{\"Fn::Join\": [\"\", [", "\"a\"", "]]}", 29);
    let template = format!(
        "{{\"Resources\": {{\"R\": {{\"Type\": \"AWS::Logs::LogGroup\", \
         \"Properties\": {{\"LogGroupName\": {join}}}}}}}}}"
    );
    let form = format!(
        "Action=CreateStack&Version=2010-05-15&StackName=deep&TemplateBody={}",
        encoded(&template)
    );
    let answer = server.form("cloudformation", &form);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let stacks = || {
        server.form(
            "cloudformation",
            "Action=DescribeStacks&Version=2010-05-15&StackName=deep",
        )
    };
    while !stacks().contains("CREATE_COMPLETE") {
        assert!(stacks().contains("CREATE_IN_PROGRESS"), "{}", stacks());
        crate::sandbox::pause();
    }
    server.lives();
    // Documents embedded as text in their request, deeper than any stack.
    let deep = nested("{\"A\":[", "0", "]}", 50_000);
    let policy = format!(
        "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument={}",
        encoded(&deep)
    );
    let answer = server.form("iam", &policy);
    assert!(answer.contains("MalformedPolicyDocument"), "{answer}");
    let text = serde_json::Value::from(deep.as_str()).to_string();
    for (service, target, body) in [
        (
            "sagemaker",
            "SageMaker.CreatePipeline",
            format!(
                "{{\"PipelineName\": \"p\", \"ClientRequestToken\": \"{}\", \
                 \"RoleArn\": \"arn:aws:iam::000000000000:role/r\", \"PipelineDefinition\": {text}}}",
                "t".repeat(32)
            ),
        ),
        (
            "kms",
            "TrentService.CreateKey",
            format!("{{\"Policy\": {text}}}"),
        ),
    ] {
        let answer = server.json(service, target, &body);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        server.lives();
    }
    let xml = nested("<A>", "x", "</A>", 50_000);
    let _ = server.send("PUT /deep-bucket", "s3", "", b"");
    for line in [
        "POST /deep-bucket?delete",
        "PUT /deep-bucket?tagging",
        "PUT /deep-bucket?lifecycle",
    ] {
        let answer = server.send(line, "s3", "", xml.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{line}: {answer}");
        server.lives();
    }
}

#[test]
fn issue_8_1_5_no_depth_ends_a_command() {
    let sandbox = Sandbox::new();
    let toml = format!("name = \"x\"\nx = {}", nested("[", "", "]", 100_000));
    sandbox.write("mlops.toml", toml);
    let _ = sandbox.mlops(["config", "show"]).code(2);
    std::fs::remove_file(sandbox.path().join("mlops.toml")).unwrap();
    let baseline = nested("{\"features\":[", "", "]}", 100_000);
    sandbox.write("baseline.json", baseline);
    sandbox.write("data.csv", "a\n1\n");
    let run = sandbox.mlops(["validate", "data.csv", "--constraints", "baseline.json"]);
    assert!(matches!(run.code, Some(1 | 2)), "{}", run.stderr);
    assert!(run.stderr.contains("baseline.json"), "{}", run.stderr);
    sandbox.write("data.jsonl", nested("{\"a\":[", "", "]}", 100_000));
    let run = sandbox.mlops(["validate", "--suggest", "data.jsonl", "--output-dir", "out"]);
    assert!(matches!(run.code, Some(1 | 2)), "{}", run.stderr);
    assert!(run.stderr.contains("data.jsonl"), "{}", run.stderr);
}

#[test]
fn issue_8_1_5_no_depth_of_a_definition_overflows_the_stack() {
    use mlops_pipeline::Definition;

    let definition = |arguments: &str| {
        format!(
            "{{\"Version\": \"2020-12-01\", \"Steps\": [{{\"Name\": \"S\", \"Type\": \"Fail\", \
             \"Arguments\": {{\"ErrorMessage\": {arguments}}}}}]}}"
        )
    };
    for levels in [20, 40, 60, 10_000] {
        let joins = nested(
            "{\"Std:Join\": {\"On\": \"\", \"Values\": [",
            "1",
            "]}}",
            levels / 2,
        );
        let nots = nested("{\"Type\": \"Not\", \"Condition\": ", "{}", "}", levels);
        let steps = format!(
            "{{\"Version\": \"2020-12-01\", \"Steps\": [{{\"Name\": \"S\", \"Type\": \"Condition\", \
             \"Arguments\": {{\"Conditions\": [{nots}], \"IfSteps\": [], \"ElseSteps\": []}}}}]}}"
        );
        let inner = nested(
            "{\"Name\": \"S\", \"Type\": \"Condition\", \"Arguments\": {\"Conditions\": [], \"IfSteps\": [",
            "",
            "]}}",
            levels / 3,
        );
        let branches = format!("{{\"Version\": \"2020-12-01\", \"Steps\": [{inner}]}}");
        for text in [definition(&joins), steps, branches] {
            let _ = Definition::checked(&text);
        }
    }
}

#[test]
fn issue_8_1_6_ambiguous_requests_are_refused() {
    let server = Server::start();
    let address = server.address.clone();
    let sts = signed("sts");
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let post = |line: &str, headers: &str| {
        server.exchange(
            format!(
                "{line} HTTP/1.1\r\nConnection: close\r\n{headers}\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    };
    let length = format!("Content-Length: {}\r\n", body.len());
    let host = format!("Host: {address}\r\n");
    let good = post("POST /", &format!("{host}{sts}{length}"));
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    let absolute = post(
        &format!("POST http://{address}/"),
        &format!("{host}{sts}{length}"),
    );
    assert!(absolute.starts_with("HTTP/1.1 200"), "{absolute}");
    for (what, line, headers) in [
        (
            "two hosts",
            "POST /",
            format!("{host}Host: evil.example\r\n{sts}{length}"),
        ),
        (
            "twice the same host",
            "POST /",
            format!("{host}{host}{sts}{length}"),
        ),
        ("no host", "POST /", format!("{sts}{length}")),
        (
            "another target",
            "POST http://evil.example/",
            format!("{host}{sts}{length}"),
        ),
        (
            "two signatures",
            "POST /",
            format!("{host}{sts}{sts}{length}"),
        ),
        (
            "two lengths",
            "POST /",
            format!("{host}{sts}{length}Content-Length: 1\r\n"),
        ),
        (
            "two origins",
            "POST /",
            format!(
                "{host}{sts}{length}Origin: http://{address}\r\nOrigin: http://evil.example\r\n"
            ),
        ),
        (
            "a length and a coding",
            "POST /",
            format!("{host}{sts}{length}Transfer-Encoding: chunked\r\n"),
        ),
        (
            "a coding and a length",
            "POST /",
            format!("{host}{sts}Transfer-Encoding: chunked\r\nCONTENT-LENGTH: 0\r\n"),
        ),
        (
            "another coding",
            "POST /",
            format!("{host}{sts}Transfer-Encoding: gzip, chunked\r\n"),
        ),
        (
            "a folded line",
            "POST /",
            format!("{host}{sts}{length}X-A: b\r\n c\r\n"),
        ),
        (
            "a space before the colon",
            "POST /",
            format!("{host}{sts}{length}Origin : x\r\n"),
        ),
    ] {
        let answer = post(line, &headers);
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
    }
    let old = server.exchange(b"GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 400"), "{old}");
    server.lives();
}

#[test]
fn a_later_request_of_a_connection_can_be_ambiguous_too() {
    let server = Server::start();
    let sts = signed("sts");
    let host = format!("Host: {}\r\n", server.address);
    // The body of the first request looks like such a request.
    let inner = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let first = format!(
        "POST / HTTP/1.1\r\n{host}{sts}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
        inner.len()
    );
    let second = format!(
        "POST / HTTP/1.1\r\n{host}{sts}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n\
         GET / HTTP/1.1\r\n{host}\r\n"
    );
    let answers = server.exchange(format!("{first}{second}").as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    let both = "both Content-Length and Transfer-Encoding";
    assert_eq!(answers.matches(both).count(), 1, "{answers}");
    server.lives();
}

/// A duplicate key in an object is ambiguous, so no request and no embedded document may contain
/// one.
#[test]
fn a_key_that_occurs_twice_is_refused_in_the_clients_protocol() {
    let server = Server::start();
    let refused = |answer: &str, code: &str, reason: &str| {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains(code), "{code}: {answer}");
        assert!(answer.contains(reason), "{reason}: {answer}");
    };
    for (service, target) in [
        ("sagemaker", "SageMaker.ListModels"),
        ("logs", "Logs_20140328.DescribeLogGroups"),
        ("kms", "TrentService.ListKeys"),
        (
            "ecr",
            "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories",
        ),
        ("codecommit", "CodeCommit_20150413.ListRepositories"),
    ] {
        let answer = server.json(service, target, r#"{"a": [{"b": 1, "\u0062": 1}]}"#);
        refused(
            &answer,
            "SerializationException",
            "the key 'b' occurs twice in $.a[0]",
        );
    }
    let function = server.send(
        "POST /2015-03-31/functions",
        "lambda",
        "Content-Type: application/json\r\n",
        br#"{"FunctionName": "a", "FunctionName": "b"}"#,
    );
    refused(
        &function,
        "InvalidRequestContentException",
        "the key 'FunctionName' occurs twice in $",
    );
    let text = |document: &str| serde_json::Value::from(document).to_string();
    let definition = r#"{"Version": "2020-12-01", "Steps": [{"Name": "F", "Type": "Fail",
        "Arguments": {"ErrorMessage": "a", "ErrorMessage": "b"}}]}"#;
    let trust = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}}"#;
    let role = format!(
        "Action=CreateRole&Version=2010-05-08&RoleName=runs&AssumeRolePolicyDocument={}",
        encoded(trust)
    );
    let made = server.form("iam", &role);
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    let pipeline = format!(
        r#"{{"PipelineName": "p", "RoleArn": "arn:aws:iam::000000000000:role/runs",
            "ClientRequestToken": "{}", "PipelineDefinition": {}}}"#,
        "t".repeat(32),
        text(definition)
    );
    let answer = server.json("sagemaker", "SageMaker.CreatePipeline", &pipeline);
    let reason = "$.Steps[0].Arguments: the key 'ErrorMessage' occurs twice";
    refused(&answer, "ValidationException", reason);
    let policy =
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Effect": "Allow"}]}"#;
    let key = format!(r#"{{"Policy": {}}}"#, text(policy));
    let answer = server.json("kms", "TrentService.CreateKey", &key);
    refused(&answer, "MalformedPolicyDocumentException", "");
    let role = format!(
        "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument={}",
        encoded(policy)
    );
    let reason = "the key 'Effect' occurs twice in $.Statement[0]";
    refused(
        &server.form("iam", &role),
        "MalformedPolicyDocument",
        &reason.replace('\'', "&apos;"),
    );
    let template = |text: &str| {
        let form = format!(
            "Action=ValidateTemplate&Version=2010-05-15&TemplateBody={}",
            encoded(text)
        );
        server.form("cloudformation", &form)
    };
    let json = template(r#"{"Resources": {"A": {"Type": "a", "Type": "b"}}}"#);
    refused(
        &json,
        "ValidationError",
        "Template format error: JSON not well-formed.",
    );
    let yaml = template("Resources: {A: {Type: a, 'Type': b}}");
    refused(
        &yaml,
        "ValidationError",
        "Template format error: YAML not well-formed.",
    );
    server.lives();
}

#[test]
fn issue_8_1_6_a_large_form_leaves_no_memory_behind() {
    let server = Server::start();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process)).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() / 1024
    };
    let before = resident();
    // 12 MB, then the maximum size of a form, and its maximum number of members.
    for count in [1_000_000, 300_000, 9_000] {
        let members: Vec<String> = (0..count).map(|index| format!("A.{index}.B=")).collect();
        let form = format!("Action=ListRoles&Version=2010-05-08&{}", members.join("&"));
        let answer = server.form("iam", &form);
        let status = answer.split(' ').nth(1).unwrap();
        let wanted = if form.len() > (4 << 20) { "413" } else { "400" };
        if count > 10_000 {
            assert_eq!(status, wanted, "{answer}");
            assert!(answer.contains("<ErrorResponse"), "{answer}");
        }
    }
    let json = format!("{{\"A\": [{}0]}}", "{},".repeat(4_000_000));
    let answer = server.json("sagemaker", "SageMaker.ListModels", &json);
    assert!(answer.contains("SerializationException"), "{answer}");
    let after = resident();
    assert!(
        after < before + 100,
        "{before} MiB before, {after} MiB after"
    );
}
