//! The index on the disk: made by one agent, used by the next, never believed when it is damaged; with and without it the engine
//! shows the same.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::{Agent, Build, DEADLINE, Program, Split, program_file, split_program};
use serde_json::{Value, json};

/// Everything that an index has a say in.
#[derive(Debug, PartialEq)]
struct Picture {
    breakpoints: Vec<(bool, i64)>,
    functions: Value,
    lines: Value,
    sources: usize,
    stack: Vec<String>,
    locals: Vec<String>,
}

struct Seen {
    picture: Picture,
    /// What the agent said on the console.
    notes: Vec<String>,
}

/// Looks at a program with an agent that keeps its indices in a directory. `before_end` runs while the program is stopped.
fn look(file: &Path, cache: &Path, before_end: impl FnOnce()) -> Seen {
    let mut program = Program::start_file(file);
    let mut agent = Agent::attach_with(&program, &[("XDG_CACHE_HOME", cache.to_owned())]);
    let body = agent.configure("values", &[("note", json!({})), ("structs", json!({})), ("sum", json!({}))]);
    let set = body["breakpoints"].as_array().unwrap();
    let breakpoints =
        set.iter().map(|own| (own["verified"] == true, own["line"].as_i64().unwrap_or(0))).collect();
    let path = crate::support::source("values");
    let lines =
        agent.request("breakpointLocations", &json!({"source": {"path": path}, "line": 1, "endLine": 400}));
    let sources = agent.request("loadedSources", &json!({}))["sources"].as_array().unwrap().len();
    let functions: Vec<_> = ["optimized", "values::twice", "nothing", "{closure#0}"]
        .iter()
        .zip(10..)
        .map(|(name, id)| json!({"id": id, "name": name}))
        .collect();
    let arguments = json!({"generation": 9, "sessionId": "00", "sources": [
        {"source": {"path": path}, "paths": [path], "breakpoints": [{"id": 1, "line": crate::support::line_of("values", "structs")}]}]});
    let with_functions =
        json!({"generation": 8, "sessionId": "00", "sources": [], "functionBreakpoints": functions});
    let mut functions = agent.request("mantaConfigure", &with_functions)["breakpoints"].take();
    for breakpoint in functions.as_array_mut().unwrap() {
        // Where the program lies differs each time.
        breakpoint.as_object_mut().unwrap().remove("instructionReference");
    }
    agent.request("mantaConfigure", &arguments);
    program.go();
    let stop = agent.stopped();
    let mut locals = agent.locals(&stop);
    locals.retain(|line| !line.starts_with("map:"));
    let picture = Picture { breakpoints, functions, lines, sources, stack: agent.stack(&stop), locals };
    before_end();
    let mut notes = Vec::new();
    while agent.events_so_far("output") > 0 {
        notes.push(agent.event("output")["output"].as_str().unwrap().to_owned());
    }
    Seen { picture, notes }
}

fn index_file(cache: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(cache.join("manta/symbols")).ok()?;
    files.map(|file| file.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "index"))
}

/// Waits until the agent has made its index.
fn wait_for_index(cache: &Path) {
    let until = Instant::now() + DEADLINE;
    while index_file(cache).is_none() {
        assert!(Instant::now() < until, "the index is made in time");
        std::thread::yield_now();
    }
}

fn is_the_same_with_an_index(file: &Path) {
    let cache = tempfile::tempdir().unwrap();
    let cold = look(file, cache.path(), || wait_for_index(cache.path()));
    assert_eq!(cold.picture.functions[0]["verified"], true, "{:?}", cold.picture);
    assert_eq!(cold.picture.functions[2]["verified"], false, "{:?}", cold.picture);
    assert_eq!(cold.notes, Vec::<String>::new());
    let index = index_file(cache.path()).unwrap();
    let made = std::fs::read(&index).unwrap();
    let cached = look(file, cache.path(), || {});
    assert_eq!(cached.picture, cold.picture);
    assert_eq!(cached.notes, Vec::<String>::new());
    assert_eq!(std::fs::read(&index).unwrap(), made, "an index is not made twice");
}

#[test]
fn an_index_changes_nothing_but_the_time() {
    is_the_same_with_an_index(&program_file("values", Build::Plain));
}

#[test]
fn an_index_of_optimised_code() {
    is_the_same_with_an_index(&program_file("values", Build::Optimized));
}

#[test]
fn an_index_of_split_debug_information() {
    is_the_same_with_an_index(&split_program(4, Split::Packed));
    is_the_same_with_an_index(&split_program(5, Split::Unpacked));
}

#[test]
fn a_damaged_index_is_told_and_made_anew() {
    let file = program_file("values", Build::Dwarf5);
    let cache = tempfile::tempdir().unwrap();
    let cold = look(&file, cache.path(), || wait_for_index(cache.path()));
    let index = index_file(cache.path()).unwrap();
    let whole = std::fs::read(&index).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&index, damaged).unwrap();
    let seen = look(&file, cache.path(), || {
        let until = Instant::now() + DEADLINE;
        while std::fs::read(&index).unwrap() != whole {
            assert!(Instant::now() < until, "the index is made anew in time");
            std::thread::yield_now();
        }
    });
    assert_eq!(seen.picture, cold.picture);
    assert_eq!(seen.notes.len(), 1, "{:?}", seen.notes);
    assert!(seen.notes[0].contains("its checksum is wrong. It is made anew"), "{:?}", seen.notes);
}

#[test]
fn without_a_place_for_it_there_is_no_index() {
    let folder = tempfile::tempdir().unwrap();
    let no_directory = folder.path().join("file");
    std::fs::write(&no_directory, "in the way").unwrap();
    let file = program_file("values", Build::Plain);
    let seen = look(&file, &no_directory, || {});
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(seen.picture, look(&file, cache.path(), || {}).picture);
}
