//! Archives standard input as one file, whose size is only known at its end.
//!
//! The header precedes the content but has its size. So it gets a member of its own with a fixed
//! length, which is rewritten in place when everything is read. Nothing is buffered elsewhere. Knows
//! no process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use bk_schema::manifest::Segment;

use crate::accounts::Names;
use crate::format::codec::{Codec, Tail};
use crate::format::entry::{Entry, FileTime, Kind};
use crate::format::header::{BLOCK_BYTES, pad, push_fixed_length, push_global};
use crate::hashed::whole;
use crate::write::members::{Out, Part, Written};
use crate::write::observer::{Observer, check_stop};
use crate::write::piece::PIECE_BYTES;
use crate::write::problem::{Problem, ProblemKind};
use crate::write::writer::{Options, Summary, run};

/// What to archive.
#[derive(Debug)]
pub struct Stream<'a> {
    /// Normalized name in the archive.
    pub name: &'a [u8],
    /// Modification time.
    pub mtime: FileTime,
    /// User and group.
    pub owner: (u32, u32),
}

/// Writes an archive of `input` to `sink`, which appends to `archive`. `manifest` gets what is in it.
///
/// # Errors
/// Failed reads and writes, an level out of range, and being interrupted.
pub fn write(
    stream: &Stream<'_>,
    input: &mut (dyn Read + Send),
    options: Options<'_>,
    sink: &mut dyn Write,
    archive: &File,
    manifest: &mut dyn FnMut(Segment),
    observer: &dyn Observer,
) -> Result<Summary> {
    let mut entry = entry(stream);
    let global = global(options)?;
    let place = global.len() as u64;
    let codec = options.compression.codec;
    let reserved = header(codec, &entry)?;
    let length = reserved.len();
    let read_all = |out: Out| {
        out.member(Written::new(global, None, Part::Begin))?;
        out.member(Written::new(reserved, None, Part::Piece))?;
        let bytes = read(input, &out, observer)?;
        if bytes == 0 {
            let name = OsStr::from_bytes(stream.name);
            let nothing = "the input was empty: it is an empty file in the archive";
            observer.problem(Problem::new(name.as_ref(), ProblemKind::Empty, nothing));
        }
        out.content(vec![0; 2 * BLOCK_BYTES], Part::End)?;
        Ok(bytes)
    };
    let (mut archive_bytes, mut members) = (0, Vec::new());
    let mut tail = Tail::new(codec);
    let content_bytes = run(options, read_all, &mut |written| {
        archive_bytes += written.bytes.len() as u64;
        tail.add(&written.bytes);
        if matches!(written.part, Part::Piece) {
            members.push(written.member);
        }
        sink.write_all(&written.bytes)
    })?;
    let tail = tail.finish()?;
    sink.write_all(&tail)?;
    archive_bytes += tail.len() as u64;
    entry.size = content_bytes;
    let header = Written::new(header(codec, &entry)?, None, Part::Piece)?;
    ensure!(
        header.bytes.len() == length,
        "the header does not fit its place"
    );
    archive.write_all_at(&header.bytes, place)?;
    members[0] = header.member;
    manifest(Segment {
        offset: place,
        members,
        entries: vec![entry.to_manifest(None, None)],
        ends_itself: true,
    });
    // The hash is that of the file in its order, which begins with what was written last. Just
    // written, it is read from memory as far as that goes.
    let hashed = whole(archive, &mut |_| !observer.is_stopped())?;
    let hashed = hashed.context("interrupted")?;
    ensure!(
        hashed.bytes == archive_bytes,
        "it was changed while it was written"
    );
    Ok(Summary {
        archive_bytes,
        hash: hashed.hash,
        file_count: 1,
        content_bytes,
        new_bytes: archive_bytes,
    })
}

fn entry(stream: &Stream<'_>) -> Entry {
    let (uid, gid) = stream.owner;
    let (uname, gname) = Names::of_this_machine().of(stream.owner);
    Entry {
        path: stream.name.to_owned(),
        kind: Kind::File { extents: None },
        size: 0,
        mode: 0o600,
        uid,
        gid,
        uname,
        gname,
        mtime: stream.mtime,
        xattrs: Vec::new(),
        acl_texts: Vec::new(),
    }
}

fn global(options: Options<'_>) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    push_global(&mut content, options.comment);
    options.compression.compressor()?.member(&content)
}

/// Stored without compression, so that its length does not depend on its content.
fn header(codec: Codec, entry: &Entry) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    push_fixed_length(&mut content, entry);
    codec.stored(&content)
}

/// Passes on the content in pieces, the last one padded; returns its length.
fn read(input: &mut (dyn Read + Send), out: &Out, observer: &dyn Observer) -> Result<u64> {
    let mut content_bytes = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES as usize);
        let read = input.take(PIECE_BYTES).read_to_end(&mut piece);
        check_stop(observer)?;
        read.map_err(|error: io::Error| {
            anyhow::anyhow!("cannot read what is to be backed up: {error}")
        })?;
        let bytes = piece.len() as u64;
        content_bytes += bytes;
        if bytes > 0 {
            pad(&mut piece);
            out.content(piece, Part::Piece)?;
            observer.read_bytes(bytes);
        }
        if bytes < PIECE_BYTES {
            observer.read_file();
            return Ok(content_bytes);
        }
    }
}
