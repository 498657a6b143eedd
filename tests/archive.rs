//! The archive: what went in comes out with plain tar, every attribute too, and the bytes are what the design says.
