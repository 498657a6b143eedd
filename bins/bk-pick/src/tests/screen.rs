//! Screens as they are drawn, character by character.

use bk_schema::verified::LastVerified;
use crossterm::event::{KeyCode, KeyEvent};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use crate::cells::tests::{item, now};
use crate::events::Inside;
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
            "3 of 3, 1 marked | Enter: choose 1, Space: mark, Tab: record, Esc: leave",
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
        lines[23].starts_with("1 of 3, 1 marked (1 hidden) | Enter: choose 1"),
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
        "Enter: choose, Space: mark, f: what is inside, Tab: back"
    );
}

#[test]
fn what_is_inside_is_scrolled_both_ways() {
    let mut state = sample();
    state.resize(60, 5);
    press(&mut state, &[KeyCode::Tab, KeyCode::Right]);
    let lines = (0..9).map(|n| format!("{n} 23456789abcdef-"));
    state.add_inside(Inside::Lines(lines.collect()));
    press(&mut state, &[KeyCode::Down, KeyCode::Right]);
    assert_eq!(
        drawn(&mut state, 60, 5),
        [
            "Inside nightly-3",
            "-",
            "-",
            "-",
            "9 so far ... | Left, Right: scroll sideways, Tab: back"
        ]
    );
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
        width in 1u16..160, height in 1u16..40, tabs in 0usize..3, has_header: bool,
        name in "[a-z日é]{1,40}", description in "[^\"]{0,40}"
    ) {
        let mut state = State::new(vec![item(1, 1, |it| {
            it.backup_name = name;
            it.description = Some(description);
        })], now());
        state.header = has_header.then(|| "head\u{7}".into());
        press(&mut state, &[KeyCode::Tab, KeyCode::Char('f')][..tabs]);
        for line in drawn(&mut state, width, height) {
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
