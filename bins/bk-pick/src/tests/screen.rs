//! Screens as they are drawn, character by character.

use bk_schema::verified::LastVerified;
use crossterm::event::{KeyCode, KeyEvent};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use crate::cells::tests::{item, now};
use crate::events::Inside;
use crate::files::{Entry, Kind, Name};
use crate::screen::draw;
use crate::state::State;

fn sample() -> State {
    let verified = |hours| LastVerified {
        at: now() - jiff::SignedDuration::from_hours(hours),
        level: "sha256".into(),
        ok: hours < 50,
    };
    let items = vec![
        item(3, 3, |it| {
            it.description = Some("before\tthe upgrade".into());
            it.protected = true;
        }),
        item(2, 50, |it| {
            it.backup_name = "日本語-日本語-日本語".into();
            verified(4).put(it).unwrap();
        }),
        item(1, 24 * 400, |it| {
            it.source_version = Some("\u{1b}[31m2".into());
            verified(72).put(it).unwrap();
        }),
    ];
    State::new(items, now())
}

fn drawn(state: &mut State, width: u16, height: u16) -> Vec<String> {
    state.resize(width.into(), height.into());
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    let lines = terminal.backend().to_string();
    // After the quotes it tells what wide characters hide.
    let line = |line: &str| line.split('"').nth(1).map(|it| it.trim_end().to_owned());
    lines.lines().filter_map(line).collect()
}

fn press(state: &mut State, codes: &[KeyCode]) {
    for code in codes {
        state.press(KeyEvent::from(*code));
    }
}

fn type_text(state: &mut State, text: &str) {
    for c in text.chars() {
        press(state, &[KeyCode::Char(c)]);
    }
}

#[test]
fn the_list_fits_80_columns() {
    let mut state = sample();
    state.header = Some("Restore which?".into());
    press(&mut state, &[KeyCode::Char(' ')]);
    let lines = drawn(&mut state, 80, 10);
    assert_eq!(
        lines,
        [
            "Restore which?",
            "Find:",
            "  DATE       AGE TYPE          SIZE STATUS    PROT CHECKED NAME",
            " *2026-11-24  3h automatic 1.50 KiB available yes  -       nightly-3",
            "> 2026-11-22  2d automatic 1.50 KiB available -    ok 4h   日本語-日本語-日本語",
            "  2025-10-20 57w automatic 1.50 KiB available -    BAD 3d  nightly-1",
            "",
            "",
            "2026-11-22 10:00 日本語-日本語-日本語",
            "3 of 3, 1 marked | Enter: choose, Space: mark, Tab: look, Esc: leave, ?: keys",
        ]
    );
}

#[test]
fn the_typed_text_and_what_it_hides_are_told() {
    let mut state = sample();
    press(
        &mut state,
        &[KeyCode::Char(' '), KeyCode::Char('日'), KeyCode::Char('語')],
    );
    let lines = drawn(&mut state, 80, 24);
    assert_eq!(lines[0], "Find: 日語");
    assert!(lines[2].starts_with("> 2026-11-22"), "{lines:?}");
    assert_eq!(lines[3], "");
    assert!(
        lines[23].starts_with("1 of 3, 1 marked (1 hidden) | Enter: choose, Space"),
        "{lines:?}"
    );
}

#[test]
fn a_record_is_shown_in_full_with_long_values_on_more_lines() {
    let mut state = sample();
    state.resize(60, 30);
    press(&mut state, &[KeyCode::Tab]);
    let lines = drawn(&mut state, 60, 30);
    assert_eq!(lines[0], "Record of nightly-3");
    assert_eq!(lines[1], "id                3");
    let hash = "0".repeat(42);
    assert!(
        lines.contains(&format!("sha256            {hash}")),
        "{lines:?}"
    );
    assert!(
        lines.contains(&format!("                  {}", &hash[..22])),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"description       before\\tthe upgrade".to_owned()),
        "{lines:?}"
    );
    assert_eq!(
        lines[29],
        "Enter: choose, Space: mark, Tab: what is inside, ?: keys"
    );
}

fn entry(path: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        name: Name {
            path: path.into(),
            base64: None,
        },
        kind,
        size,
        mtime: Some(now()),
        link: (kind == Kind::Other).then(|| "to\u{7}".into()),
    }
}

/// What is inside the first backup.
fn inside(entries: Vec<Entry>) -> State {
    let mut state = sample();
    press(&mut state, &[KeyCode::Tab, KeyCode::Tab]);
    state.add_inside(Inside::Entries(entries));
    state.add_inside(Inside::End(Vec::new()));
    state
}

#[test]
fn what_is_inside_fits_any_width() {
    let name = "srv/日本語/a-file-with-a-rather-long-name-that-is-cut.conf";
    let mut state = inside(vec![
        entry("srv", Kind::Directory, 0),
        entry(name, Kind::File, 1536),
        entry("srv/l\u{1b}[2J", Kind::Other, 0),
    ]);
    press(&mut state, &[KeyCode::Char(' ')]);
    assert_eq!(
        drawn(&mut state, 60, 8),
        [
            "Inside nightly-3",
            "Find:",
            "      SIZE CHANGED          NAME",
            " *       - 2026-11-24 12:00 srv/",
            "> 1.50 KiB 2026-11-24 12:00 srv/日本語/a-fil…hat-is-cut.conf",
            "         - 2026-11-24 12:00 srv/l\\u{1b}[2J -> to\\u{7}",
            name,
            "3 of 3, 1 marked | Enter: choose, Space: mark, ?: keys",
        ]
    );
    press(&mut state, &[KeyCode::Right]);
    let lines = drawn(&mut state, 40, 8);
    assert_eq!(lines[4], "> 1.50 KiB 2026-11-24 e-with-a-rather-l…");
    assert_eq!(lines[6], "…ith-a-rather-long-name-that-is-cut.conf");
    assert_eq!(drawn(&mut state, 20, 8)[4], "> e-with-a-rather-l…");
    let wide = drawn(&mut state, 120, 8);
    assert!(
        wide[7].ends_with("Tab: list, Esc: back, ?: keys"),
        "{wide:?}"
    );
}

#[test]
fn a_list_without_anything_says_why_and_what_to_do() {
    let nothing = "  Nothing matches what is typed. Backspace erases its last";
    let mut state = sample();
    press(&mut state, &[KeyCode::Char('~')]);
    assert_eq!(
        drawn(&mut state, 60, 10)[2..4],
        [nothing, "  letter, Ctrl-U all of it."]
    );
    let mut state = inside(vec![entry("a", Kind::File, 1)]);
    press(&mut state, &[KeyCode::Char('~')]);
    assert_eq!(drawn(&mut state, 60, 10)[3], nothing);
    assert_eq!(
        drawn(&mut inside(Vec::new()), 60, 10)[3],
        "  There is nothing inside."
    );
    let mut state = sample();
    press(&mut state, &[KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(drawn(&mut state, 60, 10)[3], "  Reading what is inside ...");
    let problem = "bk-ls: cannot list the files of 'x':\u{1b}[2J its archive '/a' is missing";
    state.add_inside(Inside::End(vec![problem.into(), "and so on".into()]));
    let lines = drawn(&mut state, 60, 10);
    assert_eq!(
        lines[6..],
        [
            "bk-ls: cannot list the files of 'x':\\u{1b}[2J its archive '/",
            "a' is missing (and 1 more)",
            "",
            "0 of 0 | Tab: list, Esc: back, ?: keys",
        ]
    );
}

#[test]
fn the_keys_are_shown_at_any_width() {
    for (width, line) in [
        (
            60,
            "Tab                        show the record of a backup, then",
        ),
        (30, "Backspace, Ctrl-U"),
    ] {
        let mut state = sample();
        press(&mut state, &[KeyCode::Char('?')]);
        let lines = drawn(&mut state, width, 50);
        assert_eq!(
            (lines[0].as_str(), lines[49].as_str()),
            ("Keys", "Esc: back")
        );
        assert!(lines.iter().any(|it| it == line), "{lines:#?}");
    }
}

#[test]
fn what_is_typed_is_underlined_where_it_stands() {
    let mut state = sample();
    type_text(&mut state, "語,auto,-1");
    state.resize(80, 10);
    let mut terminal = Terminal::new(TestBackend::new(80, 10)).unwrap();
    terminal.draw(|frame| draw(frame, &state)).unwrap();
    // Of the only one: a type, a name whose letters are wide, and a date.
    let cells = terminal.backend().buffer().content();
    let underlined = cells
        .iter()
        .filter(|cell| cell.modifier.contains(Modifier::UNDERLINED));
    let text: String = underlined.map(|cell| cell.symbol()).collect();
    assert_eq!(text, "-1auto語");
}

#[test]
fn a_page_that_does_not_fit_says_how_much_is_shown() {
    let mut state = sample();
    press(&mut state, &[KeyCode::Tab]);
    let lines = drawn(&mut state, 60, 10);
    assert_eq!(
        lines[9],
        "1-8 of 16 lines | Enter: choose, Space: mark, ?: keys"
    );
    press(&mut state, &[KeyCode::End]);
    let lines = drawn(&mut state, 60, 10);
    assert!(lines[9].starts_with("9-16 of 16 lines | "), "{lines:?}");
}

#[test]
fn colour_is_used_only_where_it_is_wanted() {
    for is_colour in [true, false] {
        let mut state = sample();
        state.is_colour = is_colour;
        state.resize(80, 24);
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &state)).unwrap();
        let cells = terminal.backend().buffer().content();
        assert_eq!(cells.iter().any(|cell| cell.fg == Color::Red), is_colour);
        let is_reversed =
            |cell: &&ratatui::buffer::Cell| cell.modifier.contains(Modifier::REVERSED);
        assert_eq!(cells.iter().filter(is_reversed).count(), 80);
    }
}

proptest! {
    #[test]
    fn any_size_can_be_drawn(
        width in 1u16..160, height in 1u16..40, tabs in 0usize..3, has_header: bool, keys: bool,
        name in "[a-z日é]{1,40}", description in "[^\"]{0,40}", path in "[^\"]{1,80}"
    ) {
        let mut state = State::new(vec![item(1, 1, |it| {
            it.backup_name = name;
            it.description = Some(description);
        })], now());
        state.header = has_header.then(|| "head\u{7}".into());
        press(&mut state, &[KeyCode::Tab; 3][..tabs]);
        state.add_inside(Inside::Entries(vec![entry(&path, Kind::Other, 1)]));
        press(&mut state, &[KeyCode::Char('?')][..usize::from(keys)]);
        for line in drawn(&mut state, width, height) {
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
