//! One program, its debug information in every form that compilers and distributions give it: the engine shows the same. What
//! is missing or wrong is told in a sentence, and the rest works.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Agent, Build, Program, Split, line_of, program_file, source, split_program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a user sees at two places: stack, variables, and one value opened.
#[derive(Debug, PartialEq)]
struct Picture {
    stack: Vec<String>,
    variables: Vec<String>,
    inside: Vec<String>,
    inlined: Vec<String>,
}

/// Where else the agent looks for debug files.
fn variables_of(directory: Option<&Path>) -> Vec<(&'static str, PathBuf)> {
    directory.map(|directory| ("MANTA_DEBUG_PATH", directory.to_owned())).into_iter().collect()
}

struct Session {
    program: Program,
    agent: Agent,
}

impl Session {
    fn start(file: &Path, directory: Option<&Path>) -> Self {
        let program = Program::start_file(file);
        let agent = Agent::attach_with(&program, &variables_of(directory));
        Self { program, agent }
    }

    /// Sets breakpoints at marks. Gives what the client is told of the first.
    fn set(&mut self, marks: &[&str]) -> Value {
        let marks: Vec<_> = marks.iter().map(|mark| (*mark, json!({}))).collect();
        self.agent.configure("values", &marks)["breakpoints"][0].clone()
    }

    fn symbol_status(&mut self, file: &Path) -> String {
        let body = self.agent.request("modules", &json!({}));
        let modules = body["modules"].as_array().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let own = modules.iter().find(|module| module["name"] == name).unwrap();
        own["symbolStatus"].as_str().unwrap().to_owned()
    }
}

fn picture(file: &Path, directory: Option<&Path>) -> Picture {
    let mut session = Session::start(file, directory);
    let set = session.set(&["structs", "note"]);
    assert_eq!(set["verified"], true, "{set}");
    assert!(set.get("message").is_none(), "{set}");
    assert_eq!(session.symbol_status(file), "Debug information loaded");
    session.program.go();
    let agent = &mut session.agent;
    let stop = agent.stopped();
    let locals = agent.locals_reference(&stop);
    let body = agent.request("variables", &json!({"variablesReference": locals}));
    let variables = body["variables"].as_array().unwrap();
    let list = variables.iter().find(|variable| variable["name"] == "list").unwrap();
    let list = list["variablesReference"].as_i64().unwrap();
    let (mut variables, inside, stack) = (agent.variables(locals), agent.variables(list), agent.stack(&stop));
    // Its order is another one in each run.
    variables.retain(|line| !line.starts_with("map:"));
    agent.go_on(&stop);
    // Called once directly and once through an inlined function.
    let stop = agent.stopped();
    agent.go_on(&stop);
    let stop = agent.stopped();
    let inlined = agent.stack(&stop);
    Picture { stack, variables, inside, inlined }
}

/// Copies of a program's files in a folder of their own.
fn copied(file: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(file.file_name().unwrap());
    std::fs::copy(file, &copy).unwrap();
    (folder, copy)
}

fn objcopy(arguments: &[&str], files: &[&Path]) {
    let done = Command::new("objcopy").args(arguments).args(files).status().expect("binutils are there");
    assert!(done.success());
}

/// The program without its debug information, and that in a file beside it.
fn stripped(build: Build, how: &str) -> (TempDir, PathBuf, PathBuf) {
    let (folder, program) = copied(&program_file("values", build));
    let debug = folder.path().join("values.debug");
    objcopy(&["--only-keep-debug"], &[&program, &debug]);
    objcopy(&[how], &[&program]);
    (folder, program, debug)
}

fn same_as_whole(build: Build, form: &Picture) {
    assert_eq!(&picture(&program_file("values", build), None), form);
}

#[test]
fn a_program_file_shows_itself() {
    let whole = picture(&program_file("values", Build::Plain), None);
    assert_eq!(whole.stack[0], format!("values::structs:{}", line_of("values", "structs")));
    assert!(whole.variables.contains(&"shared: Arc<u32> = 5".to_owned()), "{whole:?}");
    assert_eq!(whole, picture(&program_file("values", Build::Dwarf5), None));
}

#[test]
fn packed_debug_information_of_version_4() {
    same_as_whole(Build::Plain, &picture(&split_program(4, Split::Packed), None));
}

#[test]
fn packed_debug_information_of_version_5() {
    same_as_whole(Build::Dwarf5, &picture(&split_program(5, Split::Packed), None));
}

#[test]
fn unpacked_debug_information_of_version_4() {
    same_as_whole(Build::Plain, &picture(&split_program(4, Split::Unpacked), None));
}

#[test]
fn unpacked_debug_information_of_version_5() {
    same_as_whole(Build::Dwarf5, &picture(&split_program(5, Split::Unpacked), None));
}

#[test]
fn compressed_sections() {
    for (build, format) in
        [(Build::Plain, "zlib"), (Build::Dwarf5, "zlib"), (Build::Plain, "zstd"), (Build::Dwarf5, "zstd")]
    {
        let (_folder, program) = copied(&program_file("values", build));
        objcopy(&[&format!("--compress-debug-sections={format}")], &[&program]);
        same_as_whole(build, &picture(&program, None));
    }
}

#[test]
fn a_separate_file_that_the_program_names() {
    let (_folder, program, debug) = stripped(Build::Plain, "--strip-debug");
    let link = format!("--add-gnu-debuglink={}", debug.display());
    objcopy(&[&link], &[&program]);
    same_as_whole(Build::Plain, &picture(&program, None));
}

#[test]
fn a_separate_file_by_its_build_id() {
    // Without any names in the program: those come from the file as well.
    let (folder, program, debug) = stripped(Build::Dwarf5, "--strip-all");
    let id = build_id(&program);
    let place = folder.path().join("store/.build-id").join(&id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::rename(debug, place.join(format!("{}.debug", &id[2..]))).unwrap();
    same_as_whole(Build::Dwarf5, &picture(&program, Some(&folder.path().join("store"))));
}

fn build_id(program: &Path) -> String {
    let image = manta_native::dwarf::image::Image::open(program, "program").unwrap();
    image.build_id().expect("the linker makes one")
}

#[test]
fn a_stripped_program_says_what_it_lacks() {
    let (_folder, program, _debug) = stripped(Build::Plain, "--strip-debug");
    let mut session = Session::start(&program, None);
    let set = session.set(&["structs"]);
    assert_eq!(set["verified"], false, "{set}");
    let message = set["message"].as_str().unwrap();
    assert!(message.contains("no debug information") && message.contains("debug = \"full\""), "{message}");
    assert_eq!(session.symbol_status(&program), "No debug information; symbols only");
    session.program.go();
    session.program.line();
    session.program.ends_well();
}

#[test]
fn a_separate_file_of_another_build_is_not_used() {
    let (folder, program, debug) = stripped(Build::Plain, "--strip-debug");
    let link = format!("--add-gnu-debuglink={}", debug.display());
    objcopy(&[&link], &[&program]);
    std::fs::copy(program_file("tasks", Build::Plain), folder.path().join("values.debug")).unwrap();
    let mut session = Session::start(&program, None);
    let set = session.set(&["structs"]);
    assert_eq!(set["verified"], false, "{set}");
    let message = set["message"].as_str().unwrap();
    assert!(message.contains("values.debug is of another build"), "{message}");
    let status = session.symbol_status(&program);
    assert!(status.contains("values.debug is of another build"), "{status}");
}

/// A breakpoint at a program whose split part cannot be used: its line works, and the sentence says what does not.
fn lines_only(file: &Path, why: &str) {
    let mut session = Session::start(file, None);
    let set = session.set(&["structs"]);
    assert_eq!(set["verified"], true, "{set}");
    assert_eq!(set["line"], line_of("values", "structs"));
    let message = set["message"].as_str().unwrap();
    assert!(message.contains("not its variables") && message.contains(why), "{message}");
    let status = session.symbol_status(file);
    assert!(status.starts_with("Lines only for ") && status.contains(why), "{status}");
    session.program.go();
    let stop = session.agent.stopped();
    let line = line_of("values", "structs");
    assert_eq!(session.agent.stack(&stop)[0], format!("values::structs:{line}"));
    let scopes = session.agent.try_request("scopes", &json!({"frameId": stop["topFrame"]["id"]}));
    assert_eq!(scopes["success"], true, "{scopes}");
    session.agent.go_on(&stop);
    session.program.line();
}

#[test]
fn a_missing_package_leaves_the_lines() {
    for version in [4, 5] {
        let (_folder, program) = copied(&split_program(version, Split::Packed));
        lines_only(&program, "is there");
    }
}

#[test]
fn parts_in_a_folder_that_was_named_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/c/entry.c");
    let (program, store) = (folder.path().join("program"), folder.path().join("store"));
    std::fs::create_dir(&store).unwrap();
    let mut compiler = Command::new("cc");
    compiler.current_dir(folder.path()).args(["-g", "-gsplit-dwarf", "-gdwarf-5", "-O1"]);
    assert!(compiler.arg(&source).args(["-o", "program"]).status().unwrap().success());
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let parts: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|of| of == "dwo")).collect();
    let [part] = parts.as_slice() else { panic!("one part: {parts:?}") };
    std::fs::rename(part, store.join(part.file_name().unwrap())).unwrap();
    let text = std::fs::read_to_string(&source).unwrap();
    let line = text.lines().position(|line| line.ends_with("// @entry")).unwrap() + 1;
    for directory in [Some(store.as_path()), None] {
        let mut session = Session::start(&program, directory);
        let breakpoints = json!([{"id": 1, "line": line}]);
        let sources = json!([{"source": {"path": source}, "paths": [source], "breakpoints": breakpoints}]);
        let configuration = json!({"generation": 1, "sessionId": "00", "sources": sources});
        let set = session.agent.request("mantaConfigure", &configuration)["breakpoints"][0].clone();
        assert_eq!(set["verified"], true, "{set}");
        let message = set["message"].as_str().unwrap_or_default();
        assert_eq!(message.contains("no folder of MANTA_DEBUG_PATH"), directory.is_none(), "{set}");
        session.program.go();
        let stop = session.agent.stopped();
        assert_eq!(session.agent.evaluate(&stop, "seed + 1") == "17", directory.is_some());
        session.agent.go_on(&stop);
        assert_eq!(session.program.line(), "sum 32");
    }
}

#[test]
fn a_package_of_another_build_is_not_used() {
    let (folder, program) = copied(&split_program(4, Split::Packed));
    let mut other = split_program(5, Split::Packed).into_os_string();
    other.push(".dwp");
    std::fs::copy(other, folder.path().join("values.dwp")).unwrap();
    lines_only(&program, "values.dwp is of another build");
}

#[test]
fn a_damaged_package_is_not_used() {
    let (folder, program) = copied(&split_program(5, Split::Packed));
    std::fs::write(folder.path().join("values.dwp"), "no package").unwrap();
    lines_only(&program, "values.dwp is not an ELF file");
}

#[test]
fn damaged_compressed_sections_are_told() {
    let (_folder, program) = copied(&program_file("values", Build::Plain));
    objcopy(&["--compress-debug-sections=zlib"], &[&program]);
    let mut bytes = std::fs::read(&program).unwrap();
    let range = compressed_range(&bytes, ".debug_info");
    let middle = (range.start + range.end) / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&program, bytes).unwrap();
    let mut session = Session::start(&program, None);
    let set = session.set(&["structs"]);
    assert_eq!(set["verified"], false, "{set}");
    let message = set["message"].as_str().unwrap();
    assert!(message.contains("its section .debug_info cannot be unpacked"), "{message}");
    session.program.go();
    session.program.line();
}

fn compressed_range(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    use object::{Object, ObjectSection};
    let file = object::File::parse(bytes).unwrap();
    let (start, size) = file.section_by_name(name).unwrap().file_range().unwrap();
    start as usize..(start + size) as usize
}

#[test]
fn the_source_of_every_form_is_the_same_file() {
    let mut session = Session::start(&split_program(5, Split::Packed), None);
    let sources = session.agent.request("loadedSources", &json!({}));
    let path = json!(source("values"));
    assert!(sources["sources"].as_array().unwrap().iter().any(|own| own["path"] == path));
}
