//! Tar archives made byte by byte, also such as no honest program makes.
//!
//! Checksums are right unless they are not to be; everything else is as it is told.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use super::Sandbox;

/// A tar stream that grows.
#[derive(Default, Clone)]
pub struct Tarball(Vec<u8>);

/// One header, to be changed before it is added.
pub struct Header(pub [u8; 512]);

impl Header {
    /// A ustar header with mode 0644 (directories 0755) and no owner but root.
    pub fn new(flag: u8, name: &[u8], size: u64) -> Self {
        let mut header = Self([0; 512]);
        let fits = name.len().min(100);
        header.0[..fits].copy_from_slice(&name[..fits]);
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        header.octal(100, 8, mode);
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(124, 12, size);
        header.octal(136, 12, 1_000_000_000);
        header.0[156] = flag;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header
    }

    pub fn octal(&mut self, at: usize, width: usize, number: u64) -> &mut Self {
        let text = format!("{number:0width$o}\0", width = width - 1);
        self.0[at..at + width].copy_from_slice(text.as_bytes());
        self
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn summed(&self) -> [u8; 512] {
        let mut bytes = self.0;
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    }
}

impl Tarball {
    pub fn new() -> Self {
        Self::default()
    }

    /// Any header with what follows it.
    pub fn add(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(&header.summed());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        let header = Header::new(b'0', name.as_bytes(), content.len() as u64);
        self.add(&header, content.as_bytes())
    }

    pub fn dir(self, name: &str) -> Self {
        self.add(&Header::new(b'5', name.as_bytes(), 0), b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    pub fn hardlink(self, name: &str, first: &str) -> Self {
        self.link(b'1', name, first)
    }

    /// A link of a type, with a long target as GNU tar writes it.
    fn link(self, flag: u8, name: &str, target: &str) -> Self {
        let mut header = Header::new(flag, name.as_bytes(), 0);
        if target.len() > 100 {
            let long = self.gnu(b'K', target.as_bytes());
            return long.add(&header, b"");
        }
        header.put(157, target.as_bytes());
        self.add(&header, b"")
    }

    /// A device node.
    pub fn node(self, flag: u8, name: &str, major: u64, minor: u64) -> Self {
        let mut header = Header::new(flag, name.as_bytes(), 0);
        header.octal(329, 8, major).octal(337, 8, minor);
        self.add(&header, b"")
    }

    /// A long name (`L`) or target (`K`) of GNU tar, for the entry that follows.
    pub fn gnu(self, flag: u8, text: &[u8]) -> Self {
        let text = [text, b"\0"].concat();
        self.add(
            &Header::new(flag, b"././@LongLink", text.len() as u64),
            &text,
        )
    }

    /// An extended header with these records, for the entry that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (keyword, value) in records {
            body.extend_from_slice(&record(keyword, value));
        }
        self.raw_pax(&body)
    }

    /// A global header with these records, for all that follows.
    pub fn global(self, records: &[(&str, &[u8])]) -> Self {
        let body = records
            .iter()
            .map(|(keyword, value)| record(keyword, value));
        let body = body.collect::<Vec<_>>().concat();
        self.add(&Header::new(b'g', b"global", body.len() as u64), &body)
    }

    /// The entries of another stream.
    pub fn append(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// An extended header of these bytes.
    pub fn raw_pax(self, body: &[u8]) -> Self {
        self.add(&Header::new(b'x', b"pax", body.len() as u64), body)
    }

    /// The stream with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn record(keyword: &str, value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [format!("{length} {keyword}=").as_bytes(), value, b"\n"].concat()
}

impl Sandbox {
    /// Puts an archive of this tar stream in the place of the backup `a`, and its hash into the
    /// catalog, as if it had been adopted.
    pub fn put_archive(&self, tar: &[u8]) {
        let archive = self.archive("a");
        let _ = fs::remove_file(&archive);
        let out = fs::File::create(&archive).unwrap();
        let mut gzip = self.command("gzip");
        let mut gzip = gzip
            .arg("-1")
            .stdin(Stdio::piped())
            .stdout(out)
            .spawn()
            .unwrap();
        gzip.stdin.take().unwrap().write_all(tar).unwrap();
        assert!(gzip.wait().unwrap().success());
        self.accept_archive();
    }

    /// Writes the hash of the archive that is there into the record, and nothing else of it.
    pub fn accept_archive(&self) {
        let archive = self.archive("a");
        let line = format!("sha256sum {} | cut -d' ' -f1", archive.display());
        let sum = self.ok(&line).stdout;
        let catalog = duckdb::Connection::open(self.home().join("catalog.duckdb")).unwrap();
        let sql = format!(
            "UPDATE backup_records SET backup_hash = '{}', backup_metadata = '{{}}'",
            sum.trim()
        );
        catalog.execute_batch(&sql).unwrap();
    }
}
