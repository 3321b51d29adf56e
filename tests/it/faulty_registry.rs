//! A registry with faults: a proxy in front of the local cloud's registry that applies a test's
//! rule to each request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;

/// A received request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, including its query.
    pub(crate) path: String,
    /// The header lines; names are in lower case.
    headers: Vec<(String, String)>,
    /// Number of earlier requests with this method and kind of path.
    pub(crate) before: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn length(&self) -> u64 {
        let length = self.header("content-length");
        length.map_or(0, |length| length.parse().unwrap())
    }

    /// Returns true for a request that carries at least that many bytes of a blob.
    pub(crate) fn is_upload(&self, size: u64) -> bool {
        matches!(self.method.as_str(), "PUT" | "PATCH")
            && self.path.contains("/blobs/uploads/")
            && self.length() >= size
    }

    /// Returns the method and the kind of path, for counting.
    fn kind(&self) -> (String, String) {
        let kinds = ["/blobs/uploads/", "/blobs/", "/manifests/"];
        let kind = kinds.iter().find(|kind| self.path.contains(**kind));
        (
            self.method.clone(),
            kind.map_or(self.path.as_str(), |kind| kind).to_owned(),
        )
    }
}

/// The fate of a request.
pub(crate) enum Action {
    /// The registry answers.
    Pass,
    /// The proxy answers with a status line, header lines and a body, and reads nothing more.
    Answer(String),
    /// The registry receives this many bytes of the body, then the connection is closed on both
    /// sides.
    Cut(u64),
}

/// Returns a response with a status and headers, each ending in `\r\n`, and a body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Action {
    Action::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

type Rule = dyn Fn(&Request) -> Action + Send + Sync;

/// A running proxy; dropping it stops it.
pub(crate) struct FaultyRegistry {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    upstream: String,
    seen: Arc<Mutex<Vec<Request>>>,
    ended: Arc<Mutex<bool>>,
}

impl FaultyRegistry {
    /// Starts a proxy in front of the local cloud at `endpoint`.
    pub(crate) fn new(
        endpoint: &str,
        rule: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> Self {
        let upstream = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let ended: Arc<Mutex<bool>> = Arc::default();
        let rule: Arc<Rule> = Arc::new(rule);
        let proxy = Self {
            address,
            upstream: upstream.clone(),
            seen: Arc::clone(&seen),
            ended: Arc::clone(&ended),
        };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if *ended.lock().unwrap() {
                    return;
                }
                let (upstream, seen, rule) =
                    (upstream.clone(), Arc::clone(&seen), Arc::clone(&rule));
                // Some tests cause clients that disconnect.
                std::thread::spawn(move || {
                    let _ = serve(client.unwrap(), &upstream, &seen, &*rule);
                });
            }
        });
        proxy
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the number of requests with a method and this text in their path.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        let such = seen
            .iter()
            .filter(|asked| asked.method == method && asked.path.contains(path));
        such.count()
    }

    /// Sends a request directly to the registry, bypassing the proxy; returns status and body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.upstream).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {}\r\n\
             accept: */*\r\nconnection: close\r\n\r\n",
            self.upstream,
            basic()
        );
        stream.write_all(request.as_bytes()).unwrap();
        parse(stream)
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        *self.ended.lock().unwrap() = true;
        let _ = TcpStream::connect(&self.address);
    }
}

/// Credentials that the local cloud's registry accepts from everybody.
pub(crate) fn basic() -> String {
    base64::engine::general_purpose::STANDARD.encode("AWS:any")
}

/// Calls one operation of ECR's API; the local cloud accepts any signature.
pub(crate) fn ecr(endpoint: &str, operation: &str, input: &str) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: AmazonEC2ContainerRegistry_V20150921.{operation}\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ecr/aws4_request, \
         SignedHeaders=host, Signature=00\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{input}",
        input.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (status, body) = parse(stream);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
}

/// Reads status and body of a response that ends with its connection.
fn parse(mut stream: TcpStream) -> (u16, Vec<u8>) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer[end + 4..].to_vec();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    assert!(!chunked, "{head}");
    (status, body)
}

fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn serve(
    mut client: TcpStream,
    upstream: &str,
    seen: &Mutex<Vec<Request>>,
    rule: &Rule,
) -> std::io::Result<()> {
    let head = head(&mut client)?;
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let mut asked = Request {
        method: first.next().unwrap().to_owned(),
        path: first.next().unwrap().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        before: 0,
    };
    {
        let mut seen = seen.lock().unwrap();
        let kind = asked.kind();
        asked.before = seen.iter().filter(|other| other.kind() == kind).count();
        seen.push(asked.clone());
    }
    let (bytes, cut) = match rule(&asked) {
        Action::Answer(answer) => {
            client.write_all(answer.as_bytes())?;
            // Not a reset: read what the client still sends, so that it sees the response.
            client.shutdown(Shutdown::Write)?;
            std::io::copy(&mut client, &mut std::io::sink())?;
            return Ok(());
        }
        Action::Pass => (asked.length(), false),
        Action::Cut(bytes) => (bytes, true),
    };
    let mut server = TcpStream::connect(upstream)?;
    let mut forwarded = format!("{} {} HTTP/1.1\r\n", asked.method, asked.path);
    for (name, value) in &asked.headers {
        // Tokens are handled by the proxy itself.
        let value = match name.as_str() {
            "connection" => continue,
            "authorization" if value.starts_with("Bearer") => &format!("Basic {}", basic()),
            _ => value,
        };
        forwarded.push_str(&format!("{name}: {value}\r\n"));
    }
    forwarded.push_str("connection: close\r\n\r\n");
    server.write_all(forwarded.as_bytes())?;
    std::io::copy(&mut (&client).take(bytes), &mut server)?;
    if cut {
        server.shutdown(Shutdown::Write)?;
        // The registry has noticed once it closes the connection, too.
        std::io::copy(&mut server, &mut std::io::sink())?;
        return client.shutdown(Shutdown::Both);
    }
    std::io::copy(&mut server, &mut client)?;
    Ok(())
}
