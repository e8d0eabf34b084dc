//! The evaluator from outside: AWS's documented examples, what is refused, and a second evaluator on random pairs.
#![allow(clippy::unwrap_used, reason = "what a test is made of may panic as the test may")]

mod case;
mod conditions;
mod directory;
mod documented;
mod naive;
mod pairs;
mod refused;
