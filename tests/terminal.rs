//! On a real terminal: tables, colour, progress, and stdin that nobody pipes into.
