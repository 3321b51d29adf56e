//! Data capture: requests and responses of an endpoint as JSON Lines in S3, in the format that
//! Model Monitor reads (developer guide, "Capture data from real-time endpoint").
//!
//! ```text
//! invocation ── line ── journal (a file, before the response) ── (after a second) object in S3
//! ```

use std::sync::Arc;

use base64::Engine;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::states::CaptureStatus;
use crate::Cloud;
use crate::api::{ApiError, ApiResult, parse};
use crate::s3::objects;
use crate::sts::ServiceSession;

mod journal;

use journal::Journal;
pub(super) use journal::recover;

/// A parsed `DataCaptureConfig`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    enabled: bool,
    percent: u64,
    bucket: String,
    prefix: String,
    input: bool,
    output: bool,
    csv: Vec<String>,
    json: Vec<String>,
}

/// `DataCaptureConfig`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataCaptureConfig {
    #[serde(default)]
    enable_capture: bool,
    #[serde(rename = "DestinationS3Uri")]
    destination: String,
    initial_sampling_percentage: u64,
    #[serde(default)]
    capture_options: Vec<CaptureOption>,
    #[serde(default)]
    capture_content_type_header: ContentTypes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CaptureOption {
    capture_mode: CaptureMode,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum CaptureMode {
    Input,
    Output,
    InputAndOutput,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContentTypes {
    csv_content_types: Vec<String>,
    json_content_types: Vec<String>,
}

impl Settings {
    /// Parses a `DataCaptureConfig`; `ValidationException` if it is invalid.
    pub(super) fn read(config: &DataCaptureConfig) -> ApiResult<Self> {
        let (bucket, prefix) = objects::parse_uri(&config.destination)?;
        let percent = config.initial_sampling_percentage;
        if percent > 100 {
            return Err(ApiError::validation(
                "InitialSamplingPercentage must be between 0 and 100.",
            ));
        }
        let (mut input, mut output) = (false, false);
        for option in &config.capture_options {
            match option.capture_mode {
                CaptureMode::Input => input = true,
                CaptureMode::Output => output = true,
                CaptureMode::InputAndOutput => (input, output) = (true, true),
            }
        }
        if !input && !output {
            return Err(ApiError::validation("CaptureOptions is empty."));
        }
        let lower = |types: &[String]| types.iter().map(|kind| kind.to_ascii_lowercase()).collect();
        let types = &config.capture_content_type_header;
        Ok(Self {
            enabled: config.enable_capture,
            percent,
            bucket,
            prefix: prefix.trim_matches('/').to_owned(),
            input,
            output,
            csv: lower(&types.csv_content_types),
            json: lower(&types.json_content_types),
        })
    }

    /// True if a request with this random number (0 to 99) is sampled.
    fn samples(&self, random: u64) -> bool {
        self.enabled && random < self.percent
    }

    /// A captured body: text if its content type is listed, else Base64.
    fn encode(&self, content_type: &str, body: &[u8]) -> (&'static str, String) {
        let kind = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let encoding = if self.csv.contains(&kind) {
            "CSV"
        } else if self.json.contains(&kind) {
            "JSON"
        } else {
            "BASE64"
        };
        match std::str::from_utf8(body) {
            Ok(text) if encoding != "BASE64" => (encoding, text.to_owned()),
            _ => (
                "BASE64",
                base64::engine::general_purpose::STANDARD.encode(body),
            ),
        }
    }

    /// One line of a captured object.
    fn line(&self, exchange: &Exchange<'_>) -> Value {
        let side = |mode: &str, content_type: &str, body: &[u8]| {
            let (encoding, data) = self.encode(content_type, body);
            json!({"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding})
        };
        let mut data = json!({});
        if self.input {
            data["endpointInput"] = side("INPUT", exchange.content_type, exchange.input);
        }
        if self.output {
            data["endpointOutput"] = side("OUTPUT", exchange.answer_type, exchange.output);
        }
        let mut event = json!({"eventId": uuid::Uuid::new_v4().to_string()});
        if let Some(id) = exchange.inference_id {
            event["inferenceId"] = json!(id);
        }
        if let Some(attributes) = exchange.custom_attributes {
            event["customAttributes"] = json!([attributes]);
        }
        event["inferenceTime"] = json!(exchange.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        json!({"captureData": data, "eventMetadata": event, "eventVersion": "0"})
    }

    fn key(&self, endpoint: &str, variant: &str, time: Timestamp) -> String {
        let when = time.strftime("%Y/%m/%d/%H/%M-%S-%3f");
        let key = format!("{endpoint}/{variant}/{when}-{}.jsonl", uuid::Uuid::new_v4());
        if self.prefix.is_empty() {
            key
        } else {
            format!("{}/{key}", self.prefix)
        }
    }
}

/// `DataCaptureConfig` of `DescribeEndpoint`.
pub(super) fn summary(config: &Value) -> Value {
    let enabled = config["EnableCapture"] == true;
    json!({
        "EnableCapture": enabled,
        "CaptureStatus": if enabled { CaptureStatus::Started } else { CaptureStatus::Stopped },
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config["KmsKeyId"].as_str().unwrap_or_default(),
    })
}

/// A request and its response.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) variant: &'a str,
    pub(super) content_type: &'a str,
    pub(super) input: &'a [u8],
    pub(super) answer_type: &'a str,
    pub(super) output: &'a [u8],
    pub(super) inference_id: Option<&'a str>,
    pub(super) custom_attributes: Option<&'a str>,
    pub(super) time: Timestamp,
}

/// Captures the requests of one fleet.
#[derive(Debug)]
pub(super) struct Capture {
    settings: Settings,
    endpoint: String,
    journal: Journal,
}

impl Capture {
    /// Starts capturing for an endpoint, and writes on behalf of its role.
    pub(super) fn start(
        cloud: &Cloud,
        session: &Arc<ServiceSession>,
        endpoint: &str,
        config: &Value,
    ) -> ApiResult<Self> {
        Ok(Self {
            settings: Settings::read(&parse(config.clone())?)?,
            endpoint: endpoint.to_owned(),
            journal: Journal::start(cloud, session),
        })
    }

    /// Captures an exchange if it is sampled. It survives a kill -9 when this returns.
    pub(super) fn record(&self, exchange: &Exchange<'_>) {
        let random = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 100 / 256;
        if self.settings.samples(random) {
            let line = self.settings.line(exchange).to_string();
            let variant = exchange.variant;
            let place = || {
                let key = self.settings.key(&self.endpoint, variant, exchange.time);
                (self.settings.bucket.clone(), key)
            };
            self.journal.append(variant, line, place);
        }
    }

    /// Writes the remaining lines to S3.
    pub(super) async fn finish(&self) {
        self.journal.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: Value) -> ApiResult<Settings> {
        Settings::read(&parse(config)?)
    }

    fn settings() -> Settings {
        read(json!({
            "EnableCapture": true, "InitialSamplingPercentage": 50,
            "DestinationS3Uri": "s3://b/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"],
                                         "JsonContentTypes": ["application/json"]},
        }))
        .unwrap()
    }

    fn exchange<'a>(answer_type: &'a str, output: &'a [u8]) -> Exchange<'a> {
        Exchange {
            variant: "AllTraffic",
            content_type: "text/csv",
            input: b"1,2\n",
            answer_type,
            output,
            inference_id: Some("i-1"),
            custom_attributes: None,
            time: "2022-02-14T17:25:06Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_line_is_in_aws_s_format() {
        let mut line = settings().line(&exchange("text/csv; charset=utf-8", b"0.023"));
        assert!(line["eventMetadata"]["eventId"].take().is_string());
        assert_eq!(
            line,
            json!({
                "captureData": {
                    "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT",
                                      "data": "1,2\n", "encoding": "CSV"},
                    "endpointOutput": {"observedContentType": "text/csv; charset=utf-8",
                                       "mode": "OUTPUT", "data": "0.023", "encoding": "CSV"},
                },
                "eventMetadata": {"eventId": null, "inferenceId": "i-1",
                                  "inferenceTime": "2022-02-14T17:25:06Z"},
                "eventVersion": "0",
            })
        );
    }

    #[test]
    fn unlisted_content_types_are_base64() {
        let settings = settings();
        assert_eq!(settings.encode("text/html", b"hi").0, "BASE64");
        assert_eq!(
            settings.encode("Application/JSON", b"{}"),
            ("JSON", "{}".to_owned())
        );
        assert_eq!(settings.encode("text/csv", &[0xff]).0, "BASE64");
    }

    #[test]
    fn the_sample_matches_its_percentage() {
        let settings = settings();
        assert_eq!(
            (0..100).filter(|random| settings.samples(*random)).count(),
            50
        );
    }

    #[test]
    fn keys_contain_the_hour() {
        let key = settings().key("e", "v", "2026-11-22T08:09:10.123Z".parse().unwrap());
        assert!(
            key.starts_with("capture/e/v/2026/11/22/08/09-10-123-"),
            "{key}"
        );
        assert_eq!(key.rsplit_once('.').unwrap().1, "jsonl");
    }

    #[test]
    fn invalid_capture_settings_are_refused() {
        for config in [
            json!({"DestinationS3Uri": "b", "InitialSamplingPercentage": 1}),
            json!({"DestinationS3Uri": "s3://b/p", "InitialSamplingPercentage": 101}),
            json!({"DestinationS3Uri": "s3://b/p", "InitialSamplingPercentage": 1,
                   "CaptureOptions": []}),
        ] {
            assert!(read(config.clone()).is_err(), "{config}");
        }
    }
}
