//! The sample request: the last part of the proof that a release works.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mlops_core::error::Hint;
use serde::Serialize;
use serde_json::Value;

use crate::aws::Clients;
use crate::aws::invocation::{self, Header};
use crate::config::{ExpectSection, Project};

/// Maximum size in bytes of an invocation's body; SageMaker's limit.
const LARGEST: u64 = 25 << 20;

/// The endpoint's response to the sample.
#[derive(Debug, Clone, Serialize)]
pub struct SampleAnswer {
    /// Path of the sample, relative to mlops.toml.
    pub file: PathBuf,
    /// Content type of the request.
    pub content_type: &'static str,
    /// Body of the response.
    pub answer: String,
}

/// The file that `deploy.sample` names, and what the response must look like.
#[derive(Debug)]
pub struct Sample {
    file: PathBuf,
    content_type: &'static str,
    body: Vec<u8>,
    expect: ExpectSection,
}

impl Sample {
    /// Reads the sample; `None` if mlops.toml names none.
    pub fn read(project: &Project) -> Result<Option<Self>> {
        let Some(file) = &project.file.deploy.sample else {
            return Ok(None);
        };
        let body = project
            .read_file(file, LARGEST)
            .with_context(|| format!("cannot read deploy.sample, {}", file.display()))
            .hint("set deploy.sample in mlops.toml to a file with a request body, relative to mlops.toml")?;
        Ok(Some(Self {
            content_type: invocation::content_type(file),
            file: file.clone(),
            body,
            expect: project.file.deploy.expect.clone(),
        }))
    }

    /// Sends the sample to the endpoint. Returns the response, or why it is not acceptable.
    pub async fn send(
        &self,
        clients: &Clients,
        endpoint: &str,
    ) -> Result<Result<SampleAnswer, String>> {
        let header = Header {
            content_type: Some(self.content_type.to_owned()),
            ..Header::default()
        };
        let sent = invocation::send(&clients.runtime, endpoint, &header, self.body.clone()).await;
        let invoked = match sent {
            Ok(answer) => Invoked {
                status: 200,
                content_type: answer.content_type,
                body: answer.body,
            },
            Err(refused) => match refused.model {
                Some((status, text)) => Invoked {
                    status,
                    content_type: None,
                    body: text.into_bytes(),
                },
                None => return Err(refused.error),
            },
        };
        let answer = String::from_utf8_lossy(&invoked.body).trim_end().to_owned();
        Ok(match problem(&self.expect, &invoked) {
            Some(problem) => Err(problem),
            None => Ok(SampleAnswer {
                file: self.file.clone(),
                content_type: self.content_type,
                answer,
            }),
        })
    }
}

/// The endpoint's response. SageMaker reports the container's status for errors only: any 2xx becomes 200.
#[derive(Debug, Clone)]
struct Invoked {
    status: u16,
    content_type: Option<String>,
    body: Vec<u8>,
}

/// Returns how a response differs from what is expected.
fn problem(expect: &ExpectSection, invoked: &Invoked) -> Option<String> {
    let status = invoked.status;
    let is_expected = match expect.status {
        Some(wanted) => status == wanted,
        None => (200..300).contains(&status),
    };
    if !is_expected {
        let wanted = expect
            .status
            .map_or_else(|| "2xx".to_owned(), |wanted| wanted.to_string());
        let body = String::from_utf8_lossy(&invoked.body);
        let body = mlops_core::quote::short(body.trim());
        return Some(format!("the status is {status}, not {wanted}: {body}"));
    }
    if let Some(wanted) = &expect.content_type {
        let found = invoked.content_type.as_deref().unwrap_or("none");
        let plain = found.split(';').next().unwrap_or_default().trim();
        if !plain.eq_ignore_ascii_case(wanted) {
            return Some(format!("the content type is {found}, not {wanted}"));
        }
    }
    let number = match &expect.json {
        Some(pointer) => {
            let body: Value = match serde_json::from_slice(&invoked.body) {
                Ok(body) => body,
                Err(error) => return Some(format!("the response is not JSON: {error}")),
            };
            let Some(value) = body.pointer(pointer) else {
                return Some(format!("the response has no value at {pointer}"));
            };
            value.as_f64()
        }
        None => first_number(&String::from_utf8_lossy(&invoked.body)),
    };
    if expect.min.is_none() && expect.max.is_none() {
        return None;
    }
    let Some(number) = number else {
        return Some("the response has no number to compare with min and max".to_owned());
    };
    if expect.min.is_some_and(|min| number < min) {
        return Some(format!("{number} is less than the minimum"));
    }
    if expect.max.is_some_and(|max| number > max) {
        return Some(format!("{number} is greater than the maximum"));
    }
    None
}

/// Returns the first number of a text: `12.5\n`, `[[12.5, 3]]`.
fn first_number(text: &str) -> Option<f64> {
    text.split(|c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']' | '{' | '}' | ':' | '"')
    })
    .find_map(|word| word.parse().ok())
    .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_what_mlops_toml_expects() {
        let csv = Invoked {
            status: 200,
            content_type: Some("text/csv; charset=utf-8".to_owned()),
            body: b"12.5\n13\n".to_vec(),
        };
        let json = Invoked {
            content_type: Some("application/json".to_owned()),
            body: br#"{"predictions": [{"score": 0.25}]}"#.to_vec(),
            ..csv.clone()
        };
        let failed = Invoked {
            status: 500,
            ..csv.clone()
        };
        let checked = |text: &str, invoked: &Invoked| {
            problem(&toml::from_str(text).unwrap(), invoked).unwrap_or_default()
        };
        for (text, invoked) in [
            ("", &csv),
            ("content_type = \"text/csv\"\nmin = 12.0\nmax = 12.5", &csv),
            ("json = \"/predictions/0/score\"\nmax = 1.0", &json),
            ("json = \"/predictions/0\"", &json),
            ("status = 500", &failed),
        ] {
            assert_eq!(checked(text, invoked), "", "{text}");
        }
        for (text, invoked, reason) in [
            ("", &failed, "the status is 500, not 2xx"),
            ("status = 200", &failed, "the status is 500, not 200"),
            (
                "content_type = \"application/json\"",
                &csv,
                "the content type is text/csv",
            ),
            ("json = \"/a\"", &csv, "is not JSON"),
            ("json = \"/a\"", &json, "no value at /a"),
            ("min = 13.0", &csv, "12.5 is less"),
            ("max = 12.0", &csv, "12.5 is greater"),
            ("json = \"/predictions\"\nmin = 1.0", &json, "no number"),
        ] {
            assert!(
                checked(text, invoked).contains(reason),
                "{text}: {}",
                checked(text, invoked)
            );
        }
    }
}
