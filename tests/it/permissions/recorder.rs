//! Runs commands, and reads which operations they called.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::sandbox::{Run, Sandbox};
use crate::sdk::Sdk;

/// Runs commands and keeps the operations that each of them called.
pub(super) struct Recorder {
    pub(super) sandbox: Sandbox,
    pub(super) endpoint: String,
    pub(super) called: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Recorder {
    pub(super) fn start() -> Self {
        let sandbox = Sandbox::new();
        let start = ["local", "start", "--detach", "--port", "0"];
        let _ = sandbox.mlops(start).success();
        let status = ["local", "status", "--output", "json"];
        let status = sandbox.mlops(status).success().json();
        let endpoint = status["endpoint"].as_str().unwrap();
        Self {
            sandbox,
            endpoint: endpoint.strip_prefix("http://").unwrap().to_owned(),
            called: BTreeMap::new(),
        }
    }

    /// The number of calls with the account's own credentials so far: those of `mlops`.
    pub(super) fn calls(&self) -> BTreeMap<String, u64> {
        let mut stream = TcpStream::connect(&self.endpoint).unwrap();
        let request = format!(
            "GET /_mlops/operations HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.endpoint
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let record: Value = serde_json::from_str(body).unwrap();
        let calls = record["account"].as_array().unwrap().iter().map(|call| {
            let name = |member: &str| call[member].as_str().unwrap().to_owned();
            let operation = format!("{}:{}", name("service"), name("operation"));
            (operation, call["count"].as_u64().unwrap())
        });
        calls.collect()
    }

    /// Runs a command that the table has under this name.
    #[must_use = "check the exit code"]
    pub(super) fn run(&mut self, name: &'static str, arguments: &[&str]) -> Run {
        let before = self.calls();
        let run = self.sandbox.mlops(arguments);
        self.called.entry(name).or_default();
        for (operation, count) in self.calls() {
            if before.get(&operation).is_none_or(|before| count > *before) {
                self.called.entry(name).or_default().insert(operation);
            }
        }
        run
    }

    /// Runs a command whose words are its name.
    #[must_use = "check the exit code"]
    pub(super) fn plain(&mut self, name: &'static str) -> Run {
        let words: Vec<&str> = name.split(' ').collect();
        self.run(name, &words)
    }

    /// Puts an object into a bucket, as another client.
    pub(super) fn put(&self, bucket: &str, key: &str, text: String) {
        Sdk::at(&format!("http://{}", self.endpoint)).put(bucket, key, text);
    }
}
