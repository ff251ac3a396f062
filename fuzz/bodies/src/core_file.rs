//! The reader of core files.

use manta_native::address::Address;
use manta_native::core_file::Core;
use manta_native::dwarf::modules::Modules;
use manta_native::dwarf::unwind::Unwinder;
use manta_native::engine::stops::Stack;
use manta_native::limits::FRAMES_MAX;
use manta_native::target::{Memory, Target};

/// Threads that are looked at.
const THREADS_MAX: usize = 8;

/// Reads a core file, and walks the stacks of its threads.
pub fn run(data: &[u8]) {
    let Ok(core) = Core::parse(data.to_vec()) else { return };
    let _ = core.modules();
    // The files that a core names are this machine's: what is found must not hang on them, and each that is read stays mapped.
    let modules = Modules::of_images(Vec::new());
    for tid in core.threads().unwrap_or_default().into_iter().take(THREADS_MAX) {
        let Ok(registers) = core.registers(tid) else { continue };
        let stack = Stack::walk(&modules, &core, &Unwinder::default(), &registers, 0, FRAMES_MAX);
        assert!(!stack.frames.is_empty(), "a thread is somewhere");
        for bytes in [0, 1, 8, 5000] {
            let _ = core.read_vec(Address(registers.sp()), bytes);
            let _ = core.read_vec(Address(registers.pc()), bytes);
        }
    }
    assert!(core.write(Address(0), &[0]).is_err());
}
