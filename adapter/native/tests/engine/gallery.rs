//! Every type that has a notation of its own, as a client sees it: debug and optimized, with both versions of debug information.

use std::fmt::Write;

use crate::support::{Agent, Build, Program};
use serde_json::{Value, json};

/// Functions of the fixture, in the order in which it calls them.
const GROUPS: [&str; 8] = ["scalars", "texts", "lists", "maps", "enums", "pointers", "cells", "others"];
/// Parts of a value that a snapshot has.
const PARTS: usize = 6;

fn gallery(build: Build, marks: &[&str]) -> (Program, Agent) {
    let mut program = Program::start("gallery", build);
    let mut agent = Agent::attach(&program);
    let marks: Vec<_> = marks.iter().map(|mark| (*mark, json!({}))).collect();
    agent.configure("gallery", &marks);
    program.go();
    (program, agent)
}

fn variables(agent: &mut Agent, reference: &Value, range: Option<(u64, u64)>) -> Vec<Value> {
    let mut arguments = json!({"variablesReference": reference});
    if let Some((start, count)) = range {
        arguments["start"] = json!(start);
        arguments["count"] = json!(count);
    }
    agent.request("variables", &arguments)["variables"].as_array().unwrap().clone()
}

/// The locals of a stop, each with its first parts.
fn shown(agent: &mut Agent, stop: &Value) -> String {
    let reference = json!(agent.locals_reference(stop));
    let mut text = String::new();
    let line = |own: &Value| {
        let part = |key: &str| own[key].as_str().unwrap_or("").to_owned();
        format!("{}: {} = {}", part("name"), part("type"), part("value"))
    };
    for local in variables(agent, &reference, None) {
        let count = local["indexedVariables"].as_u64().or(local["namedVariables"].as_u64()).unwrap_or(0);
        writeln!(text, "{}", line(&local)).unwrap();
        if local["variablesReference"] != 0 {
            for part in variables(agent, &local["variablesReference"], Some((0, PARTS as u64))) {
                writeln!(text, "    {}", line(&part)).unwrap();
            }
            if count > PARTS as u64 {
                writeln!(text, "    … {count}").unwrap();
            }
        }
    }
    normalised(&text)
}

/// Without addresses and times, which are others in each run.
fn normalised(text: &str) -> String {
    let mut result = String::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(at) = rest.find(|character: char| character.is_ascii_digit()) {
            let (before, number) = rest.split_at(at);
            result.push_str(before);
            let is_hex = number.starts_with("0x");
            let digits = if is_hex { &number[2..] } else { number };
            let is_digit = |character: char| {
                if is_hex { character.is_ascii_hexdigit() } else { character.is_ascii_digit() }
            };
            let len = digits.find(|character| !is_digit(character)).unwrap_or(digits.len());
            let whole = &number[..len + if is_hex { 2 } else { 0 }];
            // Addresses are also the elements of a table of functions that is shown raw.
            let is_address = if is_hex { whole.len() > 6 } else { (14..=15).contains(&len) };
            let is_time = line.contains("of the monotonic clock");
            result.push_str(if is_address {
                "0x…"
            } else if is_time {
                "…"
            } else {
                whole
            });
            rest = &number[whole.len()..];
        }
        result.push_str(rest);
        result.push('\n');
    }
    result
}

/// The same groups with both versions of debug information, which must not differ.
fn both_versions(four: Build, five: Build, suffix: &str) {
    let (_program, mut agent) = gallery(four, &GROUPS);
    let (_other_program, mut other) = gallery(five, &GROUPS);
    for group in GROUPS {
        let (stop, other_stop) = (agent.stopped(), other.stopped());
        let text = shown(&mut agent, &stop);
        assert_eq!(text, shown(&mut other, &other_stop), "{group}");
        insta::assert_snapshot!(format!("{group}{suffix}"), text);
        agent.go_on(&stop);
        other.go_on(&other_stop);
    }
}

#[test]
fn values_of_a_debug_build() {
    both_versions(Build::Plain, Build::Dwarf5, "");
}

#[test]
fn values_of_an_optimized_build() {
    both_versions(Build::Optimized, Build::OptimizedDwarf5, "_optimized");
}

#[test]
fn damaged_values_are_sentences_or_what_their_bytes_say() {
    let (_program, mut agent) = gallery(Build::Plain, &["awkward"]);
    let stop = agent.stopped();
    let text = shown(&mut agent, &stop);
    // The order of a hash table is another one in each run.
    let is_damaged = |line: &&str| line.contains("ManuallyDrop<") && !line.starts_with(' ');
    let damaged: Vec<_> = text.lines().filter(is_damaged).collect();
    insta::assert_snapshot!("damaged", damaged.join("\n"));
}

#[test]
fn circles_and_a_million_elements_are_shown_in_pages() {
    let (program, mut agent) = gallery(Build::Plain, &["awkward"]);
    let stop = agent.stopped();
    let reference = json!(agent.locals_reference(&stop));
    let locals = variables(&mut agent, &reference, None);
    let local = |name: &str| locals.iter().find(|own| own["name"] == name).unwrap().clone();
    let value = |own: &Value| own["value"].as_str().unwrap().to_owned();

    // A circle is walked as far as the client opens it, and is cut on one line.
    let mut cycle = local("cycle");
    assert!(value(&cycle).len() < 200, "{cycle}");
    for _ in 0..50 {
        let parts = variables(&mut agent, &cycle["variablesReference"], None);
        let next = parts.iter().find(|part| part["name"] == "next").unwrap();
        cycle = variables(&mut agent, &next["variablesReference"], None)[0].clone();
        assert!(value(&cycle).starts_with("Cycle { name: 1"), "{cycle}");
    }

    let page = |agent: &mut Agent, own: &Value, start: u64| {
        let parts = variables(agent, &own["variablesReference"], Some((start, 2)));
        parts.iter().map(|part| (part["name"].as_str().unwrap().to_owned(), value(part))).collect::<Vec<_>>()
    };
    let million = local("million");
    assert_eq!(million["indexedVariables"], 1_000_000);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(page(&mut agent, &million, 999_998), [pair("[999998]", "999998"), pair("[999999]", "999999")]);
    assert_eq!(variables(&mut agent, &million["variablesReference"], None).len(), 500, "one page");

    let table = local("table");
    assert_eq!(table["indexedVariables"], 100_000);
    assert_eq!(page(&mut agent, &table, 99_998).len(), 2);
    let tree = local("tree");
    assert_eq!(page(&mut agent, &tree, 9000), [pair("[9000]", "9000"), pair("[9001]", "9001")]);
    // What is too far along says so.
    let chain = local("chain");
    assert_eq!(chain["indexedVariables"], 100_000);
    assert_eq!(page(&mut agent, &chain, 7), [pair("[7]", "7"), pair("[8]", "8")]);
    assert!(page(&mut agent, &chain, 99_000)[0].1.contains("too far along"), "{chain}");
    agent.go_on(&stop);
    assert_eq!(program.line(), "done");
}
