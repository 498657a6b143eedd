//! Cuts text to columns of the screen, by the width that a terminal gives each character.
//!
//! Knows no screen.

use unicode_width::UnicodeWidthChar;

/// Marks a cut.
const CUT: char = '…';

/// The text, cut to the width with a mark if it is longer.
pub fn fit(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut cut = part(text, 0, width.saturating_sub(1));
    if width > 0 {
        cut.push(CUT);
    }
    cut
}

/// The text, cut in its middle to the width if it is longer: paths begin and end with what tells them
/// apart.
pub fn fit_middle(text: &str, width: usize) -> String {
    if width_of(text) <= width || width < 5 {
        return fit(text, width);
    }
    let end = tail(text, (width - 1) / 2);
    let begin = part(text, 0, width - 1 - width_of(&end));
    format!("{begin}{CUT}{end}")
}

/// `width` columns of the text from column `from` on.
pub fn part(text: &str, from: usize, width: usize) -> String {
    let mut at = 0;
    let mut part = String::new();
    for c in text.chars() {
        let end = at + columns(c);
        if end > from + width {
            break;
        }
        if at >= from {
            part.push(c);
        }
        at = end;
    }
    part
}

/// The end of the text that fits.
pub fn tail(text: &str, width: usize) -> String {
    let mut left = width_of(text);
    let begin = text.chars().take_while(|c| {
        let is_over = left > width;
        left -= columns(*c);
        is_over
    });
    text.chars().skip(begin.count()).collect()
}

/// The text split into lines that fit, at least one.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        if used + columns(c) > width && used > 0 {
            pieces.push(String::new());
            used = 0;
        }
        used += columns(c);
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    pieces
}

/// The number of columns that it takes.
pub fn width_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!((fit("abc", 1), fit("abc", 0)), ("…".into(), String::new()));
        assert_eq!(fit_middle("/srv/app", 8), "/srv/app");
        assert_eq!(fit_middle("/srv/shop/app", 9), "/srv…/app");
        assert_eq!(fit_middle("日本語日本語", 8), "日本…語");
        assert_eq!(part("a日b", 1, 3), "日b");
        assert_eq!(tail("a日b", 2), "b");
        assert_eq!(wrap("a日b", 2), ["a", "日", "b"]);
        assert_eq!(wrap("", 2), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_place(text in ".{0,30}", from in 0usize..20, width in 0usize..20) {
            prop_assert!(width_of(&fit(&text, width)) <= width);
            prop_assert!(width_of(&fit_middle(&text, width)) <= width);
            prop_assert!(width_of(&part(&text, from, width)) <= width);
            prop_assert!(width_of(&tail(&text, width)) <= width);
            prop_assert!(wrap(&text, width).iter().all(|piece| width_of(piece) <= width.max(2)));
            prop_assert_eq!(wrap(&text, width).concat(), text);
        }
    }
}
