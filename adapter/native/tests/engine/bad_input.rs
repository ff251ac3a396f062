//! What is wrong with a program, a source or a request is said in a sentence, where the client looks for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::{Agent, Build, Program, line_of, source, stripped};
use serde_json::{Value, json};

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_else(|| panic!("a sentence is missing: {answer}"))
}

#[test]
fn a_stripped_program_says_so_and_shows_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start_file(&stripped(folder.path()));
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    let lines =
        json!({"source": {"path": source("tasks")}, "breakpoints": [{"line": line_of("tasks", "add")}]});
    let set = agent.request("setBreakpoints", &lines);
    assert_eq!(set["breakpoints"][0]["verified"], false);
    assert!(message(&set["breakpoints"][0]).contains("no debug information: it was stripped"), "{set}");
    let set = agent.request("setFunctionBreakpoints", &json!({"breakpoints": [{"name": "work"}]}));
    assert!(message(&set["breakpoints"][0]).contains("no debug information"), "{set}");
    agent.request("configurationDone", &json!({}));
    let threads = agent.request("threads", &json!({}));
    agent.request("pause", &json!({"threadId": threads["threads"][0]["id"]}));
    let stop = agent.event("stopped");
    let stack = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let frames = stack["stackFrames"].as_array().unwrap();
    assert!(!frames.is_empty());
    for frame in frames {
        assert!(!frame["name"].as_str().unwrap().is_empty(), "{frame}");
        let scopes = agent.request("scopes", &json!({"frameId": frame["id"]}));
        assert!(scopes["scopes"].as_array().unwrap().iter().any(|scope| scope["name"] == "Registers"));
    }
    let frame = &frames[frames.len() - 1]["id"];
    let refused = agent.try_request("evaluate", &json!({"expression": "1 + x", "frameId": frame}));
    assert_eq!(refused["success"], false);
    assert!(message(&refused).contains("no debug information"), "{refused}");
    agent.request("disconnect", &json!({}));
    program.go();
    assert!(program.line().starts_with("results"));
    program.ends_well();
}

/// A program of its own, whose source a test can change. It waits for a line.
struct Small {
    child: Child,
    source: PathBuf,
    _folder: tempfile::TempDir,
}

const SMALL: &str = "fn main() {\n    let mut line = String::new();\n    std::io::stdin().read_line(&mut line).unwrap();\n    \
    println!(\"{line}\");\n}\n";
/// What `sha256sum` says of it.
const SMALL_SHA256: &str = "2afa9286cbe5454371c3b6dcd61372ac7aa8bd1c6390191a2bad5124a166b775";

impl Small {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("small.rs");
        fs::write(&source, SMALL).unwrap();
        let program = folder.path().join("small");
        let mut rustc = Command::new("rustc");
        rustc.arg("-g").arg("-o").arg(&program).arg(&source);
        assert!(rustc.status().unwrap().success(), "the program is built");
        let child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, source, _folder: folder }
    }

    /// Sets a breakpoint in a source whose hash is this.
    fn breakpoint(&self, agent: &mut Agent, sha256: &str) -> Value {
        let checksums =
            json!([{"algorithm": "MD5", "checksum": "00"}, {"algorithm": "SHA256", "checksum": sha256}]);
        let lines =
            json!({"source": {"path": self.source, "checksums": checksums}, "breakpoints": [{"line": 4}]});
        agent.request("setBreakpoints", &lines)["breakpoints"][0].clone()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_source_that_was_changed_is_told() {
    let small = Small::start();
    let (mut agent, _) = Agent::attach_to(small.child.id());
    agent.request("attach", &json!({}));
    let set = small.breakpoint(&mut agent, SMALL_SHA256);
    assert_eq!((&set["verified"], set.get("message")), (&json!(true), None), "{set}");
    // The client shows something else.
    let set = small.breakpoint(&mut agent, &"0".repeat(64));
    assert_eq!(set["verified"], true);
    assert!(
        message(&set).contains("its checksum differs") && message(&set).contains("build the program"),
        "{set}"
    );
    // What it shows is what is there, but that is not what was built.
    let later = SystemTime::now() + Duration::from_secs(3600);
    File::options().write(true).open(&small.source).unwrap().set_modified(later).unwrap();
    let set = small.breakpoint(&mut agent, SMALL_SHA256);
    assert!(message(&set).contains("is newer than the program"), "{set}");
}

#[test]
fn a_source_that_is_not_here_is_refused_with_its_path() {
    let program = Program::start("tasks", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    let all = agent.request("loadedSources", &json!({}));
    let paths = all["sources"].as_array().unwrap().iter().filter_map(|source| source["path"].as_str());
    let missing =
        paths.into_iter().find(|path| !Path::new(path).exists()).expect("the library's sources are not here");
    let refused = agent.try_request("source", &json!({"source": {"path": missing}, "sourceReference": 0}));
    assert!(
        message(&refused).contains(missing) && message(&refused).contains("cannot be read here"),
        "{refused}"
    );
}

fn stopped_at(name: &str, mark: &str, build: Build) -> (Program, Agent, Value) {
    let mut program = Program::start(name, build);
    let mut agent = Agent::attach(&program);
    agent.configure(name, &[(mark, json!({}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

#[test]
fn expressions_that_are_none_or_read_bad_memory_are_refused() {
    let (_program, mut agent, stop) = stopped_at("crash", "far", Build::Plain);
    for (expression, sentence) in [
        ("1 +", "ends too early"),
        ("((pointer)", "missing"),
        ("pointer.read()", "cannot be evaluated"),
        ("nobody", "no variable"),
        ("*pointer", "at 0x10"),
        ("1 / 0", "zero"),
        ("pointer.field", "no field \"field\""),
        ("address[3]", "no elements"),
        ("", "ends too early"),
    ] {
        let arguments =
            json!({"expression": expression, "frameId": stop["topFrame"]["id"], "context": "watch"});
        let refused = agent.try_request("evaluate", &arguments);
        // A value that cannot be read is a value: the client shows it in its place.
        let said = if refused["success"] == true { &refused["body"]["result"] } else { &refused["message"] };
        let said = said.as_str().unwrap();
        assert!(said.contains(sentence), "{expression:?}: {said}");
    }
}

#[test]
fn a_variable_is_not_set_to_another_type() {
    let (program, mut agent, stop) = stopped_at("values", "numbers", Build::Plain);
    let reference = agent.locals_reference(&stop);
    for (name, value, sentence) in [
        ("small", "\"text\"", "i8"),
        ("small", "true", "i8"),
        ("small", "1.5", "i8"),
        ("small", "1000", "does not fit"),
        ("truth", "7", "bool"),
        ("letter", "\"long\"", "char"),
        ("half", "'x'", "f32"),
        ("unit", "1", "()"),
        ("nobody", "1", "nobody"),
    ] {
        let set = json!({"variablesReference": reference, "name": name, "value": value});
        let refused = agent.try_request("setVariable", &set);
        assert_eq!(refused["success"], false, "{name} = {value}: {refused}");
        assert!(message(&refused).contains(sentence), "{name} = {value}: {refused}");
    }
    agent.go_on(&stop);
    assert_eq!(program.line(), "sum 5 origin 0 caught true");
}

/// Everything of a page, with a bound on how long a line may be.
fn page(agent: &mut Agent, reference: &Value, start: u64, count: u64) -> Vec<Value> {
    let body =
        agent.request("variables", &json!({"variablesReference": reference, "start": start, "count": count}));
    let page = body["variables"].as_array().unwrap().clone();
    for variable in &page {
        assert!(variable["value"].as_str().unwrap().len() < 5000, "{variable}");
    }
    page
}

#[test]
fn values_without_an_end_are_shown_in_parts() {
    let (program, mut agent, stop) = stopped_at("large", "large", Build::Plain);
    let reference = json!(agent.locals_reference(&stop));
    let locals = page(&mut agent, &reference, 0, 0);
    let named = |name: &str| locals.iter().find(|local| local["name"] == name).unwrap();
    for (name, count) in [("million", 1_000_000), ("table", 100_000), ("ordered", 100_000)] {
        let local = named(name);
        assert_eq!(local["indexedVariables"], count, "{local}");
        let reference = &local["variablesReference"];
        // Without a page the answer is cut; the last page is as near as the first.
        assert!(page(&mut agent, reference, 0, 0).len() <= 501);
        let last = page(&mut agent, reference, count - 2, 5);
        assert!(last.len() <= 5, "{last:?}");
        assert!(page(&mut agent, reference, count * 10, 5).len() <= 1);
    }
    let last = page(&mut agent, &named("million")["variablesReference"], 999_999, 1);
    assert_eq!(last[0]["value"], "999999");
    assert!(named("text")["value"].as_str().unwrap().contains("xxx"));
    // A ring of two, and a chain of ten thousand: as deep as anybody opens them.
    for (name, depth) in [("first", 60), ("chain", 60)] {
        let mut at = named(name).clone();
        let mut opened = 0;
        while opened < depth {
            let parts = page(&mut agent, &at["variablesReference"], 0, 0);
            let deeper = parts.into_iter().find(|part| part["variablesReference"] != 0);
            at = deeper.unwrap_or_else(|| panic!("{name} ends after {opened}: {at}"));
            opened += 1;
        }
    }
    agent.go_on(&stop);
    assert!(program.line().starts_with("large "));
}

/// The process ends while a client is in the middle of something. What is asked then is answered, with a sentence if it cannot be
/// done, and the end is told.
fn dies(during: impl FnOnce(&mut Agent, &Value)) {
    let mut program = Program::start("tasks", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    let lines =
        json!({"source": {"path": source("tasks")}, "breakpoints": [{"line": line_of("tasks", "first")}]});
    agent.request("setBreakpoints", &lines);
    agent.request("configurationDone", &json!({}));
    program.go();
    let stop = agent.event("stopped");
    let stack = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    program.kill();
    during(&mut agent, &json!({"threadId": stop["threadId"], "frameId": stack["stackFrames"][0]["id"]}));
    agent.event("exited");
    agent.event("terminated");
}

#[test]
fn a_process_that_dies_at_a_stop_is_told_of() {
    dies(|_, _| {});
}

#[test]
fn a_process_that_dies_while_it_is_looked_at_is_told_of() {
    for (command, extra) in [
        ("scopes", json!({})),
        ("stackTrace", json!({})),
        ("evaluate", json!({"expression": "n + 1"})),
        ("continue", json!({})),
        ("next", json!({})),
        ("pause", json!({})),
        (
            "setBreakpoints",
            json!({"source": {"path": source("tasks")}, "breakpoints": [{"line": line_of("tasks", "s0")}]}),
        ),
        ("threads", json!({})),
    ] {
        dies(|agent, ids| {
            let mut arguments = extra;
            for (key, id) in ids.as_object().unwrap() {
                arguments[key] = id.clone();
            }
            // Whether the agent knew already decides which of the two it is.
            match agent.last_request(command, &arguments) {
                Some(answer) if answer["success"] == false => {
                    assert!(!message(&answer).is_empty(), "{command}");
                }
                _ => {}
            }
        });
    }
}
