//! A decision with everything that took part in it: for simulations, and for people who ask why.

use std::collections::BTreeSet;

use crate::decide::{Allows, Decision, Layer, Matched, Outcome, Policies, Request};
use crate::statement::Effect;

/// A decision and what it was made of.
#[derive(Debug, Clone)]
pub struct Explanation<'p> {
    /// The same as [`Policies::decide`] says.
    pub decision: Decision<'p>,
    /// All statements that apply, whether they decided or not, in the order of their policies.
    pub matched: Vec<Matched<'p>>,
    /// The keys that the policies look at and the request's context does not have, as they are written.
    pub missing: Vec<&'p str>,
}

impl<'p> Explanation<'p> {
    /// The statements that led to the outcome, as simulations list them: those that deny, or those of the caller's and
    /// the resource's policies that allow. None for an implicit deny.
    pub fn deciding(&self) -> impl Iterator<Item = &Matched<'p>> {
        let outcome = self.decision.outcome;
        self.matched.iter().filter(move |matched| match outcome {
            Outcome::Allowed => {
                matched.effect() == Effect::Allow && !matches!(matched.layer, Layer::Boundary | Layer::Session)
            }
            Outcome::ExplicitDeny => matched.effect() == Effect::Deny,
            Outcome::ImplicitDeny => false,
        })
    }
}

impl<'p> Policies<'p> {
    /// Decides a request and tells all that took part. Slower than [`Policies::decide`], and of the same result.
    pub fn explain(&self, request: &Request<'_>) -> Explanation<'p> {
        let probe = request.probe(self);
        let mut allows = Allows::default();
        let mut denied = None;
        let mut matched = Vec::new();
        let (mut seen, mut missing) = (BTreeSet::new(), Vec::new());
        for (layer, attached) in self.all() {
            for (index, statement) in attached.policy.about(&probe.action) {
                let Some(reach) = statement.applies(&probe) else { continue };
                let found = Matched { layer, policy: attached, index };
                matched.push(found);
                match statement.effect {
                    Effect::Deny => _ = denied.get_or_insert(found),
                    Effect::Allow => allows.add(found, reach),
                }
            }
            let keys = attached.policy.context_keys().into_iter();
            missing
                .extend(keys.filter(|key| request.context.get(key).is_none() && seen.insert(key.to_ascii_lowercase())));
        }
        let decision = match denied {
            Some(by) => Decision { outcome: Outcome::ExplicitDeny, layer: by.layer, by: Some(by) },
            None => allows.conclude(request, self),
        };
        Explanation { decision, matched, missing }
    }
}
