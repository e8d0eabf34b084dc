//! The server over real HTTP: who is let in, what is refused and how, and how it stops.

mod auth;
mod bounds;
mod console;
mod fixture;
