//! The engines in this process behind one face.

use anyhow::anyhow;
use quamina::Quamina;
use rules::{Engine, Event, Pattern, Scratch};

/// An engine with rules in it.
pub enum Contender {
    Tidegate(Box<(Engine<usize>, Scratch)>),
    Quamina(Box<Quamina<usize>>),
}

impl Contender {
    /// Tidegate's engine.
    pub fn tidegate(rules: &[String]) -> anyhow::Result<Self> {
        let mut engine = Engine::default();
        for (id, rule) in rules.iter().enumerate() {
            engine.insert(id, &Pattern::parse(rule)?);
        }
        Ok(Self::Tidegate(Box::new((engine, Scratch::default()))))
    }

    /// The `quamina` crate, unless it refuses a rule.
    pub fn quamina(rules: &[String]) -> anyhow::Result<Self> {
        let mut engine = Quamina::new();
        for (id, rule) in rules.iter().enumerate() {
            engine.add_pattern(id, rule).map_err(|error| anyhow!("{error}: {rule}"))?;
        }
        Ok(Self::Quamina(Box::new(engine)))
    }

    /// Tells the rules that match.
    #[inline]
    pub fn matches(&mut self, event: Event<'_>, mut tell: impl FnMut(usize)) {
        match self {
            Self::Tidegate(engine) => {
                let (engine, scratch) = &mut **engine;
                engine.matches(event, scratch).for_each(|id| tell(*id));
            }
            // An event that it cannot read matches nothing.
            Self::Quamina(engine) => {
                engine.matches_for_event(event.bytes()).unwrap_or_default().into_iter().for_each(tell);
            }
        }
    }

    /// How many of `events` each rule matches.
    pub fn count(&mut self, events: &[Event<'_>], rules: usize) -> Vec<u64> {
        let mut counts = vec![0; rules];
        for event in events {
            self.matches(*event, |id| counts[id] += 1);
        }
        counts
    }

    /// Events per second.
    pub fn rate(&mut self, events: &[Event<'_>], seconds: f64) -> f64 {
        let mut matched = 0_usize;
        let rate = super::best_rate(seconds, events.len(), || {
            for event in events {
                self.matches(*event, |_| matched += 1);
            }
        });
        std::hint::black_box(matched);
        rate
    }
}
