//! What cannot be debugged is said when the agent starts, and how well the rest can be.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Agent, Build, Program, forbid_ptrace, program_file, stripped};
use serde_json::json;

const AGENT: &str = env!("CARGO_BIN_EXE_manta-debug-agent");
/// `nobody`.
const NOBODY: u32 = 65534;

/// What an agent says that does not come to listen.
fn refusal(agent: &mut Command, pid: u32) -> String {
    let agent = agent.args(["--pid", &pid.to_string(), "--listen", "127.0.0.1:0"]);
    let output = agent.output().unwrap();
    assert!(!output.status.success());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn refused(pid: u32) -> String {
    refusal(&mut Command::new(AGENT), pid)
}

/// Ended with the test.
struct Waiting(Child);

impl Waiting {
    fn start(program: &mut Command) -> std::io::Result<Self> {
        program.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_is_not_there() {
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let said = refused(gone.id());
    assert!(said.contains(&format!("there is no process {}", gone.id())), "{said}");
}

#[test]
fn a_process_that_waits_for_its_parent() {
    let mut zombie = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    // Its pipe is closed when it has ended; it may take the kernel a little longer to make a zombie of it.
    std::io::copy(zombie.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
    let status = format!("/proc/{}/status", zombie.id());
    while !fs::read_to_string(&status).unwrap().contains("State:\tZ") {
        std::thread::yield_now();
    }
    let said = refused(zombie.id());
    assert!(said.contains("(true) has ended"), "{said}");
    zombie.wait().unwrap();
}

#[test]
fn a_thread_in_place_of_its_process() {
    let own = std::process::id().to_string();
    let (tell, told) = std::sync::mpsc::channel();
    // A thread that is there for as long as it is asked about.
    let said = std::thread::scope(|scope| {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            ended.recv()
        });
        let place = told.recv().unwrap();
        let said = refused(place.file_name().unwrap().to_str().unwrap().parse().unwrap());
        drop(end);
        said
    });
    assert!(said.contains(&format!("is a thread of the process {own}")), "{said}");
}

#[test]
fn a_process_that_is_debugged_already() {
    // A program that knows nothing of the guard.
    let cat = Waiting::start(&mut Command::new("cat")).unwrap();
    let (agent, _) = Agent::attach_to(cat.0.id());
    let said = refused(cat.0.id());
    assert!(said.contains(&format!("debugged already, by the process {}", agent.pid())), "{said}");
    assert!(said.contains("end that debugger first"), "{said}");
}

#[test]
fn a_process_of_another_user() {
    if nix::unistd::geteuid().is_root() {
        // The agent as nobody, from where nobody can start it.
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let agent = folder.path().join("agent");
        // By a process of its own: while this one has the copy open to write it, a program that another test starts would have
        // it open too, and what somebody writes cannot be run.
        assert!(Command::new("cp").arg(AGENT).arg(&agent).status().unwrap().success());
        let own = Waiting::start(&mut Command::new("cat")).unwrap();
        let said = refusal(Command::new(&agent).uid(NOBODY).gid(NOBODY), own.0.id());
        assert!(said.contains("belongs to root (uid 0), and this agent runs as"), "{said}");
        assert!(said.contains("(uid 65534)") && said.contains("CAP_SYS_PTRACE"), "{said}");
    } else {
        let said = refused(1);
        assert!(said.contains("belongs to root (uid 0), and this agent runs as"), "{said}");
    }
}

#[test]
fn a_thread_of_the_kernel() {
    let is_of_kernel = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.starts_with(&format!("{pid} (kthreadd)"))
    };
    // In a namespace of its own a container sees none.
    if let Some(pid) = Some(2).filter(is_of_kernel) {
        let said = refused(pid);
        assert!(said.contains("(kthreadd) is a thread of the kernel"), "{said}");
    }
}

/// A program for 32-bit x86 that waits: `pause`, again and again.
fn write_32_bit(path: &Path) {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let bytes = HEADERS + code.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, halves: &[u16]| {
        file.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, words: &[u32]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    // See elf(5): executable, i386; then one segment that is the whole file.
    halves(&mut file, &[2, 3]);
    words(&mut file, &[1, BASE + HEADERS, 52, 0, 0]);
    halves(&mut file, &[52, 32, 1, 40, 0, 0]);
    words(&mut file, &[1, 0, BASE, BASE, bytes, bytes, 5, 0x1000]);
    file.extend(code);
    let mut out = fs::File::create(path).unwrap();
    out.write_all(&file).unwrap();
    out.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_32_bit_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow");
    write_32_bit(&path);
    match Waiting::start(&mut Command::new(&path)) {
        Ok(narrow) => {
            let said = refused(narrow.0.id());
            assert!(said.contains("for 32-bit x86; this engine debugs 64-bit programs"), "{said}");
        }
        // A kernel without 32-bit programs.
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}"),
    }
}

#[test]
fn a_system_that_forbids_ptrace() {
    // A program that knows nothing of the guard.
    let cat = Waiting::start(&mut Command::new("cat")).unwrap();
    let said = refusal(forbid_ptrace(&mut Command::new(AGENT)), cat.0.id());
    assert!(said.contains("may not be debugged") && said.contains("seccomp"), "{said}");
    assert!(said.contains("cannot be debugged in-process either") && said.contains("manta-guard"), "{said}");
}

#[test]
fn an_agent_says_how_well_it_can_debug() {
    let program = Program::start("tasks", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    let said = agent.event("output");
    assert_eq!(said["category"], "console");
    assert!(said["output"].as_str().unwrap().starts_with("Debugging level: full."), "{said}");
    // A program that knows nothing of the guard.
    let cat = Waiting::start(&mut Command::new("cat")).unwrap();
    let (mut agent, _) = Agent::attach_to(cat.0.id());
    let said = agent.event("output")["output"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Debugging level: debug registers only"), "{said}");
    assert!(said.contains("3 breakpoints and data breakpoints together"), "{said}");
    let said = agent.event("output")["output"].as_str().unwrap().to_owned();
    assert!(said.contains("has no debug information"), "{said}");
    agent.request("disconnect", &json!({}));
}

#[test]
fn a_stripped_program_is_told_when_the_agent_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = stripped(folder.path());
    assert_ne!(fs::read(&file).unwrap(), fs::read(program_file("tasks", Build::Plain)).unwrap());
    let program = Program::start_file(&file);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.event("output");
    let said = agent.event("output")["output"].as_str().unwrap().to_owned();
    assert!(said.contains("has no debug information: it was stripped"), "{said}");
}
