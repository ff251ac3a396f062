//! Debug information that the machine of a process lacks: the engine asks its node for it by build-id, and the test is the node.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Agent, Build, Program, Split, line_of, program_file, source, split_program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A program without symbols and debug information, and those in a file elsewhere.
struct Stripped {
    folder: TempDir,
    program: PathBuf,
}

impl Stripped {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("values");
        let whole = program_file("values", Build::Plain);
        let done = Command::new("objcopy").arg("--strip-all").args([&whole, &program]).status();
        assert!(done.expect("binutils are there").success());
        Self { folder, program }
    }

    fn whole() -> PathBuf {
        program_file("values", Build::Plain)
    }
}

fn build_id(program: &Path) -> String {
    manta_native::dwarf::image::Image::open(program, "program")
        .unwrap()
        .build_id()
        .expect("the linker makes one")
}

/// A session with one breakpoint that has not been answered yet.
struct Asked {
    program: Program,
    agent: Agent,
    /// The number of the request.
    set: i64,
    wish: Value,
}

fn ask(file: &Path) -> Asked {
    let program = Program::start_file(file);
    let mut agent = Agent::attach_for_node(&program);
    let set = agent.send("mantaConfigure", &breakpoint_at("structs", 1));
    let wish = agent.event("mantaNeedsDebugInfo");
    Asked { program, agent, set, wish }
}

fn breakpoint_at(mark: &str, generation: u32) -> Value {
    let path = source("values");
    json!({"generation": generation, "sessionId": "00", "sources": [{
        "source": {"path": path}, "paths": [path], "breakpoints": [{"id": 1, "line": line_of("values", mark)}]}]})
}

impl Asked {
    fn tell(&mut self, more: &Value) -> Value {
        let mut arguments = json!({"buildId": self.wish["buildId"], "kind": self.wish["kind"]});
        for (key, value) in more.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        self.agent.try_request("mantaDebugInfo", &arguments)
    }

    /// What the client is told of its breakpoint.
    fn set(&mut self) -> Value {
        let answer = self.agent.response_to(self.set);
        assert_eq!(answer["success"], true, "{answer}");
        answer["body"]["breakpoints"][0].clone()
    }
}

#[test]
fn breakpoints_are_answered_when_it_has_come_and_all_is_shown() {
    let stripped = Stripped::new();
    let mut asked = ask(&stripped.program);
    assert_eq!(asked.wish["buildId"], build_id(&stripped.program).as_str());
    assert_eq!(asked.wish["kind"], "debug");
    assert_eq!(asked.wish["name"], stripped.program.to_str().unwrap());
    let told = asked.tell(&json!({"path": Stripped::whole()}));
    assert_eq!(told["success"], true, "{told}");
    let set = asked.set();
    assert_eq!(set["verified"], true, "{set}");
    assert_eq!(asked.agent.events_so_far("breakpoint"), 0, "the answer has it all");
    asked.program.go();
    let stop = asked.agent.stopped();
    assert_eq!(crate::support::at(&stop), format!("values::structs:{}", line_of("values", "structs")));
    // The guard's tables were found too, so that the stop is a task's.
    assert!(asked.agent.locals(&stop).contains(&"shared: Arc<u32> = 5".to_owned()));
    asked.agent.go_on(&stop);
    asked.program.line();
    drop(stripped.folder);
}

#[test]
fn nobody_waits_for_it_longer_than_the_node_says() {
    let stripped = Stripped::new();
    let mut asked = ask(&stripped.program);
    asked.tell(&json!({"pending": true}));
    let set = asked.set();
    assert_eq!((&set["verified"], &set["reason"]), (&json!(false), &json!("pending")), "{set}");
    assert!(set["message"].as_str().unwrap().contains("is being fetched from the cluster"), "{set}");
    // It comes later, and the client hears of it.
    asked.tell(&json!({"path": Stripped::whole()}));
    let changed = asked.agent.event("breakpoint");
    assert_eq!((&changed["breakpoint"]["id"], &changed["breakpoint"]["verified"]), (&json!(1), &json!(true)));
    asked.program.go();
    let stop = asked.agent.stopped();
    assert_eq!(stop["hitBreakpointIds"], json!([1]));
    asked.agent.go_on(&stop);
}

#[test]
fn what_nobody_has_is_said_and_asked_for_again_with_the_next_breakpoints() {
    let stripped = Stripped::new();
    let mut asked = ask(&stripped.program);
    asked.tell(&json!({"message": "no debug information for the build-id ab is on node-1"}));
    let set = asked.set();
    assert_eq!((&set["verified"], &set["reason"]), (&json!(false), &json!("failed")));
    let message = set["message"].as_str().unwrap();
    assert!(message.contains("stripped") && message.contains("build-id ab is on node-1"), "{message}");
    // Nobody has asked for this a second time.
    assert_eq!(asked.tell(&json!({"path": "/nowhere"}))["success"], false);
    asked.set = asked.agent.send("mantaConfigure", &breakpoint_at("structs", 2));
    asked.wish = asked.agent.event("mantaNeedsDebugInfo");
    asked.tell(&json!({"path": Stripped::whole()}));
    assert_eq!(asked.set()["verified"], true);
}

#[test]
fn a_file_of_another_build_or_a_damaged_one_is_refused_in_a_sentence() {
    let stripped = Stripped::new();
    let damaged = stripped.folder.path().join("damaged");
    std::fs::write(&damaged, &std::fs::read(Stripped::whole()).unwrap()[..5000]).unwrap();
    for (path, why) in [
        (program_file("tasks", Build::Plain), "is of another build"),
        (damaged, "damaged"),
        (stripped.folder.path().join("nothing"), "stripped"),
    ] {
        let mut asked = ask(&stripped.program);
        asked.tell(&json!({"path": path}));
        let set = asked.set();
        assert_eq!(set["verified"], false, "{set}");
        assert!(set["message"].as_str().unwrap().contains(why), "{set}");
        asked.program.go();
        asked.program.line();
    }
}

#[test]
fn a_newer_set_answers_the_one_before_it() {
    let stripped = Stripped::new();
    let mut asked = ask(&stripped.program);
    let second = asked.agent.send("mantaConfigure", &breakpoint_at("note", 2));
    assert_eq!(asked.set()["reason"], "pending");
    asked.tell(&json!({"path": Stripped::whole()}));
    asked.set = second;
    assert_eq!(asked.set()["verified"], true);
}

#[test]
fn the_packed_rest_of_it_comes_in_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let whole = split_program(5, Split::Packed);
    let program = folder.path().join("values");
    std::fs::copy(&whole, &program).unwrap();
    let mut asked = ask(&program);
    assert_eq!(
        (&asked.wish["kind"], asked.wish["buildId"].as_str()),
        (&json!("package"), Some(&*build_id(&whole)))
    );
    let mut package = whole.into_os_string();
    package.push(".dwp");
    asked.tell(&json!({"path": PathBuf::from(package)}));
    let set = asked.set();
    assert_eq!(set["verified"], true, "{set}");
    assert!(set.get("message").is_none(), "{set}");
    asked.program.go();
    let stop = asked.agent.stopped();
    assert!(asked.agent.locals(&stop).contains(&"shared: Arc<u32> = 5".to_owned()));
    asked.agent.go_on(&stop);
}

#[test]
fn what_comes_while_a_thread_is_held_is_told_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let whole = split_program(5, Split::Packed);
    let program = folder.path().join("values");
    std::fs::copy(&whole, &program).unwrap();
    let mut asked = ask(&program);
    asked.tell(&json!({"pending": true}));
    // Lines are in the program itself.
    assert_eq!(asked.set()["verified"], true);
    asked.program.go();
    let stop = asked.agent.stopped();
    let mut package = whole.into_os_string();
    package.push(".dwp");
    asked.tell(&json!({"path": PathBuf::from(package)}));
    let told = asked.agent.event("invalidated");
    assert_eq!(told, json!({"areas": ["stacks", "variables"], "threadId": stop["threadId"]}));
    assert!(asked.agent.locals(&stop).contains(&"shared: Arc<u32> = 5".to_owned()));
    asked.agent.go_on(&stop);
}

#[test]
fn without_the_packed_rest_the_lines_work_and_the_sentence_says_who_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("values");
    std::fs::copy(split_program(4, Split::Packed), &program).unwrap();
    let mut asked = ask(&program);
    asked.tell(&json!({"message": "no package is on node-1"}));
    let set = asked.set();
    assert_eq!(set["verified"], true, "{set}");
    let message = set["message"].as_str().unwrap();
    assert!(message.contains("Only the lines") && message.contains("no package is on node-1"), "{message}");
    asked.program.go();
    let stop = asked.agent.stopped();
    asked.agent.go_on(&stop);
}
