//! Whole Manta from outside: real clusters, drivers and adapters, looked at through DAP as an editor would.
//!
//! One program for all, since linking is what takes time.

mod actors;
mod bad_input;
mod clusters;
mod content;
mod deadlines;
mod endings;
mod graphs;
mod heads;
mod kills;
mod languages;
mod launch;
mod levels;
mod lines;
mod looking;
mod moving;
mod stops;
mod support;
mod versions;
mod watching;
