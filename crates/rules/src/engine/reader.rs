//! Reads an event once, from front to back: the members that rules name are looked up, the rest is skipped.
//!
//! Where no path can come twice, the reader leaves an object when it has seen all its wanted members, and stops for good
//! when nothing outside can be wanted either.

use super::index::Index;
use super::paths::{Name, NodeId};
use super::scratch::{Kind, Scratch};
use super::tables::Tables;
use crate::event::{self, Event};
use crate::json::MAX_DEPTH;
use crate::scan;

/// Reads `event` and notes all that its values satisfy.
pub(super) fn read(tables: &Tables, event: Event<'_>, scratch: &mut Scratch) {
    let text = event.bytes();
    let mut reader = Reader { tables, text, at: scan::next(text, 0) + 1, plain: event.is_plain(), arrays: 0, scratch };
    reader.object(0, true, 0);
}

struct Reader<'a> {
    tables: &'a Tables,
    text: &'a [u8],
    at: usize,
    plain: bool,
    arrays: u32,
    scratch: &'a mut Scratch,
}

impl<'a> Reader<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        if matches!(self.peek(), Some(0..=b' ')) {
            self.at = scan::next(self.text, self.at);
        }
    }

    /// Reads an object from its first member on. `last` says that nothing after it is wanted; the answer, that all is
    /// read.
    fn object(&mut self, node: NodeId, last: bool, depth: usize) -> bool {
        let mut left = self.tables.paths.children(node);
        if left == 0 || depth > MAX_DEPTH {
            self.at = scan::container_end(self.text, self.at);
            return false;
        }
        loop {
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                Some(b'"') => {}
                _ => {
                    self.at += 1;
                    return false;
                }
            }
            let child = self.key(node);
            self.skip_space();
            self.at += 1;
            self.skip_space();
            let Some(child) = child else {
                self.at = scan::value_end(self.text, self.at);
                continue;
            };
            left -= usize::from(self.plain);
            let done = left == 0;
            if self.value(child, last && done, depth) || (last && done) {
                return true;
            }
            if done {
                self.at = scan::container_end(self.text, self.at);
                return false;
            }
        }
    }

    /// Reads a key up to its closing quote and says where it leads.
    #[inline]
    fn key(&mut self, node: NodeId) -> Option<NodeId> {
        let start = self.at + 1;
        let (end, escaped) = scan::string_end(self.text, start);
        self.at = end + 1;
        if self.plain {
            return self.tables.paths.child(node, Name::within(self.text, start, end)?);
        }
        let key = self.text.get(start..end)?;
        if escaped {
            let mut name = Vec::new();
            event::unescape(key, &mut name)?;
            return self.tables.paths.descend(node, &name);
        }
        self.tables.paths.descend(node, key)
    }

    fn value(&mut self, node: NodeId, last: bool, depth: usize) -> bool {
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                return self.object(node, last, depth + 1);
            }
            Some(b'[') => self.array(node, depth + 1),
            _ => match self.tables.paths.path(node) {
                Some(path) => self.leaf(path),
                None => self.at = scan::value_end(self.text, self.at),
            },
        }
        false
    }

    fn array(&mut self, node: NodeId, depth: usize) {
        self.at += 1;
        if depth > MAX_DEPTH {
            self.at = scan::container_end(self.text, self.at);
            return;
        }
        let array = self.arrays;
        self.arrays += 1;
        let mut index = 0;
        loop {
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    index += 1;
                    continue;
                }
                Some(b']') | None => {
                    self.at += 1;
                    return;
                }
                Some(b'{' | b'[') => {
                    let outer = self.scratch.enter(array, index);
                    self.value(node, false, depth);
                    self.scratch.leave(outer);
                }
                Some(_) => _ = self.value(node, false, depth),
            }
        }
    }

    /// Looks a value up.
    #[inline]
    fn leaf(&mut self, path: u32) {
        let text = self.text;
        let tables: &'a Tables = self.tables;
        let Some(state) = tables.states.get(path) else { return };
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                let (end, escaped) = scan::string_end(text, start + 1);
                self.at = end + 1;
                let Some(raw) = text.get(start + 1..end) else { return };
                self.scratch.note(path, Kind::Text { escaped }, start + 1, end);
                self.text_leaf(&state.index, raw, escaped);
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = scan::scalar_end(text, start);
                self.scratch.note(path, Kind::Number, start, self.at);
                state.index.probe_number(&text[start..self.at], &mut self.scratch.marks);
            }
            _ => {
                // Never stuck, whatever the bytes.
                self.at = scan::scalar_end(text, start).max(start + 1);
                self.scratch.note(path, Kind::Literal, start, self.at);
                let literal = literal(text.get(start).copied());
                state.index.probe_literal(literal, &mut self.scratch.marks);
            }
        }
    }

    #[inline]
    fn text_leaf(&mut self, index: &Index, raw: &[u8], escaped: bool) {
        if !escaped {
            return index.probe_text(raw, &self.tables.checks, &mut self.scratch.marks);
        }
        self.scratch.text.clear();
        if event::unescape(raw, &mut self.scratch.text).is_some() {
            index.probe_text(&self.scratch.text, &self.tables.checks, &mut self.scratch.marks);
        }
    }
}

/// The literal that begins so.
pub(super) fn literal(first: Option<u8>) -> &'static str {
    match first {
        Some(b't') => "true",
        Some(b'f') => "false",
        _ => "null",
    }
}
