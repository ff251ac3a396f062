//! One suite for everything that the engine can be pointed at: a living process, one that is made up, and core files.
//!
//! [`suite`] has the rules of the `Target` trait. [`picture`] has what people see: whatever the target, the stack, the scopes and
//! the values of one stop are the same.

#[path = "../engine/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the engine's tests use the rest")]
mod support;

mod cores;
mod held;
mod picture;
mod scripted;
mod suite;

use std::ops::Range;

use held::Held;
use manta_native::address::Address;
use manta_native::core_file::Core;
use manta_native::core_file::write::{Extent, write};
use manta_native::mappings;
use manta_native::simulated::Simulated;
use picture::picture;
use suite::{Facts, Writes};
use support::Build;

/// A core file of a process that is held, written by this crate.
fn core_of(held: &Held, extent: Extent) -> Core {
    let mut bytes = Vec::new();
    let picture = held.process.picture(&held.stopped, 0).unwrap();
    let written = write(&picture, extent, &mut bytes).unwrap();
    assert_eq!((written.bytes, written.is_cut), (bytes.len() as u64, false));
    Core::parse(bytes).unwrap()
}

/// All memory of a process but what the kernel keeps for itself.
fn memory_of(held: &Held) -> Vec<Range<Address>> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", held.process.pid)).unwrap();
    mappings::parse(&maps)
        .iter()
        .filter(|mapping| mapping.is_readable && !mapping.name.starts_with("[v"))
        .map(|mapping| mapping.start..mapping.end)
        .collect()
}

/// Compares line by line: the first that differs is enough.
fn same(what: &str, found: &[String], living: &[String]) {
    for (found, living) in found.iter().zip(living) {
        assert_eq!(found, living, "{what}");
    }
    assert_eq!(found.len(), living.len(), "{what}");
}

#[test]
fn every_target_keeps_the_rules() {
    let held = Held::at("tasks", Build::Plain, "format");
    let facts = Facts::of(&held);
    suite::run(&held.process, &facts, Writes::Allowed);
    suite::run(&Simulated::recorded(&held.process, &memory_of(&held)).unwrap(), &facts, Writes::Allowed);
    for extent in [Extent::Whole, Extent::Partial] {
        suite::run(&core_of(&held, extent), &facts, Writes::Refused);
    }
}

#[test]
fn stacks_scopes_and_values_are_the_same_on_every_target() {
    for (name, mark, build) in [
        ("tasks", "format", Build::Plain),
        ("values", "structs", Build::Plain),
        ("values", "enums", Build::Dwarf5),
        ("values", "texts", Build::Optimized),
        ("library", "library", Build::Plain),
    ] {
        let held = Held::at(name, build, mark);
        let living = picture(&held.process, held.stopped[0]);
        assert!(living.len() > 8, "{living:#?}");
        let made_up = Simulated::recorded(&held.process, &memory_of(&held)).unwrap();
        same(&format!("{name} made up"), &picture(&made_up, held.stopped[0]), &living);
        for extent in [Extent::Whole, Extent::Partial] {
            let core = core_of(&held, extent);
            assert_eq!(core.warnings(), [] as [&str; 0]);
            same(&format!("{name}, core file, {extent:?}"), &picture(&core, held.stopped[0]), &living);
        }
    }
}

#[test]
fn every_thread_of_a_core_file_has_its_stack() {
    let held = Held::at("tasks", Build::Plain, "format");
    let core = core_of(&held, Extent::Whole);
    for tid in &held.stopped {
        same(&tid.to_string(), &picture(&core, *tid), &picture(&held.process, *tid));
    }
    let heart = held.stopped.iter().map(|tid| picture(&core, *tid));
    assert!(heart.flatten().any(|line| line.contains("tasks::main::{closure#0}")));
}
