//! Any sequence of keys: nothing that is not shown is chosen, and nothing panics.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use crate::cells::tests::{item, now};
use crate::events::Inside;
use crate::state::{Progress, State, Step, View};

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

fn ids(state: State) -> Vec<i64> {
    let chosen = state.into_chosen();
    chosen.iter().map(|it| it.backup.id).collect()
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
    assert!(!state.shown.contains(&0) && state.shown.len() > 1);
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
    assert_eq!(state.view, View::List);
    assert_eq!(
        press(&mut state, &[KeyCode::Backspace, KeyCode::Enter]),
        Step::Choose
    );
}

#[test]
fn a_record_is_shown_then_what_is_inside_and_back() {
    let mut state = list(9);
    press(&mut state, &[DOWN, KeyCode::Tab]);
    let View::Record(page) = &state.view else {
        panic!("{:?}", state.view);
    };
    assert_eq!(page.lines[0], "id                8");
    assert_eq!(
        press(&mut state, &[KeyCode::Char('f')]),
        Step::ListInside(8)
    );
    state.add_inside(Inside::Lines(vec!["a\u{1b}b".into(); 99]));
    state.add_inside(Inside::End);
    press(&mut state, &[KeyCode::End, KeyCode::Right]);
    let View::Inside(page, Progress::Done) = &state.view else {
        panic!("{:?}", state.view);
    };
    assert_eq!(
        (page.top, page.left, page.lines[0].as_str()),
        (77, 16, "a\\u{1b}b")
    );
    assert_eq!(press(&mut state, &[KeyCode::Esc]), Step::StopInside);
    assert_eq!(press(&mut state, &[KeyCode::Esc]), Step::Stay);
    assert_eq!(press(&mut state, &[KeyCode::Esc]), Step::Leave);
}

#[test]
fn what_is_pasted_ends_nothing() {
    let mut state = list(9);
    state.paste("nightly-\n3\r\u{1b}");
    assert_eq!((state.typed.as_str(), state.shown.len()), ("nightly-3", 1));
}

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        6 => prop::sample::select(vec![
            KeyCode::Up, DOWN, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End,
            KeyCode::Left, KeyCode::Right, KeyCode::Tab, KeyCode::Esc, KeyCode::Backspace, SPACE,
        ]),
        3 => prop::sample::select(vec!['1', '2', 'n', '-', ',', 'f', '~']).prop_map(KeyCode::Char),
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
    Lines(usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => any_key().prop_map(Act::Key),
        1 => (0usize..200, 0usize..60).prop_map(|(width, height)| Act::Resize(width, height)),
        1 => (0usize..50).prop_map(Act::Lines),
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
            let before = state.marked.clone();
            let visible_before: Vec<_> = state.shown.iter().copied().skip(state.top).take(state.rows().max(1)).collect();
            match act {
                Act::Key(key) => { state.press(key); }
                Act::Resize(width, height) => state.resize(width, height),
                Act::Lines(count) => state.add_inside(Inside::Lines(vec!["line".into(); count])),
            }
            prop_assert!(state.cursor < state.shown.len() || (state.shown.is_empty() && state.cursor == 0));
            if state.view == View::List {
                prop_assert!(state.top <= state.cursor && state.cursor < state.top + state.rows().max(1));
                for at in before.symmetric_difference(&state.marked) {
                    prop_assert!(visible_before.contains(at), "{at} was not on the screen");
                }
            }
            prop_assert!(!only_one || state.marked.is_empty());
        }
        let under_cursor = state.current().map(|item| item.listed.backup.id);
        let (is_marked, marked) = (!state.marked.is_empty(), state.marked.len());
        let chosen = ids(state);
        if is_marked {
            prop_assert_eq!(chosen.len(), marked);
            prop_assert!(chosen.is_sorted_by(|a, b| a > b));
        } else {
            prop_assert_eq!(chosen, Vec::from_iter(under_cursor));
        }
    }
}
