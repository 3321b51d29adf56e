//! Causes that only servers have: the port, `/ping`, the time to start.

use super::{Cause, EXCEPTION, Place, beginning, shortened, traceback};

/// The server listens on another port.
pub(super) const WRONG_PORT: &str = "wrong-port";

/// The server has no `/ping`, or it reports an error.
pub(super) const PING: &str = "ping";

/// The server did not become healthy in time.
pub(super) const TIMEOUT: &str = "timeout";

/// The port on which SageMaker expects a server (developer guide, "Custom Inference Code with Hosting
/// Services").
const PORT: u16 = 8080;

/// The address that a server reports in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// True if only processes of the same machine reach it.
    is_loopback: bool,
    port: u16,
}

pub(super) fn find(reason: &str, lines: &[&str]) -> Option<Cause> {
    let unhealthy = reason.contains("health check");
    ping(lines)
        .or_else(|| taken(lines))
        .or_else(|| unhealthy.then(|| wrong_address(lines)).flatten())
        .or_else(|| exception(lines))
        .or_else(|| unhealthy.then(|| not_in_time(reason)))
}

/// The last access-log line of `/ping`: `"GET /ping HTTP/1.1" 404`.
fn ping(lines: &[&str]) -> Option<Cause> {
    let status = lines.iter().rev().find_map(|line| status_of_ping(line))?;
    match status {
        200..=299 => None,
        404 | 405 | 501 => Some(Cause::new(
            PING,
            format!("the server has no route GET /ping (it answers {status})"),
            "answer GET /ping with 200 as soon as the model is loaded (docs/contract.md)",
        )),
        // The exception in the route explains more.
        _ if traceback::last(lines).is_some() => None,
        _ => Some(Cause::new(
            PING,
            format!("the server answers GET /ping with {status}"),
            "answer 200 when the model is loaded; the log shows why it is not",
        )),
    }
}

/// The status in an access-log line of `/ping`.
fn status_of_ping(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("GET /ping")?;
    let mut words = rest.split_whitespace();
    // `HTTP/1.1" 404 22 "-"`: the status follows the protocol.
    words.by_ref().find(|word| word.starts_with("HTTP/"))?;
    let status = words.next()?.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

fn taken(lines: &[&str]) -> Option<Cause> {
    let line = (lines.iter().rev()).find(|line| {
        line.contains("Address already in use") || line.contains("address already in use")
    })?;
    let port = expected(lines);
    Some(Cause::new(
        WRONG_PORT,
        format!(
            "the server's port is in use by another process: `{}`",
            shortened(line)
        ),
        format!(
            "listen on the port that the environment variable SAGEMAKER_BIND_TO_PORT names ({port} here), \
             and on 8080 if it is not set"
        ),
    ))
}

fn wrong_address(lines: &[&str]) -> Option<Cause> {
    let announced = lines.iter().rev().find_map(|line| address(line))?;
    let wanted = expected(lines);
    if announced.port != wanted {
        return Some(Cause::new(
            WRONG_PORT,
            format!(
                "the server listens on port {}, not on {wanted}",
                announced.port
            ),
            format!(
                "listen on the port that the environment variable SAGEMAKER_BIND_TO_PORT names, and on \
                 {PORT} if it is not set"
            ),
        ));
    }
    if announced.is_loopback && announced_by_us(lines).is_none() {
        return Some(Cause::new(
            WRONG_PORT,
            "the server listens on 127.0.0.1 only, which SageMaker does not reach",
            format!("listen on 0.0.0.0:{PORT}"),
        ));
    }
    None
}

/// The port that the server must use: the local cloud's note in the log, else SageMaker's.
fn expected(lines: &[&str]) -> u16 {
    announced_by_us(lines).unwrap_or(PORT)
}

/// `[mlops] the server must listen on port 40123, …`
fn announced_by_us(lines: &[&str]) -> Option<u16> {
    let mut notes = lines
        .iter()
        .rev()
        .filter(|line| line.starts_with("[mlops]"));
    notes.find_map(|line| number(line.split_once("listen on port ")?.1))
}

/// Parses the address in a server's log line: gunicorn, uvicorn, Flask, `http.server`, and others.
fn address(line: &str) -> Option<Address> {
    const WORDS: [&str; 5] = [
        "running on",
        "listening",
        "serving http on",
        "bind address",
        "server started on",
    ];
    if line.starts_with("[mlops]") {
        return None;
    }
    let lower = line.to_ascii_lowercase();
    let (at, word) = WORDS
        .iter()
        .find_map(|word| Some((lower.find(word)?, word)))?;
    let rest = &lower[at + word.len()..];
    let port = if let Some((_, number_follows)) = rest.split_once("port ") {
        number(number_follows)?
    } else {
        let mut colons = rest.match_indices(':');
        colons.find_map(|(at, _)| number(&rest[at + 1..]))?
    };
    Some(Address {
        is_loopback: rest.contains("127.0.0.1") || rest.contains("localhost"),
        port,
    })
}

/// The number at the start of a text.
fn number(text: &str) -> Option<u16> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The exception of the last traceback, or else the last line that names one.
fn exception(lines: &[&str]) -> Option<Cause> {
    const FIX: &str =
        "fix image/program/serve, or the model that it loads; push the image and train again";

    if let Some(mut cause) = super::raised(Place::Server, lines) {
        FIX.clone_into(&mut cause.fix);
        return Some(cause);
    }
    let line = lines
        .iter()
        .rev()
        .find(|line| traceback::is_exception(line))?;
    let what = format!("the server raised `{}`", beginning(line.trim()));
    Some(Cause::new(EXCEPTION, what, FIX))
}

/// The server did not become healthy, and its log has no reason.
fn not_in_time(reason: &str) -> Cause {
    let code = reason
        .split_once("exited with ")
        .and_then(|(_, rest)| number(rest));
    match code {
        Some(code) => Cause::new(
            EXCEPTION,
            format!("the server ended with exit code {code} before it answered GET /ping"),
            "start it locally as `serve` and read its output (docs/contract.md)",
        ),
        None => Cause::new(
            TIMEOUT,
            "the server did not answer GET /ping with 200 in time: it is slow to load the model, or \
             listens on another port",
            "listen before loading the model, answer GET /ping with 200 when it is loaded, or allow more \
             time (ContainerStartupHealthCheckTimeoutInSeconds)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNHEALTHY: &str = "The primary container for production variant AllTraffic did not pass the ping \
                             health check.";

    fn cause(log: &str) -> Option<Cause> {
        let lines: Vec<&str> = log.lines().collect();
        find(UNHEALTHY, &lines)
    }

    #[test]
    fn a_ping_without_a_route_is_recognized_in_access_logs() {
        for line in [
            r#"127.0.0.1 - - [30/Nov/2026 00:00:01] "GET /ping HTTP/1.1" 404 -"#,
            r#"INFO:     169.254.178.2:37890 - "GET /ping HTTP/1.1" 404 Not Found"#,
            r#"169.254.178.2 - - [30/Nov/2026:00:00:01 +0000] "GET /ping HTTP/1.1" 404 232 "-" "AHC/2.0""#,
        ] {
            let found = cause(line).unwrap();
            assert_eq!(found.kind, PING, "{line}");
            assert!(found.what.contains("no route"), "{found:?}");
        }
        let error = cause(r#""GET /ping HTTP/1.1" 500 -"#).unwrap();
        assert!(error.what.ends_with("with 500"), "{error:?}");
        // Earlier failures do not matter once it is healthy.
        let healthy = "\"GET /ping HTTP/1.1\" 404 -\n\"GET /ping HTTP/1.1\" 200 -";
        assert_eq!(cause(healthy).unwrap().kind, TIMEOUT);
    }

    #[test]
    fn another_port_is_recognized() {
        let note =
            "[mlops] the server must listen on port 40123, which SAGEMAKER_BIND_TO_PORT names";
        for (line, port) in [
            (
                "Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)",
                8000,
            ),
            (
                "[2026-11-30] [7] [INFO] Listening at: http://0.0.0.0:5000 (7)",
                5000,
            ),
            (" * Running on http://127.0.0.1:5001", 5001),
            (
                "Serving HTTP on 0.0.0.0 port 8001 (http://0.0.0.0:8001/) ...",
                8001,
            ),
            ("listening on port 3000", 3000),
        ] {
            let found = cause(&format!("{note}\n{line}")).unwrap();
            assert_eq!(found.kind, WRONG_PORT, "{line}");
            let what = format!("the server listens on port {port}, not on 40123");
            assert_eq!(found.what, what);
        }
        let loopback = cause("Uvicorn running on http://127.0.0.1:8080").unwrap();
        assert!(loopback.fix.contains("0.0.0.0:8080"), "{loopback:?}");
        // On the local cloud, loopback is where the server is reached.
        let right = cause(&format!(
            "{note}\nUvicorn running on http://127.0.0.1:40123"
        ))
        .unwrap();
        assert_eq!(right.kind, TIMEOUT);
        let taken = cause("OSError: [Errno 98] Address already in use").unwrap();
        assert_eq!(taken.kind, WRONG_PORT);
    }

    #[test]
    fn a_server_that_ended_is_told_from_a_slow_one() {
        let raised =
            cause("Traceback (most recent call last):\nValueError: no such model").unwrap();
        assert_eq!(raised.kind, EXCEPTION);
        assert!(
            raised.what.contains("ValueError: no such model"),
            "{raised:?}"
        );
        let ended = find(&format!("{UNHEALTHY} (the server exited with 3)"), &[]).unwrap();
        assert!(ended.what.contains("exit code 3"), "{ended:?}");
        assert_eq!(cause("loading").unwrap().kind, TIMEOUT);
        assert_eq!(find("the alarm is in ALARM", &[]), None);
    }
}
