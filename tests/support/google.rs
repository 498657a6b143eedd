//! A SeaweedFS behind a front that takes Google's words: the XML API of Google Cloud Storage is that of S3 but for
//! some headers (<https://cloud.google.com/storage/docs/interoperability>). There is no server of Google's to be had.
//!
//! Knows no program of ours. Who asks is not looked at: a token is Google's own to give.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{scope, spawn};

use super::seaweed::Seaweed;

/// A server that is stopped when this is dropped.
pub struct Google {
    pub server: Seaweed,
    endpoint: String,
    /// How often an archive was put on the condition that none is there.
    creates: Arc<AtomicUsize>,
}

impl Google {
    /// `None` where it is not installed.
    pub fn start() -> Option<Self> {
        let server = Seaweed::start_open()?;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let upstream = server
            .endpoint()
            .strip_prefix("http://")
            .unwrap()
            .to_owned();
        let creates = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&creates);
        spawn(move || {
            for client in listener.incoming() {
                let (upstream, counted) = (upstream.clone(), Arc::clone(&counted));
                spawn(move || serve(&client.unwrap(), &upstream, &counted));
            }
        });
        Some(Self {
            server,
            endpoint,
            creates,
        })
    }

    pub fn creates(&self) -> usize {
        self.creates.load(Relaxed)
    }

    /// The JSON of a service account of it.
    pub fn credentials(&self) -> String {
        let account = serde_json::json!({
            "client_email": "", "private_key": "", "private_key_id": "",
            "disable_oauth": true, "gcs_base_url": self.endpoint,
        });
        account.to_string()
    }
}

/// One request, with its answer; the connection ends with that.
fn serve(client: &TcpStream, server: &str, creates: &AtomicUsize) {
    let Ok(upstream) = TcpStream::connect(server) else {
        return;
    };
    let (mut sent, mut told) = (BufReader::new(client), BufReader::new(&upstream));
    let asked = head(&mut sent);
    let Some(request) = asked.first() else { return };
    let is_archive = request.starts_with("PUT ") && request.contains("%2Etar%2Egz HTTP/");
    let create = "x-goog-if-generation-match: 0";
    if is_archive && asked.iter().any(|it| it.eq_ignore_ascii_case(create)) {
        creates.fetch_add(1, Relaxed);
    }
    let lines: Vec<_> = asked.into_iter().filter_map(as_s3).collect();
    scope(|scope| {
        // Who hangs up in the middle has no answer.
        scope.spawn(|| {
            let head = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
            (&upstream).write_all(head.as_bytes())?;
            copy(&mut sent, &mut &upstream)
        });
        let mut answer = head(&mut told);
        answer.push("x-goog-generation: 1\r\n\r\n".to_owned());
        let _ = (&*client).write_all(answer.join("\r\n").as_bytes());
        let _ = copy(&mut told, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = upstream.shutdown(Shutdown::Both);
    });
}

/// The lines before the first that is empty.
fn head(from: &mut impl BufRead) -> Vec<String> {
    let lines = from.lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// A line of the head of a request, as S3 has it, which takes no slash of a key that is encoded.
fn as_s3(line: String) -> Option<String> {
    let (name, _) = line.split_once(": ").unwrap_or_default();
    match &*name.to_lowercase() {
        "" => Some(line.replace("%2F", "/")),
        "authorization" | "connection" => None,
        "x-goog-if-generation-match" => Some("if-none-match: *".to_owned()),
        _ => Some(line),
    }
}
