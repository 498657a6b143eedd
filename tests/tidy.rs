//! The rules of the source tree, read from the source tree.
