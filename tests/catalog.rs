//! The catalog protocol from outside: many programs at once, locks, damaged and foreign catalogs.
