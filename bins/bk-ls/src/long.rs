//! Records in full, for people: every field on a line of its own.

use anyhow::Result;
use bk_cli::detail::{NAME_WIDTH, fields};
use bk_cli::listing::Listed;
use bk_cli::output::Output;
use bk_cli::table::Tone;
use bk_schema::visible::visible;

/// Prints records, with an empty line between two.
pub(crate) fn print(output: &mut Output, all: &[Listed]) -> Result<()> {
    for (at, listed) in all.iter().enumerate() {
        if at > 0 {
            output.text("\n")?;
        }
        for (key, value) in fields(listed) {
            let head = output.painted(&format!("{key:<NAME_WIDTH$}"), Tone::Head);
            output.text(&format!("{head}  {}\n", visible(&value)))?;
        }
        if output.is_closed() {
            break;
        }
    }
    output.flush()
}
