//! One suite for everything that the engine can be pointed at: a living process, by whatever means, one that is made up, and core files.
//!
//! [`suite`] has the rules of the `Target` trait, and what each means cannot do. [`picture`] has what people see: whatever the target, the
//! stack, the scopes and the values of one stop are the same.

#[path = "../engine/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the engine's tests use the rest")]
mod support;

mod cores;
mod held;
mod helped;
mod picture;
mod scripted;
mod suite;

use std::ops::Range;

use held::Held;
use helped::Helped;
use manta_native::address::{Address, Tid};
use manta_native::core_file::Core;
use manta_native::core_file::write::{Extent, Picture, write};
use manta_native::mappings;
use manta_native::simulated::Simulated;
use manta_native::snapshot_only;
use manta_native::tracer::{Go, Means, Tracer, Waited};
use picture::picture;
use suite::{Facts, Writes};
use support::Build;

/// A core file of a process that is held, written by this crate.
fn core_of(held: &Held, extent: Extent) -> Core {
    written(&held.process.picture(&held.stopped, 0).unwrap(), extent)
}

fn written(picture: &Picture<'_>, extent: Extent) -> Core {
    let mut bytes = Vec::new();
    let written = write(picture, extent, &mut bytes).unwrap();
    assert_eq!((written.bytes, written.is_cut), (bytes.len() as u64, false));
    Core::parse(bytes).unwrap()
}

/// All memory of a process but what the kernel keeps for itself.
fn memory_of(pid: i32) -> Vec<Range<Address>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    mappings::parse(&maps)
        .iter()
        .filter(|mapping| mapping.is_readable && !mapping.name.starts_with("[v"))
        .map(|mapping| mapping.start..mapping.end)
        .collect()
}

/// Why a core file cannot be changed.
const CORE: &str = "a core file is a picture";

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
    let facts = Facts::of(&held.process, &held.stopped);
    suite::run(&held.process, &facts, Writes::Allowed);
    suite::run(
        &Simulated::recorded(&held.process, &memory_of(held.process.pid)).unwrap(),
        &facts,
        Writes::Allowed,
    );
    for extent in [Extent::Whole, Extent::Partial] {
        suite::run(&core_of(&held, extent), &facts, Writes::Refused(CORE));
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
        let made_up = Simulated::recorded(&held.process, &memory_of(held.process.pid)).unwrap();
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

#[test]
fn a_process_that_helps_itself_keeps_the_rules() {
    let helped = Helped::at("tasks", Build::Plain, "format");
    let process = &helped.process;
    let facts = Facts::of(process, &helped.stopped);
    suite::run(process, &facts, Writes::Allowed);
    let made_up = Simulated::recorded(process, &memory_of(process.pid())).unwrap();
    suite::run(&made_up, &facts, Writes::Allowed);
    let core = written(&process.picture(&helped.stopped).unwrap(), Extent::Whole);
    suite::run(&core, &facts, Writes::Refused(CORE));
    let living = picture(process, helped.stopped[0]);
    same("made up", &picture(&made_up, helped.stopped[0]), &living);
    same("core file", &picture(&core, helped.stopped[0]), &living);
}

#[test]
fn of_a_process_that_runs_a_picture_keeps_the_rules() {
    let (_program, process) = helped::connected("tasks", Build::Plain);
    let process = snapshot_only::Process::new(process);
    let main = Tid(process.pid());
    process.interrupt(main).unwrap();
    let stop = Waited::Event { event: libc::PTRACE_EVENT_STOP, signal: libc::SIGTRAP };
    assert_eq!(process.next_event().unwrap(), Some((main, stop)));
    let facts = Facts::of(&process, &[main]);
    suite::run(&process, &facts, Writes::Refused("this is a picture of a process that runs on"));
    let seen = picture(&process, main);
    assert!(seen.iter().any(|line| line.starts_with("tasks::main at")), "{seen:#?}");
    assert_eq!(suite::abilities(&process, main), [] as [&str; 0]);
}

#[test]
fn what_a_means_cannot_do_it_says() {
    let held = Held::at("tasks", Build::Plain, "format");
    let all = ["debug registers", "registers", "signal mask", "one thread's events"];
    assert_eq!(suite::abilities(&held.process, held.stopped[0]), all);
    assert_eq!(held.process.means(), Means::Ptrace);
    drop(held);
    let helped = Helped::at("tasks", Build::Plain, "format");
    assert_eq!(suite::abilities(&helped.process, helped.stopped[0]), ["registers"]);
    assert_eq!(helped.process.means(), Means::InProcess { can_write_code: true });
    // A thread that already waits, or that there is none of, is no reason to hang.
    assert!(helped.process.interrupt(Tid(i32::MAX)).is_err());
    assert!(helped.process.go(Tid(i32::MAX), Go::On, 0).is_err());
}
