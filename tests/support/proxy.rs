//! A bad line on loopback: it drops connections, cuts what passes, stalls, answers in the place of the server, and
//! counts what the server answers.
//!
//! Knows no protocol but the head of an HTTP answer. The tests of bk-remote have it too.

use std::io::{self, Read, Write, copy, sink};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// Longer than anybody waits who has set a limit for that.
const STALLED_FOR: Duration = Duration::from_secs(20);

/// What happens to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What is sent ends after so many bytes.
    CutRequest(u64),
    /// What is answered does; nothing of it comes for 0.
    CutAnswer(u64),
    /// Nothing passes.
    Stall,
    /// The answer is this status, and the server is not asked.
    Status(u16),
}

/// Those of the next connections.
struct Faults {
    next: Box<dyn Iterator<Item = Fault> + Send>,
    met_count: usize,
}

impl Faults {
    fn take(&mut self) -> Option<Fault> {
        let fault = self.next.next();
        self.met_count += usize::from(fault.is_some());
        fault
    }
}

/// A line to a server.
#[derive(Clone)]
pub struct Proxy {
    endpoint: String,
    faults: Arc<Mutex<Faults>>,
    told_bytes: Arc<AtomicU64>,
}

/// Counts what is written.
struct Counted<'a>(TcpStream, &'a AtomicU64);

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Before it passes, so that who has it finds it counted.
        self.1.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Proxy {
    /// A line that is good.
    pub fn to(server: &str) -> Self {
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let faults = Faults {
            next: Box::new([].into_iter()),
            met_count: 0,
        };
        let proxy = Self {
            endpoint,
            faults: Arc::new(Mutex::new(faults)),
            told_bytes: Arc::default(),
        };
        let line = proxy.clone();
        spawn(move || {
            for client in listener.incoming() {
                let (server, line) = (server.clone(), line.clone());
                spawn(move || line.serve(client.unwrap(), &server));
            }
        });
        proxy
    }

    /// How much the server has answered.
    pub fn told_bytes(&self) -> u64 {
        self.told_bytes.load(Ordering::SeqCst)
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next connections have these, and nothing of what was to come before.
    pub fn strike<F>(&self, faults: F)
    where
        F: IntoIterator<Item = Fault>,
        F::IntoIter: Send + 'static,
    {
        self.faults.lock().unwrap().next = Box::new(faults.into_iter());
    }

    /// How many connections had one.
    pub fn met_count(&self) -> usize {
        self.faults.lock().unwrap().met_count
    }

    fn serve(&self, mut client: TcpStream, server: &str) {
        // A connection that is kept open counts once it is used.
        let mut first = [0; 1];
        if client.peek(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let fault = self.faults.lock().unwrap().take();
        let (most_sent, most_told) = match fault {
            Some(Fault::CutRequest(bytes)) => (bytes, u64::MAX),
            Some(Fault::CutAnswer(bytes)) => (u64::MAX, bytes),
            Some(Fault::Stall) => return sleep(STALLED_FOR),
            Some(Fault::Status(status)) => return answer(&mut client, status),
            None => (u64::MAX, u64::MAX),
        };
        // One that is down lets the connection end.
        let Ok(upstream) = TcpStream::connect(server) else {
            return;
        };
        let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        let sending = spawn(move || pass(from, to, most_sent, &AtomicU64::new(0)));
        pass(upstream, client, most_told, &self.told_bytes);
        sending.join().unwrap();
    }
}

fn answer(client: &mut TcpStream, status: u16) {
    let mut request = [0; 65536];
    let _ = client.read(&mut request);
    let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = client.write_all(answer.as_bytes());
    // What is still sent is read, so that the answer is not lost with it.
    let _ = client.shutdown(Shutdown::Write);
    let _ = copy(client, &mut sink());
}

fn pass(from: TcpStream, to: TcpStream, most: u64, count: &AtomicU64) {
    let mut to = Counted(to, count);
    let _ = match most {
        // The answer is waited for, and then lost.
        0 => (&from).take(1).read(&mut [0; 1]).map(|_| 0),
        _ => copy(&mut (&from).take(most), &mut to),
    };
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.0.shutdown(Shutdown::Both);
}
