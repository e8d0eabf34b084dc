//! An event taken apart into fields: for each path the values found there, each with the array elements it is in.
//!
//! Arrays leave no trace in a path: `{"a":[{"b":1},{"b":2}]}` has the field `a.b` twice, once in the first element and
//! once in the second. A key with a dot and two nested keys give the same path.

use std::collections::{HashMap, HashSet};

use crate::json::{Node, Value};
use crate::matcher::Leaf;

/// The array elements that a value is in, outermost first: the array's number in the event and the element's index.
/// Elements that are plain values are not counted: two of them may satisfy two different fields.
pub(crate) type Membership = Vec<(u32, u32)>;

/// Fields by path.
pub(crate) type Fields<'a> = HashMap<String, Vec<(Leaf<'a>, Membership)>>;

/// The paths that a pattern looks at, and every path on the way to them.
#[derive(Debug, Default)]
pub(crate) struct Wanted(HashSet<String>);

impl Wanted {
    pub(crate) fn add(&mut self, path: &str) {
        for (dot, _) in path.match_indices('.') {
            self.0.insert(path[..dot].to_owned());
        }
        self.0.insert(path.to_owned());
    }

    /// The event's fields on the wanted paths. An event that is not an object has none.
    pub(crate) fn fields<'a>(&self, event: &'a Node) -> Fields<'a> {
        let mut walk = Walk {
            wanted: self,
            path: String::new(),
            depth: 0,
            membership: Vec::new(),
            arrays: 0,
            fields: HashMap::new(),
        };
        if let Value::Object(_) = event.value {
            walk.visit(event);
        }
        walk.fields
    }
}

struct Walk<'a, 'w> {
    wanted: &'w Wanted,
    path: String,
    /// How many names make up the path; a name can be empty.
    depth: usize,
    membership: Membership,
    arrays: u32,
    fields: Fields<'a>,
}

impl<'a> Walk<'a, '_> {
    fn visit(&mut self, node: &'a Node) {
        match &node.value {
            Value::Object(members) => {
                for (name, value) in members {
                    let parent = self.path.len();
                    if self.depth > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(name);
                    if self.wanted.0.contains(&self.path) {
                        self.depth += 1;
                        self.visit(value);
                        self.depth -= 1;
                    }
                    self.path.truncate(parent);
                }
            }
            Value::Array(elements) => {
                let array = self.arrays;
                self.arrays += 1;
                for (index, element) in (0..).zip(elements) {
                    if matches!(element.value, Value::Object(_) | Value::Array(_)) {
                        self.membership.push((array, index));
                        self.visit(element);
                        self.membership.pop();
                    } else {
                        self.visit(element);
                    }
                }
            }
            Value::Text(text) => self.add(Leaf::Text(text.as_bytes())),
            Value::Number(number) => self.add(Leaf::Number(number.as_bytes())),
            Value::Literal(literal) => self.add(Leaf::Literal(literal)),
        }
    }

    fn add(&mut self, leaf: Leaf<'a>) {
        self.fields.entry(self.path.clone()).or_default().push((leaf, self.membership.clone()));
    }
}
