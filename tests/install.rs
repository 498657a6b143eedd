//! `make install`: the installed set runs from where it was put, with no environment variable.
