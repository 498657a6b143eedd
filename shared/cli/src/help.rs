//! The text of `--help`, from the table of flags.
//!
//! Prints nothing.

use crate::flags::{Flag, Program};

/// A flag that is wider than this has its description on the next line.
const HELP_WIDTH: usize = 30;

impl Program {
    /// The text of `--help`.
    pub fn help(&self) -> String {
        let left = |flag: &Flag| {
            let short = flag
                .short
                .map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let value = flag
                .value
                .map_or(String::new(), |value| format!(" {value}"));
            format!("  {short}--{}{value}", flag.long)
        };
        let widths = self.all_flags().map(|flag| left(flag).len());
        let width = widths.filter(|width| *width <= HELP_WIDTH).max();
        let width = width.unwrap_or(0);
        let mut text = format!(
            "{} - {}\n\nusage: {} {}\n\n",
            self.name, self.summary, self.name, self.usage
        );
        for flag in self.all_flags() {
            let left = left(flag);
            let gap = if left.len() > width { "\n" } else { "  " };
            let indent = if left.len() > width { width + 2 } else { 0 };
            text.push_str(&format!("{left:width$}{gap}{:indent$}{}\n", "", flag.help));
        }
        text.push_str(&format!("\nSee {}(1) for details.\n", self.name));
        text
    }
}
