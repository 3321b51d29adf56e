//! Smithy RPC v2 CBOR (RFC 8949): the operation is in the path, `/service/SERVICE/operation/OPERATION`; request and
//! response are CBOR maps. Inside the local cloud they are JSON values.
//!
//! A time has the tag 1 in CBOR and is a number in JSON, so encoding needs the names of the members that are times.
//! Like JSON, a request is checked while it is decoded: depth, number of values, repeated keys. Lengths are not
//! trusted: nothing is allocated before its bytes are there.

use std::convert::Infallible;

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use minicbor::data::{IanaTag, Tag, Type};
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Number, Value};

use super::json::drop_nulls;
use crate::api::{ApiError, ApiResult};
use crate::limits::{MAX_DEPTH, MAX_VALUES, too_deep};

/// The content type of requests and responses.
pub(crate) const CONTENT_TYPE: &str = "application/cbor";

/// The service and the operation that a path names.
pub(crate) fn operation(path: &str) -> Option<(&str, &str)> {
    let (service, operation) = path.strip_prefix("/service/")?.split_once("/operation/")?;
    let is_name = |text: &str| !text.is_empty() && !text.contains('/');
    (is_name(service) && is_name(operation)).then_some((service, operation))
}

/// Decodes a request body; an empty one is an empty map.
pub(crate) fn decode(body: &[u8]) -> ApiResult<Value> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut reader = Reader {
        decoder: Decoder::new(body),
        values: 0,
    };
    let value = reader.value(MAX_DEPTH).map_err(wrong)?;
    if reader.decoder.position() < body.len() {
        return Err(wrong("there is data after the end of the request".into()));
    }
    Ok(value)
}

fn wrong(problem: Problem) -> ApiError {
    ApiError::new("SerializationException", problem.0)
}

/// The reason why a request is not decoded.
struct Problem(String);

impl From<minicbor::decode::Error> for Problem {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(format!("invalid CBOR: {error}"))
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

struct Reader<'b> {
    decoder: Decoder<'b>,
    /// The number of values so far.
    values: usize,
}

impl Reader<'_> {
    /// Reads a value with at most `levels` levels of lists and maps. Recurses at most that deep.
    fn value(&mut self, levels: usize) -> Result<Value, Problem> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Problem(format!(
                "the CBOR has more than {MAX_VALUES} values"
            )));
        }
        let kind = self.decoder.datatype()?;
        let is_nested = matches!(
            kind,
            Type::Array | Type::ArrayIndef | Type::Map | Type::MapIndef
        );
        let Some(levels) = levels.checked_sub(usize::from(is_nested)) else {
            return Err(Problem(too_deep(MAX_DEPTH)));
        };
        Ok(match kind {
            Type::Bool => self.decoder.bool()?.into(),
            Type::Null => {
                self.decoder.null()?;
                Value::Null
            }
            Type::Undefined => {
                self.decoder.undefined()?;
                Value::Null
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => self.decoder.u64()?.into(),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => self.decoder.i64()?.into(),
            Type::F16 | Type::F32 | Type::F64 => number(self.decoder.f64()?)?,
            Type::String | Type::StringIndef => self.text()?.into(),
            Type::Array | Type::ArrayIndef => {
                let length = self.decoder.array()?;
                let mut items = Vec::new();
                while self.has_next(length, items.len())? {
                    items.push(self.value(levels)?);
                }
                Value::Array(items)
            }
            Type::Map | Type::MapIndef => {
                let length = self.decoder.map()?;
                let mut members = Map::new();
                while self.has_next(length, members.len())? {
                    let name = self.text()?;
                    let value = self.value(levels)?;
                    if members.insert(name, value).is_some() {
                        return Err("a key occurs twice in a map".into());
                    }
                }
                Value::Object(members)
            }
            Type::Tag => {
                if self.decoder.tag()? != Tag::from(IanaTag::Timestamp) {
                    return Err("only times can have a tag".into());
                }
                match self.decoder.datatype()? {
                    Type::F16 | Type::F32 | Type::F64 => number(self.decoder.f64()?)?,
                    _ => self.decoder.i64()?.into(),
                }
            }
            other => {
                return Err(Problem(format!(
                    "a value of the type {other} is not expected"
                )));
            }
        })
    }

    /// Reads text, also in parts.
    fn text(&mut self) -> Result<String, Problem> {
        match self.decoder.datatype()? {
            Type::String => Ok(self.decoder.str()?.to_owned()),
            Type::StringIndef => {
                let mut text = String::new();
                for part in self.decoder.str_iter()? {
                    text.push_str(part?);
                }
                Ok(text)
            }
            other => Err(Problem(format!(
                "text was expected, not a value of the type {other}"
            ))),
        }
    }

    /// True if a list or map with `read` elements so far has another one; reads the end of one without a length.
    fn has_next(&mut self, length: Option<u64>, read: usize) -> Result<bool, Problem> {
        if let Some(length) = length {
            return Ok((read as u64) < length);
        }
        let is_end = self.decoder.datatype()? == Type::Break;
        if is_end {
            self.decoder.set_position(self.decoder.position() + 1);
        }
        Ok(!is_end)
    }
}

fn number(number: f64) -> Result<Value, Problem> {
    let number = Number::from_f64(number);
    let number =
        number.ok_or_else(|| Problem::from("NaN and infinite numbers are not supported"))?;
    Ok(Value::Number(number))
}

/// Encodes the response of an operation. `times` are the members that are times or lists of times; members that
/// are null are omitted.
pub(crate) fn encode(times: &[&str], request_id: &str, result: ApiResult<Value>) -> Response<Body> {
    let (status, body) = match result {
        Ok(mut value) => {
            drop_nulls(&mut value);
            (200, encoded(&value, times))
        }
        Err(error) => (error.status, error_bytes(&error)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    if let Ok(value) = request_id.parse() {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

/// Encodes an error.
pub(crate) fn error_bytes(error: &ApiError) -> Vec<u8> {
    let error = serde_json::json!({"__type": error.code, "message": error.message});
    encoded(&error, &[])
}

/// Encodes a value; none is an empty map.
pub(crate) fn encoded(value: &Value, times: &[&str]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    let value = match value {
        Value::Null => &Value::Object(Map::new()),
        value => value,
    };
    // Writing to memory does not fail.
    let _ = write(&mut encoder, value, times, false);
    encoder.into_writer()
}

/// Writes a value, which the handlers of operations make, so its depth is that of their types.
fn write(
    encoder: &mut Encoder<Vec<u8>>,
    value: &Value,
    times: &[&str],
    is_time: bool,
) -> Result<(), minicbor::encode::Error<Infallible>> {
    match value {
        Value::Null => {
            encoder.null()?;
        }
        Value::Bool(value) => {
            encoder.bool(*value)?;
        }
        Value::String(text) => {
            encoder.str(text)?;
        }
        Value::Number(number) => {
            if is_time {
                encoder.tag(IanaTag::Timestamp)?;
            }
            if let Some(number) = number.as_i64() {
                encoder.i64(number)?;
            } else if let Some(number) = number.as_u64() {
                encoder.u64(number)?;
            } else {
                encoder.f64(number.as_f64().unwrap_or_default())?;
            }
        }
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            for item in items {
                write(encoder, item, times, is_time)?;
            }
        }
        Value::Object(members) => {
            encoder.map(members.len() as u64)?;
            for (name, member) in members {
                encoder.str(name)?;
                write(encoder, member, times, times.contains(&name.as_str()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: &[u8]) -> String {
        let error = decode(body).unwrap_err();
        assert_eq!(error.code, "SerializationException");
        error.message
    }

    #[test]
    fn paths_name_operations() {
        assert_eq!(operation("/service/S/operation/O"), Some(("S", "O")));
        for path in [
            "/",
            "/service/S",
            "/service//operation/O",
            "/service/S/operation/O/x",
        ] {
            assert_eq!(operation(path), None, "{path}");
        }
    }

    #[test]
    fn values_are_decoded_and_encoded() {
        let value = json!({
            "Name": "ä", "Count": 3, "Large": u64::MAX, "Less": -5, "Value": 2.0, "Flag": true,
            "Items": [1, [2.5], {}], "Time": 1_700_000_000, "Times": [1.5, 2],
        });
        let encoded = encoded(&value, &["Time", "Times"]);
        assert_eq!(decode(&encoded).unwrap(), value);
        // The time, and the two of the list, have a tag.
        assert_eq!(encoded.len(), super::encoded(&value, &[]).len() + 3);
        assert!(value["Value"].is_f64());
        assert_eq!(decode(b"").unwrap(), json!({}));
        // {_ "a": [_ 1, null, undefined], "b": (_ "x", "y"), "c": 1(1.5 as a half)}
        let indefinite =
            b"\xbf\x61a\x9f\x01\xf6\xf7\xff\x61b\x7f\x61x\x61y\xff\x61c\xc1\xf9\x3e\x00\xff";
        assert_eq!(
            decode(indefinite).unwrap(),
            json!({"a": [1, null, null], "b": "xy", "c": 1.5})
        );
    }

    #[test]
    fn hostile_requests_are_refused() {
        assert_eq!(refused(&vec![0x81; 1 << 20]), too_deep(MAX_DEPTH));
        assert_eq!(refused(&vec![0x9f; 1 << 20]), too_deep(MAX_DEPTH));
        // A list and a map that claim 2^64 - 1 elements, and text that claims 2^60 bytes.
        assert!(refused(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01").contains("invalid CBOR"));
        assert!(refused(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff").contains("invalid CBOR"));
        assert!(refused(b"\x7b\x10\x00\x00\x00\x00\x00\x00\x00x").contains("invalid CBOR"));
        let mut many = vec![0x9f];
        many.extend(vec![0x01; MAX_VALUES]);
        assert!(refused(&many).contains("more than 200000 values"));
        assert_eq!(
            refused(b"\xa2\x61a\x01\x61a\x02"),
            "a key occurs twice in a map"
        );
        assert!(refused(b"\xa1\x01\x02").contains("text was expected"));
        assert!(refused(b"\xf9\x7e\x00").contains("NaN"));
        assert!(refused(b"\xf9\x7c\x00").contains("infinite"));
        assert!(refused(b"\xc2\x41\x01").contains("only times"));
        assert!(refused(b"\x41x").contains("not expected"));
        assert!(refused(b"\x61\xff").contains("invalid CBOR"));
        assert!(refused(b"\xff").contains("not expected"));
        assert!(refused(b"\xa0\xa0").contains("after the end"));
        assert!(refused(b"\xbf\x61a").contains("invalid CBOR"));
        for end in 0..12 {
            let _ = decode(&b"\xbf\x61a\x9f\x01\xf6\xff\x61b\x7f\x61x\xff\xff"[..end]);
        }
    }
}
