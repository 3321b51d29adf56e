//! Data capture: requests and responses of an endpoint as JSON Lines in S3, in the format that
//! Model Monitor reads (developer guide, "Capture data from real-time endpoint").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::super::states::CaptureStatus;
use crate::api::{ApiError, ApiResult, parse};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::sts::ServiceSession;
use crate::{Cloud, clock};

/// An object is written when it has this many bytes…
const FLUSH_BYTES: usize = 1 << 20;
/// … or this long after its first record.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// Maximum size in bytes of a batch that cannot be written yet; protects memory.
const KEPT_BYTES: usize = 16 << 20;

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

enum Message {
    Line { variant: String, text: String },
    Finish(oneshot::Sender<()>),
}

/// Collects the lines of one endpoint and writes them in batches.
#[derive(Debug)]
pub(super) struct Capture {
    settings: Settings,
    lines: mpsc::UnboundedSender<Message>,
    /// Serializes calls of `finish`.
    finishing: Mutex<()>,
}

impl Capture {
    /// Starts collecting for an endpoint, and writes on behalf of its role.
    pub(super) fn start(
        cloud: &Cloud,
        session: &Arc<ServiceSession>,
        endpoint: &str,
        config: &Value,
    ) -> ApiResult<Self> {
        let settings = Settings::read(&parse(config.clone())?)?;
        let (lines, receiver) = mpsc::unbounded_channel();
        tokio::spawn(collect(
            cloud.clone(),
            session.clone(),
            endpoint.to_owned(),
            settings.clone(),
            receiver,
        ));
        Ok(Self {
            settings,
            lines,
            finishing: Mutex::new(()),
        })
    }

    /// Captures an exchange if it is sampled.
    pub(super) fn record(&self, exchange: &Exchange<'_>) {
        let random = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 100 / 256;
        if self.settings.samples(random) {
            let text = self.settings.line(exchange).to_string();
            // The collector ends only after `finish`; later lines belong to no endpoint.
            let _ = self.lines.send(Message::Line {
                variant: exchange.variant.to_owned(),
                text,
            });
        }
    }

    /// Writes the remaining lines and ends.
    pub(super) async fn finish(&self) {
        let _one = self.finishing.lock().await;
        let (done, wait) = oneshot::channel();
        if self.lines.send(Message::Finish(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

async fn collect(
    cloud: Cloud,
    session: Arc<ServiceSession>,
    endpoint: String,
    settings: Settings,
    mut lines: mpsc::UnboundedReceiver<Message>,
) {
    let mut batches: BTreeMap<String, String> = BTreeMap::new();
    let mut first = Instant::now();
    let role = session.caller();
    loop {
        // The server must not become idle while records wait to be written.
        let _busy = (!batches.is_empty()).then(|| cloud.busy());
        let message = if batches.is_empty() {
            lines.recv().await
        } else {
            tokio::select! {
                message = lines.recv() => message,
                () = clock::sleep(FLUSH_AFTER.saturating_sub(first.elapsed())) => {
                    flush(&cloud, &role, &endpoint, &settings, &mut batches);
                    first = Instant::now();
                    continue;
                }
            }
        };
        match message {
            Some(Message::Line { variant, text }) => {
                if batches.is_empty() {
                    first = Instant::now();
                }
                let batch = batches.entry(variant).or_default();
                batch.push_str(&text);
                batch.push('\n');
                if batch.len() >= FLUSH_BYTES {
                    flush(&cloud, &role, &endpoint, &settings, &mut batches);
                }
            }
            Some(Message::Finish(done)) => {
                flush(&cloud, &role, &endpoint, &settings, &mut batches);
                let _ = done.send(());
                return;
            }
            None => {
                flush(&cloud, &role, &endpoint, &settings, &mut batches);
                return;
            }
        }
    }
}

/// Writes every batch. If the bucket was deleted, the batch is lost, as in AWS; on a full disk a
/// batch is retried, unless it grows too large.
fn flush(
    cloud: &Cloud,
    role: &Caller,
    endpoint: &str,
    settings: &Settings,
    batches: &mut BTreeMap<String, String>,
) {
    for (variant, text) in std::mem::take(batches) {
        let key = settings.key(endpoint, &variant, Timestamp::now());
        let written = objects::put(
            cloud,
            role,
            &settings.bucket,
            &key,
            text.as_bytes(),
            "application/jsonlines",
        );
        if written.is_err_and(|error| error.is_unavailable()) && text.len() < KEPT_BYTES {
            batches.insert(variant, text);
        }
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
