//! Core files that others have written, and those that are damaged.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use manta_native::core_file::Core;
use manta_native::core_file::write::{Extent, write};
use manta_native::target::{Memory, Target};

use crate::held::Held;
use crate::picture::picture;
use crate::support::{Build, program_file};

/// The kernel's own core of the fixture that dies of a bad pointer, when the kernel writes one into the working directory.
fn kernel_core(folder: &Path) -> Option<PathBuf> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim().contains(['/', '|', '%']) {
        // Cores of this machine go to a program or a folder of its own, from where a test does not fetch them.
        eprintln!("left out: the kernel's cores go to {pattern}");
        return None;
    }
    let mut command = Command::new(program_file("crash", Build::Plain));
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: setrlimit is async-signal-safe and touches no memory but its argument.
    unsafe {
        command.pre_exec(|| {
            let no_limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            match libc::setrlimit(libc::RLIMIT_CORE, &raw const no_limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut child = command.spawn().ok()?;
    let mut input = child.stdin.take()?;
    std::io::Write::write_all(&mut input, format!("{}\ngo\n", std::process::id()).as_bytes()).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "it dies of a bad pointer");
    std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).next()
}

#[test]
fn a_core_of_the_kernel_shows_where_the_program_died() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = kernel_core(folder.path()) else { return };
    let core = Core::open(&path).unwrap();
    assert_eq!(core.warnings(), [] as [&str; 0]);
    let dead = core.threads().unwrap()[0];
    let lines = picture(&core, dead);
    let frames: Vec<_> = lines.iter().filter(|line| line.contains(" at Some")).collect();
    let has = |name: &str| frames.iter().any(|frame| frame.starts_with(name));
    assert!(has("crash::far") && has("crash::main"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("address = 16")), "{lines:#?}");
}

/// Other debuggers are a second opinion on what is written, where there is one.
#[test]
fn gdb_shows_the_stack_of_a_core_that_was_written_here() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("left out: there is no gdb here");
        return;
    }
    let held = Held::at("tasks", Build::Plain, "format");
    let folder = tempfile::tempdir().unwrap();
    for extent in [Extent::Whole, Extent::Partial] {
        let path = folder.path().join(format!("{extent:?}"));
        let mut file = std::fs::File::create(&path).unwrap();
        write(&held.process.picture(&held.stopped, 0).unwrap(), extent, &mut file).unwrap();
        let gdb = Command::new("gdb")
            .args(["-nx", "-batch", "-ex", "bt", "-ex", "info threads"])
            .arg(program_file("tasks", Build::Plain))
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&gdb.stdout);
        for name in ["tasks::work", "tasks::run_task"] {
            assert!(said.contains(name), "{extent:?}: {said}{}", String::from_utf8_lossy(&gdb.stderr));
        }
    }
}

#[test]
fn what_is_no_core_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing");
    let program = program_file("tasks", Build::Plain);
    for (path, sentence) in [
        (&empty, "the core file cannot be read"),
        (&missing, "cannot be read"),
        (&program, "not a core file"),
    ] {
        let error = Core::open(path).err().expect("it is no core").to_string();
        assert!(error.contains(sentence), "{error}");
    }
}

#[test]
fn a_program_file_that_was_changed_is_not_believed() {
    let held = Held::at("tasks", Build::Plain, "format");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("tasks");
    // The same name with other content.
    std::fs::copy(program_file("values", Build::Plain), &other).unwrap();
    let mut picture = held.process.picture(&held.stopped, 0).unwrap();
    let own = program_file("tasks", Build::Plain).canonicalize().unwrap();
    for mapping in picture.mappings.iter_mut().filter(|mapping| Path::new(&mapping.name) == own) {
        mapping.name = other.to_str().unwrap().to_owned();
    }
    let mut bytes = Vec::new();
    write(&picture, Extent::Partial, &mut bytes).unwrap();
    let core = Core::parse(bytes).unwrap();
    let [warning] = core.warnings() else { panic!("{:?}", core.warnings()) };
    assert!(warning.contains("is not the file that the process ran"), "{warning}");
    assert!(core.modules().unwrap().iter().all(|module| module.path != other));
    assert!(core.read_vec(held.place, 4).is_err(), "its code is not taken from another file");
}

#[test]
fn a_core_that_was_cut_off_gives_less_and_never_nonsense() {
    let held = Held::at("tasks", Build::Plain, "format");
    let mut whole = Vec::new();
    write(&held.process.picture(&held.stopped, 0).unwrap(), Extent::Partial, &mut whole).unwrap();
    let living = picture(&held.process, held.stopped[0]);
    let mut readable = 0;
    for sixteenth in 0..16 {
        let cut = whole[..whole.len() * sixteenth / 16].to_vec();
        let Ok(core) = Core::parse(cut) else { continue };
        readable += 1;
        let lines = picture(&core, held.stopped[0]);
        assert_eq!(lines[0], living[0], "the innermost frame needs the registers only");
    }
    assert!(readable > 8, "{readable}");
}
