//! Any sequence of keys: nothing that is not shown is chosen, and nothing panics.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use crate::cells::tests::{item, now};
use crate::chosen::Chosen;
use crate::events::{Inside, Turn};
use crate::files::{Entry, Files, Kind, Name, Progress};
use crate::keys::Place;
use crate::state::{State, Step, View};

fn list(count: i64) -> State {
    let items = (0..count).map(|at| item(count - at, at, |_| ()));
    let mut state = State::new(items.collect(), now());
    state.resize(80, 24);
    state
}

fn press(state: &mut State, codes: &[KeyCode]) -> Step {
    let mut step = Step::Stay;
    for code in codes {
        step = state.press(KeyEvent::from(*code));
    }
    step
}

fn entry(path: &str, kind: Kind) -> Entry {
    let name = Name {
        path: path.into(),
        base64: None,
    };
    Entry {
        name,
        kind,
        size: 5,
        mtime: None,
        link: None,
    }
}

/// Entries with these names.
fn entries(paths: &[&str]) -> Inside {
    Inside::Entries(paths.iter().map(|path| entry(path, Kind::File)).collect())
}

/// What is printed: ids, and paths in them.
fn chosen(state: State) -> Vec<(i64, Option<String>)> {
    let line = |one| match one {
        Chosen::Backup(listed) => (listed.backup.id, None),
        Chosen::File(file) => {
            let id = file.line["id"].as_i64().unwrap();
            (id, Some(file.line["path"].as_str().unwrap().to_owned()))
        }
    };
    state.into_chosen().into_iter().map(line).collect()
}

fn ids(state: State) -> Vec<i64> {
    let chosen = chosen(state).into_iter();
    chosen
        .map(|(id, path)| {
            assert_eq!(path, None);
            id
        })
        .collect()
}

fn files(state: &State) -> &Files {
    let View::Inside(files) = &state.view else {
        panic!("{:?}", state.view);
    };
    files
}

fn type_text(state: &mut State, text: &str) {
    for c in text.chars() {
        press(state, &[KeyCode::Char(c)]);
    }
}

const DOWN: KeyCode = KeyCode::Down;
const SPACE: KeyCode = KeyCode::Char(' ');

#[test]
fn enter_chooses_what_is_under_the_cursor_or_what_is_marked() {
    let mut state = list(9);
    assert_eq!(press(&mut state, &[DOWN, KeyCode::Enter]), Step::Choose);
    assert_eq!(ids(state), [8]);
    let mut state = list(9);
    press(&mut state, &[DOWN, DOWN, SPACE, KeyCode::Home, SPACE, DOWN]);
    assert_eq!(state.chosen_count(), 2);
    assert_eq!(ids(state), [9, 7]);
}

#[test]
fn a_mark_stays_while_the_list_is_narrowed() {
    let mut state = list(20);
    press(&mut state, &[SPACE, KeyCode::Char('7'), SPACE]);
    assert!(!state.list.shows(0) && state.list.shown().len() > 1);
    assert_eq!(ids(state), [20, 17]);
}

#[test]
fn with_one_nothing_is_marked() {
    let mut state = list(9);
    state.only_one = true;
    assert_eq!(
        press(&mut state, &[SPACE, SPACE, KeyCode::Enter]),
        Step::Choose
    );
    assert_eq!(ids(state), [9]);
}

#[test]
fn where_nothing_is_found_enter_does_nothing() {
    let mut state = list(9);
    let nothing = [KeyCode::Char('~'), KeyCode::Enter];
    assert_eq!(press(&mut state, &nothing), Step::Stay);
    press(&mut state, &[KeyCode::Tab, SPACE]);
    assert_eq!(state.place(), Place::List);
    assert_eq!(
        press(&mut state, &[KeyCode::Backspace, KeyCode::Enter]),
        Step::Choose
    );
}

#[test]
fn tab_shows_the_record_then_what_is_inside_then_the_list() {
    let mut state = list(9);
    press(&mut state, &[DOWN, KeyCode::Tab]);
    let View::Record(page) = &state.view else {
        panic!("{:?}", state.view);
    };
    assert_eq!(page.lines[0], "id                8");
    assert_eq!(press(&mut state, &[KeyCode::Tab]), Step::ListInside(8));
    state.add_inside(entries(&["a\u{1b}b"; 99]));
    state.add_inside(Inside::End(Vec::new()));
    press(&mut state, &[KeyCode::End, KeyCode::Right]);
    let inside = files(&state);
    assert_eq!(inside.progress, Progress::Done);
    assert_eq!((inside.list.top, inside.left), (80, 16));
    assert_eq!(inside.entries[0].shown(), "a\\u{1b}b");
    assert_eq!(press(&mut state, &[KeyCode::Tab]), Step::StopInside);
    assert_eq!(state.place(), Place::List);
    press(&mut state, &[KeyCode::Tab, KeyCode::Right]);
    assert_eq!(press(&mut state, &[KeyCode::Esc]), Step::StopInside);
    assert_eq!(state.place(), Place::Record);
    assert_eq!(press(&mut state, &[KeyCode::Esc]), Step::Stay);
    assert_eq!(press(&mut state, &[KeyCode::Esc]), Step::Leave);
}

/// Shows what is inside the backup under the cursor.
fn look_inside(state: &mut State) {
    press(state, &[KeyCode::Tab, KeyCode::Tab]);
    state.add_inside(entries(&["app", "app/a.conf", "app/ab", "etc/a.conf"]));
}

#[test]
fn files_are_searched_and_marked_and_their_marks_stay() {
    let mut state = list(9);
    look_inside(&mut state);
    type_text(&mut state, "conf");
    press(&mut state, &[SPACE]);
    state.add_inside(entries(&["etc/b.conf", "etc/passwd"]));
    assert_eq!(files(&state).list.shown(), [1, 3, 4]);
    press(&mut state, &[KeyCode::End, SPACE, KeyCode::Tab, DOWN]);
    look_inside(&mut state);
    press(&mut state, &[DOWN, SPACE]);
    assert_eq!(press(&mut state, &[KeyCode::Enter]), Step::Choose);
    let path = |path: &str| Some(path.to_owned());
    let expected = [
        (9, path("app/a.conf")),
        (9, path("etc/b.conf")),
        (8, path("app/a.conf")),
    ];
    assert_eq!(chosen(state), expected);
}

#[test]
fn enter_chooses_the_file_under_the_cursor_where_nothing_is_marked() {
    for only_one in [false, true] {
        let mut state = list(9);
        state.only_one = only_one;
        look_inside(&mut state);
        assert_eq!(press(&mut state, &[DOWN, KeyCode::Enter]), Step::Choose);
        assert_eq!(chosen(state), [(9, Some("app/a.conf".into()))]);
    }
    let mut state = list(9);
    press(&mut state, &[KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(press(&mut state, &[KeyCode::Enter]), Step::Stay);
}

#[test]
fn of_a_backup_all_is_marked_or_some_files() {
    let mut state = list(2);
    press(&mut state, &[SPACE, KeyCode::Home]);
    look_inside(&mut state);
    press(&mut state, &[SPACE, SPACE, KeyCode::Tab]);
    assert_eq!(state.chosen_count(), 2);
    // The backup under the cursor has marked files: they lose their marks, then all is marked.
    press(&mut state, &[SPACE, KeyCode::Home, SPACE]);
    assert_eq!(ids(state), [2]);
}

#[test]
fn a_question_mark_shows_the_keys_and_any_other_key_goes_back() {
    for tabs in 0..3 {
        let mut state = list(9);
        press(&mut state, &[KeyCode::Tab; 3][..tabs]);
        let before = state.place();
        press(&mut state, &[KeyCode::Char('?'), DOWN]);
        assert_eq!(state.place(), Place::Keys);
        assert_eq!(press(&mut state, &[KeyCode::Enter]), Step::Stay);
        assert_eq!((state.place(), state.list.cursor), (before, 0));
    }
    // As text it is pasted.
    let mut state = list(9);
    state.paste("what?");
    assert_eq!(state.list.typed, "what?");
}

#[test]
fn the_mouse_scrolls_and_points() {
    let mut state = list(99);
    state.turn_wheel(Turn::Down);
    assert_eq!((state.list.top, state.list.cursor), (3, 3));
    state.click(7);
    assert_eq!(state.list.cursor, 8);
    for nowhere in [0, 1, 22, 23, 99] {
        state.click(nowhere);
        assert_eq!(state.list.cursor, 8);
    }
    press(&mut state, &[KeyCode::Tab]);
    state.resize(80, 10);
    state.turn_wheel(Turn::Down);
    let View::Record(page) = &state.view else {
        panic!("{:?}", state.view);
    };
    assert_eq!(page.top, 3);
    press(&mut state, &[KeyCode::Tab]);
    state.add_inside(entries(&["a"; 99]));
    state.turn_wheel(Turn::Down);
    state.click(4);
    assert_eq!(files(&state).list.cursor, 4);
}

#[test]
fn what_is_pasted_ends_nothing() {
    let mut state = list(9);
    state.paste("nightly-\n3\r\u{1b}");
    let shown = state.list.shown().len();
    assert_eq!((state.list.typed.as_str(), shown), ("nightly-3", 1));
}

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        6 => prop::sample::select(vec![
            KeyCode::Up, DOWN, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End,
            KeyCode::Left, KeyCode::Right, KeyCode::Tab, KeyCode::Esc, KeyCode::Backspace, SPACE,
        ]),
        3 => prop::sample::select(vec!['1', '2', 'n', '-', ',', '?', '~']).prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
    ];
    let modifiers = prop_oneof![
        8 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL), 1 => Just(KeyModifiers::ALT),
    ];
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

#[derive(Debug, Clone)]
enum Act {
    Key(KeyEvent),
    Resize(usize, usize),
    Entries(usize),
    Wheel(Turn),
    Click(usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => any_key().prop_map(Act::Key),
        1 => (0usize..200, 0usize..60).prop_map(|(width, height)| Act::Resize(width, height)),
        1 => (0usize..50).prop_map(Act::Entries),
        1 => prop::sample::select(vec![Turn::Up, Turn::Down]).prop_map(Act::Wheel),
        1 => (0usize..60).prop_map(Act::Click),
    ]
}

proptest! {
    #[test]
    fn nothing_is_marked_or_chosen_that_is_not_on_the_screen(
        count in 0i64..40, only_one: bool, has_header: bool,
        acts in prop::collection::vec(any_act(), 0..60)
    ) {
        let mut state = list(count);
        state.only_one = only_one;
        state.header = has_header.then(|| "head".into());
        for act in acts {
            let (before, rows) = (state.marks.clone(), state.rows().max(1));
            let on_screen: Vec<_> = state.list.on_screen(rows).map(|(_, at)| at).collect();
            let place = state.place();
            match act {
                Act::Key(key) => { state.press(key); }
                Act::Resize(width, height) => state.resize(width, height),
                Act::Entries(count) => state.add_inside(entries(&vec!["n12"; count])),
                Act::Wheel(turn) => state.turn_wheel(turn),
                Act::Click(row) => state.click(row),
            }
            let rows = state.rows().max(1);
            let list = match &state.view {
                View::Inside(files) => &files.list,
                _ => &state.list,
            };
            prop_assert!(list.cursor < list.shown().len().max(1));
            if matches!(state.place(), Place::List | Place::Inside) {
                prop_assert!(list.top <= list.cursor && list.cursor < list.top + rows);
            }
            let (before, after) = (before.backups(), state.marks.backups());
            for at in before.symmetric_difference(&after) {
                prop_assert!(place != Place::List || on_screen.contains(at), "{at} was not on the screen");
                prop_assert!(place != Place::Keys);
            }
            prop_assert!(!only_one || after.is_empty());
        }
        let (count, marked) = (state.chosen_count(), state.marks.backups());
        let under_cursor = state.current().map(|item| item.listed.backup.id);
        let chosen = chosen(state);
        prop_assert_eq!(chosen.len(), count);
        prop_assert!(chosen.is_sorted_by_key(|(id, _)| std::cmp::Reverse(*id)));
        if marked.is_empty() {
            prop_assert!(chosen.iter().all(|(id, _)| Some(*id) == under_cursor));
        }
    }
}
