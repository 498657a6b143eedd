//! Sources that change while they are read, and names of every kind.
