//! Events while the list is shown: keys, the mouse, and parts of a listing, through one channel.
//!
//! A thread of its own reads the keys, so that a terminal that sends half a sequence cannot block
//! the program.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crossterm::event::{
    self as terminal_event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton,
    MouseEventKind,
};

use crate::files::Entry;

/// The capacity of the channel; senders wait while it is full.
pub(crate) const QUEUE: usize = 64;

/// On a slow line an escape sequence may arrive in parts, at most this far apart.
const TORN: Duration = Duration::from_millis(60);

/// One event.
#[derive(Debug)]
pub(crate) enum Event {
    Key(KeyEvent),
    /// Text that was pasted as a whole.
    Paste(String),
    /// The mouse wheel was turned, up or down.
    Wheel(Turn),
    /// A row of the screen was clicked.
    Click(u16),
    Resized,
    /// A part of the listing with this number.
    Inside(u64, Inside),
    /// Reading keys failed.
    KeysEnded(std::io::Error),
}

/// The direction of the mouse wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Up,
    Down,
}

/// A part of the listing of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Entries(Vec<Entry>),
    /// There are more entries than are kept.
    Cut,
    /// The end, with what bk-ls reported.
    End(Vec<String>),
}

/// Reads keys until the receiver is gone.
pub(crate) fn read_keys(sender: &SyncSender<Event>) {
    loop {
        let result = match terminal_event::read() {
            Ok(event) => pass_on(event, sender),
            Err(error) => {
                // The receiver may be gone: then nobody needs the error.
                let _ = sender.send(Event::KeysEnded(error));
                return;
            }
        };
        if result.is_none() {
            return;
        }
    }
}

/// `None` when the receiver is gone.
fn pass_on(event: terminal_event::Event, sender: &SyncSender<Event>) -> Option<()> {
    match event {
        terminal_event::Event::Key(key) if key.kind != KeyEventKind::Release => {
            for key in joined(key, || next_key(sender)) {
                sender.send(Event::Key(key)).ok()?;
            }
        }
        terminal_event::Event::Mouse(mouse) => {
            let event = match mouse.kind {
                MouseEventKind::ScrollUp => Event::Wheel(Turn::Up),
                MouseEventKind::ScrollDown => Event::Wheel(Turn::Down),
                MouseEventKind::Down(MouseButton::Left) => Event::Click(mouse.row),
                _ => return Some(()),
            };
            sender.send(event).ok()?;
        }
        terminal_event::Event::Paste(text) => sender.send(Event::Paste(text)).ok()?,
        terminal_event::Event::Resize(..) => sender.send(Event::Resized).ok()?,
        _ => {}
    }
    Some(())
}

/// The next key, if it follows immediately.
fn next_key(sender: &SyncSender<Event>) -> Option<KeyEvent> {
    let follows = terminal_event::poll(TORN).unwrap_or(false);
    match follows.then(terminal_event::read)? {
        Ok(terminal_event::Event::Key(key)) => Some(key),
        Ok(other) => {
            pass_on(other, sender)?;
            None
        }
        Err(_) => None,
    }
}

/// Joins an escape sequence that arrived in parts: `Esc`, then `[A`, is the up arrow. Otherwise the
/// `Esc` would end the program.
fn joined(first: KeyEvent, mut next: impl FnMut() -> Option<KeyEvent>) -> Vec<KeyEvent> {
    if first.code != KeyCode::Esc {
        return vec![first];
    }
    let Some(second) = next() else {
        return vec![first];
    };
    if !matches!(second.code, KeyCode::Char('[' | 'O')) {
        return vec![first, second];
    }
    let mut parameters = String::new();
    while let Some(key) = next() {
        let code = match key.code {
            // The last is of the mouse, whose events are ignored if torn.
            KeyCode::Char(c @ ('0'..='9' | ';' | '<')) => {
                parameters.push(c);
                continue;
            }
            KeyCode::Char('A') => KeyCode::Up,
            KeyCode::Char('B') => KeyCode::Down,
            KeyCode::Char('C') => KeyCode::Right,
            KeyCode::Char('D') => KeyCode::Left,
            KeyCode::Char('H') => KeyCode::Home,
            KeyCode::Char('F') => KeyCode::End,
            KeyCode::Char('~') => match parameters.as_str() {
                "1" | "7" => KeyCode::Home,
                "4" | "8" => KeyCode::End,
                "5" => KeyCode::PageUp,
                "6" => KeyCode::PageDown,
                _ => break,
            },
            _ => break,
        };
        return vec![KeyEvent::new(code, KeyModifiers::NONE)];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined_codes(typed: &[KeyCode]) -> Vec<KeyCode> {
        let mut keys = typed.iter();
        let mut next = || keys.next().map(|code| KeyEvent::from(*code));
        let first = next();
        let all = first.map(|first| joined(first, next)).unwrap_or_default();
        all.iter().map(|key| key.code).collect()
    }

    #[test]
    fn a_torn_key_is_the_key_that_was_pressed() {
        let c = KeyCode::Char;
        for (typed, meant) in [
            (&[KeyCode::Esc][..], &[KeyCode::Esc][..]),
            (&[c('x')], &[c('x')]),
            (&[KeyCode::Esc, KeyCode::Tab], &[KeyCode::Esc, KeyCode::Tab]),
            (&[KeyCode::Esc, c('['), c('A')], &[KeyCode::Up]),
            (&[KeyCode::Esc, c('O'), c('B')], &[KeyCode::Down]),
            (&[KeyCode::Esc, c('['), c('5'), c('~')], &[KeyCode::PageUp]),
            (
                &[KeyCode::Esc, c('['), c('1'), c(';'), c('5'), c('C')],
                &[KeyCode::Right],
            ),
            (&[KeyCode::Esc, c('['), c('2'), c('~')], &[]),
            (&[KeyCode::Esc, c('[')], &[]),
            (&[KeyCode::Esc, c('['), c('<'), c('6'), c(';'), c('M')], &[]),
        ] {
            assert_eq!(joined_codes(typed), meant, "{typed:?}");
        }
    }
}
