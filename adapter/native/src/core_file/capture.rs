//! The picture of a living process whose threads all stand still.

use std::fs;
use std::io;

use super::notes::{GENERAL_WORDS, VECTOR_BYTES};
use super::write::{Picture, ThreadPicture};
use crate::address::Tid;
use crate::mappings;
use crate::ptrace::Process;
use crate::tracer::Tracer;

impl Process {
    /// A picture of the process. `stopped` are its threads, each in a stop of ptrace, the one that matters first; `signal` is
    /// what that one was about to take, or 0.
    pub fn picture(&self, stopped: &[Tid], signal: i32) -> io::Result<Picture<'_>> {
        let file = |name: &str| format!("/proc/{}/{name}", self.pid);
        let arguments = fs::read(file("cmdline"))?;
        let arguments = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
        let mut threads = Vec::with_capacity(stopped.len());
        for (index, tid) in stopped.iter().enumerate() {
            threads.push(thread_picture(self, *tid, if index == 0 { signal } else { 0 })?);
        }
        Ok(Picture {
            pid: self.pid,
            name: fs::read_to_string(file("comm"))?.trim_end().to_owned(),
            arguments,
            auxiliary: fs::read(file("auxv"))?,
            threads,
            mappings: mappings::parse(&fs::read_to_string(file("maps"))?),
            memory: self,
        })
    }
}

/// The picture of a thread that stands still.
pub(crate) fn thread_picture(process: &dyn Tracer, tid: Tid, signal: i32) -> io::Result<ThreadPicture> {
    let general = process.kernel_registers(tid)?;
    let vector = process.kernel_vector_registers(tid)?;
    // SAFETY: both are plain data of exactly this size without padding, as the kernel defines them.
    let (general, vector) = unsafe {
        (
            std::mem::transmute::<libc::user_regs_struct, [u64; GENERAL_WORDS]>(general),
            std::mem::transmute::<libc::user_fpregs_struct, [u8; VECTOR_BYTES]>(vector),
        )
    };
    Ok(ThreadPicture { tid, signal, general, vector: vector.to_vec() })
}
