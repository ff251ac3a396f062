//! The engine as a client sees it: agents that debug real programs. One test binary, since each would take seconds to link.

mod support;

mod attach;
mod bad_input;
mod blocked;
mod control;
mod crates;
mod damaged;
mod entry_values;
mod exceptions;
mod fetched;
mod formats;
mod forms;
mod futures;
mod gallery;
mod in_process;
mod index;
mod libraries;
mod live;
mod looks;
mod machine;
mod other_languages;
mod sessions;
mod steps;
mod values;
mod watches;
