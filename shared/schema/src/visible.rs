//! Escapes control characters, which a terminal would obey, and those that change the direction of
//! text.
//!
//! Knows neither tables nor lines.

/// Whether it is a control character, a line break or a mark that changes the direction of text
/// (Unicode, bidirectional formatting characters).
pub(crate) fn is_hidden(c: char) -> bool {
    let is_break = matches!(c, '\u{2028}' | '\u{2029}');
    let is_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_break || is_direction
}

/// The text with such characters written as escapes.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plays_tricks_is_an_escape() {
        for (text, shown) in [
            ("日本 é 👩\u{200d}🔧", "日本 é 👩\u{200d}🔧"),
            ("a\x1b[2J\r\n", "a\\u{1b}[2J\\r\\n"),
            ("\u{9b}2J\x7f", "\\u{9b}2J\\u{7f}"),
            ("a\u{202e}gz.rat", "a\\u{202e}gz.rat"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
