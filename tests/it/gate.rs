//! A proxy between a client and the local cloud that makes a connection fail on purpose.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// The fault once this many bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing passes any more, but nothing is closed.
    Stall,
    /// The connection that reaches the limit breaks; all others pass.
    Cut,
    /// One byte is changed; everything passes.
    Flip,
}

/// The direction whose bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Requests,
    Responses,
}

/// Forwards connections to a server.
pub(crate) struct Gate {
    pub(crate) endpoint: String,
    reached: Receiver<()>,
}

impl Gate {
    /// Starts a gate in front of `upstream` that fails after `limit` bytes.
    pub(crate) fn new(upstream: &str, side: Direction, limit: u64, then: Fault) -> Self {
        let upstream: SocketAddr = upstream.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, reached) = channel();
        let passed = Arc::new(AtomicU64::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(upstream) else {
                    return;
                };
                let pairs = [
                    (&client, &server, Direction::Requests),
                    (&server, &client, Direction::Responses),
                ];
                for (from, to, way) in pairs {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let counted = (way == side).then(|| (passed.clone(), sender.clone()));
                    std::thread::spawn(move || forward(from, to, counted.as_ref(), limit, then));
                }
            }
        });
        Self { endpoint, reached }
    }

    /// Waits until the limit is reached.
    pub(crate) fn wait(&self) {
        self.reached
            .recv_timeout(std::time::Duration::from_mins(2))
            .unwrap();
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    counted: Option<&(Arc<AtomicU64>, Sender<()>)>,
    limit: u64,
    then: Fault,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        if let Some((passed, reached)) = counted {
            let before = passed.fetch_add(count as u64, Ordering::SeqCst);
            let crossed = before <= limit && limit < before + count as u64;
            if crossed {
                let _ = reached.send(());
            }
            match then {
                Fault::Stall if before + count as u64 > limit => loop {
                    std::thread::park();
                },
                Fault::Cut if crossed => {
                    let _ = from.shutdown(Shutdown::Both);
                    break;
                }
                Fault::Flip if crossed => buffer[usize::try_from(limit - before).unwrap()] ^= 1,
                _ => {}
            }
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
