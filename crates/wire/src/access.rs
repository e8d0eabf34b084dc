//! What a call asks of policies: actions on resources, and the condition keys that its input tells.
//!
//! Promises that every operation's row is there (`models/access.toml`; the build fails without), and that all resources
//! that an input names are asked for, in whichever member it names them. Must not decide, and must not know where
//! resources are: whoever knows is asked by [`Names`].

mod how;
mod tags;

use base::Scope;

pub use how::{How, Named, Names};
pub use tags::{Tagged, tags};

use crate::data::{Structure, View};
use crate::model::Operation;

/// Who decides about an operation.
#[derive(Debug)]
pub enum Access {
    /// Policies: every ask has to be allowed.
    Policies {
        /// In order; the first is the operation's own.
        asks: &'static [Ask],
        /// Condition keys of the service, and where their values are.
        context: &'static [(&'static str, Template)],
    },
    /// Its service, with what only it knows.
    Itself,
    /// Nobody: whoever is known may.
    Anybody,
    /// It is not done.
    NotDone,
}

/// An action and the resources that it is asked on.
#[derive(Debug)]
pub struct Ask {
    /// Such as `kinesis:PutRecord`.
    pub action: &'static str,
    /// The resources.
    pub templates: &'static [Template],
    /// Whether it is asked on `*` where the input names no resource.
    pub always: bool,
    /// Condition keys that it is asked with.
    pub context: &'static [(&'static str, &'static str)],
}

/// Where the name of a resource is.
#[derive(Debug)]
pub struct Template {
    /// Whether it is an ARN of the call's own account and region.
    pub own: bool,
    /// Whether such an ARN has no region.
    pub global: bool,
    /// The service in such an ARN.
    pub service: &'static str,
    /// What stands before the name.
    pub text: &'static str,
    /// Where the members are that `how` looks at; an empty path is a member that the input lacks.
    pub members: &'static [&'static [usize]],
    /// What is made of them.
    pub how: How,
}

/// An action on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Such as `kinesis:PutRecord`.
    pub action: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
    /// Condition keys that belong to this action alone.
    pub context: &'static [(&'static str, &'static str)],
}

/// Everything that a call asks. Each of it has to be allowed.
pub fn asked(operation: &Operation, scope: &Scope, input: &dyn Structure, names: &dyn Names) -> Vec<Asked> {
    let Access::Policies { asks, .. } = &operation.access else { return Vec::new() };
    let mut all: Vec<Asked> = Vec::with_capacity(1);
    for Ask { action, templates, always, context } in *asks {
        let begun = all.len();
        for template in *templates {
            for resource in template.resolve(scope, input, names) {
                if !all[begun..].iter().any(|asked| asked.resource == resource) {
                    all.push(Asked { action, resource, context });
                }
            }
        }
        if *always && all.len() == begun {
            all.push(Asked { action, resource: "*".to_owned(), context });
        }
    }
    all
}

/// The service's own condition keys of a call, with their values.
pub fn context(
    operation: &Operation,
    scope: &Scope,
    input: &dyn Structure,
    names: &dyn Names,
) -> Vec<(&'static str, Vec<String>)> {
    let Access::Policies { context, .. } = &operation.access else { return Vec::new() };
    let values = context.iter().map(|(key, template)| (*key, template.resolve(scope, input, names)));
    values.filter(|(_, values)| !values.is_empty()).collect()
}

impl Template {
    fn resolve(&self, scope: &Scope, input: &dyn Structure, names: &dyn Names) -> Vec<String> {
        let mut found = Vec::new();
        let Some((first, others)) = self.members.split_first() else { return found };
        let others: Vec<Option<String>> = others
            .iter()
            .map(|path| {
                let mut value = None;
                each(View::Structure(input), path, &mut |text| value = value.take().or(text));
                value
            })
            .collect();
        each(View::Structure(input), first, &mut |text| {
            let Some(name) = self.how.make(text, &others, scope, names) else { return };
            found.push(match (self.own, self.global) {
                (false, _) => format!("{}{name}", self.text),
                (true, true) => format!("arn:aws:{}::{}:{}{name}", self.service, scope.account, self.text),
                (true, false) => {
                    format!("arn:aws:{}:{}:{}:{}{name}", self.service, scope.region, scope.account, self.text)
                }
            });
        });
        found
    }
}

/// Shows every value at a path, through lists; what is absent is shown as such.
fn each(view: View<'_>, path: &[usize], show: &mut dyn FnMut(Option<String>)) {
    match (view, path) {
        (View::List(items), _) => (0..items.count()).for_each(|at| each(items.at(at), path, show)),
        (View::Structure(inner), [place, rest @ ..]) => each(inner.member(*place), rest, show),
        (View::Str(text), []) => show(Some(text.to_owned())),
        (View::Int(number), []) => show(Some(number.to_string())),
        _ => show(None),
    }
}

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
