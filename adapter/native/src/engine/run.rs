//! Threads that stop and go: what the kernel reports, and how a thread runs on past whatever is set where it is.

use std::io;

use iced_x86::{Instruction, OpKind, Register};

use super::Engine;
use super::exceptions::Fatal;
use super::relocate::PastPatch;
use super::sites::Site;
use super::stops::Reason;
use super::threads::{DEBUG_REGISTERS, DebugRegister, State};
use super::traps::will_call_again;
use crate::address::{Address, Tid};
use crate::target::{Memory, Target};
use crate::tracer::{Go, Waited};

/// Makes the processor pass a debug register at the present instruction, once.
const RESUME_FLAG: u64 = 1 << 16;
/// The register that turns debug registers on.
const DEBUG_CONTROL: usize = 7;

impl Engine {
    /// A thread did something.
    pub fn on_wait(&mut self, tid: Tid, waited: Waited) {
        match waited {
            Waited::Exited(code) => self.on_end(tid, code),
            Waited::Killed(signal) => self.on_end(tid, 128 + signal),
            _ => {
                self.on_stop(tid, waited);
                self.interrupt_again(tid);
            }
        }
    }

    /// An interrupt that was on its way is lost when the thread stops for something else first.
    fn interrupt_again(&mut self, tid: Tid) {
        if let Some(thread) = self.threads.get_mut(tid)
            && thread.pause_wanted
            && matches!(thread.state, State::Running)
        {
            thread.interrupt_pending = self.process.interrupt(tid).is_ok();
        }
    }

    fn on_stop(&mut self, tid: Tid, waited: Waited) {
        self.look_for_threads();
        if self.threads.get(tid).is_none() {
            // Made by a thread that is traced. The kernel gives it no debug registers.
            let none = Some([DebugRegister::default(); DEBUG_REGISTERS]);
            self.threads.add(tid, State::Starting, none).is_announced = false;
            self.on_new_thread(tid);
        }
        let Some(thread) = self.threads.get_mut(tid) else { return };
        thread.state = State::Running;
        thread.interrupt_pending = false;
        thread.trap_pending = false;
        thread.registers = None;
        thread.judged = None;
        thread.registers_changed = false;
        thread.signal = 0;
        match waited {
            Waited::Signal(libc::SIGTRAP) => self.on_trap(tid),
            Waited::Signal(signal) => self.on_signal(tid, signal),
            Waited::Event { event: libc::PTRACE_EVENT_CLONE, .. } => {
                if let Ok(new) = self.process.event_number(tid) {
                    let new = Tid(new as i32);
                    if self.threads.announce(new) {
                        let none = Some([DebugRegister::default(); DEBUG_REGISTERS]);
                        self.threads.add(new, State::Starting, none);
                        self.on_new_thread(new);
                    }
                }
                self.go(tid, 0);
            }
            Waited::Event { event: libc::PTRACE_EVENT_EXEC, .. } => self.on_exec(tid),
            Waited::Event { event: libc::PTRACE_EVENT_STOP, signal: libc::SIGTRAP } => {
                self.on_interrupted(tid);
            }
            Waited::Event { event: libc::PTRACE_EVENT_STOP, .. } => {
                if let Some(thread) = self.threads.get_mut(tid) {
                    thread.state = State::GroupStopped;
                }
                // When this fails the thread is gone, and its end is reported.
                let _ = self.process.listen(tid);
            }
            _ => self.go(tid, 0),
        }
    }

    /// A thread is about to take a signal. It is held before one that ends the program, if the user wants that; when it runs
    /// on it takes the signal.
    fn on_signal(&mut self, tid: Tid, signal: i32) {
        if !self.configuration.stop_at_signals || !self.may_stop(tid) {
            return self.go(tid, signal);
        }
        let (Ok(info), Ok(registers)) = (self.process.signal_info(tid), self.registers(tid)) else { return };
        let Some(fatal) = Fatal::of(signal, &info, registers.rsp) else { return self.go(tid, signal) };
        let Some(thread) = self.threads.get_mut(tid) else { return };
        // The standard library's own handler gives back a signal that is not about its stacks: the same one comes twice.
        let seen = Some((signal, registers.rip));
        if std::mem::replace(&mut thread.seen_signal, seen) == seen {
            return self.go(tid, signal);
        }
        self.hold(tid, Reason::Signal(fatal));
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.signal = signal;
        }
    }

    fn on_interrupted(&mut self, tid: Tid) {
        let trap_pending = self.process.has_pending(tid, libc::SIGTRAP).unwrap_or(false);
        let Some(thread) = self.threads.get_mut(tid) else { return };
        thread.trap_pending = trap_pending;
        if std::mem::take(&mut thread.pause_wanted) {
            self.hold(tid, Reason::Pause);
        } else {
            self.go(tid, 0);
        }
    }

    fn on_end(&mut self, tid: Tid, code: i32) {
        self.looks.forget(tid);
        self.forget_stop(tid, false);
        if let Some(thread) = self.threads.remove(tid) {
            self.on_thread_ended(thread.id);
        }
        self.set_step_traps(tid);
        self.synced(tid);
        if tid.0 == self.process.pid() || self.threads.is_empty() {
            self.on_process_ended(code);
        }
    }

    /// The process has become another program: nothing that is known of it holds any more.
    fn on_exec(&mut self, tid: Tid) {
        self.outbox
            .console("The process has replaced its program (exec), and is not debugged any further.\n");
        self.causes.clear();
        self.sites = super::sites::Sites::default();
        self.guard = None;
        self.loader = None;
        let _ = self.process.detach(tid, 0);
        self.on_process_ended(0);
    }

    /// The registers of a thread that is in a stop; read once for each stop.
    pub(crate) fn registers(&mut self, tid: Tid) -> io::Result<libc::user_regs_struct> {
        if let Some(registers) = self.threads.get(tid).and_then(|thread| thread.registers) {
            return Ok(registers);
        }
        let registers = self.process.kernel_registers(tid)?;
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.registers = Some(registers);
        }
        Ok(registers)
    }

    /// Changes registers; they are written before the thread runs.
    pub(crate) fn change_registers(
        &mut self,
        tid: Tid,
        change: impl FnOnce(&mut libc::user_regs_struct),
    ) -> io::Result<()> {
        let mut registers = self.registers(tid)?;
        change(&mut registers);
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.registers = Some(registers);
            thread.registers_changed = true;
        }
        Ok(())
    }

    /// Writes changed registers now.
    pub(crate) fn write_registers(&mut self, tid: Tid) -> io::Result<()> {
        let Some(thread) = self.threads.get_mut(tid) else { return Ok(()) };
        if let (true, Some(registers)) = (thread.registers_changed, thread.registers) {
            self.process.set_kernel_registers(tid, &registers)?;
            thread.registers_changed = false;
        }
        Ok(())
    }

    /// Lets a stopped thread run on, with its step if it makes one, past what is set where it is.
    pub(crate) fn go(&mut self, tid: Tid, signal: i32) {
        // A thread that cannot be told to go has been killed; its end is reported by itself.
        if let Err(error) = self.try_to_go(tid, signal) {
            tracing::debug!(%tid, %error, "a thread could not be resumed");
        }
    }

    fn try_to_go(&mut self, tid: Tid, signal: i32) -> io::Result<()> {
        if !self.keep_handler_if_due(tid) {
            return Ok(());
        }
        self.set_debug_registers(tid)?;
        self.set_step_traps(tid);
        let Some(thread) = self.threads.get(tid) else { return Ok(()) };
        let go = if self.goes_by_instruction(thread) { Go::OneInstruction } else { Go::On };
        if let Some(judged) = thread.judged {
            let registers = self.registers(tid)?;
            let is_there = registers.rip == judged.0 && !will_call_again(&registers);
            if is_there && self.pass_site(tid, judged)? && go == Go::OneInstruction {
                self.on_step_stop(tid);
                return Ok(());
            }
        }
        self.write_registers(tid)?;
        let Some(thread) = self.threads.get_mut(tid) else { return Ok(()) };
        let held_back = std::mem::take(&mut thread.signal);
        let signal = if signal == 0 { held_back } else { signal };
        thread.state = State::Running;
        thread.registers = None;
        thread.judged = None;
        self.process.go(tid, go, signal)
    }

    /// Prepares a thread to get past what is set where it is. True when that was an instruction, done already.
    fn pass_site(&mut self, tid: Tid, at: Address) -> io::Result<bool> {
        match self.sites.at(at).cloned() {
            Some(Site::Patched { past: PastPatch::Copy { at: copy, .. }, .. }) => {
                self.change_registers(tid, |registers| registers.rip = copy.0)?;
            }
            Some(Site::Patched { past: PastPatch::Call { instruction }, .. }) => {
                self.call(tid, &instruction)?;
                return Ok(true);
            }
            // Harmless when no debug register is here.
            Some(Site::Hardware { .. }) | None => {
                self.change_registers(tid, |registers| registers.eflags |= RESUME_FLAG)?;
            }
        }
        Ok(false)
    }

    /// Does what a call instruction does.
    fn call(&mut self, tid: Tid, instruction: &Instruction) -> io::Result<()> {
        let registers = self.registers(tid)?;
        let target = match instruction.op0_kind() {
            OpKind::NearBranch64 => Some(instruction.near_branch_target()),
            OpKind::Register => Some(register_value(&registers, instruction.op0_register())),
            OpKind::Memory => instruction
                .virtual_address(0, 0, |register, _, _| Some(register_value(&registers, register)))
                .and_then(|address| self.process.read_u64(Address(address)).ok()),
            _ => None,
        };
        let stack = registers.rsp.wrapping_sub(8);
        let pushed = self.process.write(Address(stack), &instruction.next_ip().to_le_bytes());
        match (target, pushed) {
            (Some(target), Ok(())) => self.change_registers(tid, |registers| {
                registers.rsp = stack;
                registers.rip = target;
            }),
            _ => Err(io::Error::other("a call could not be made in the place of its instruction")),
        }
    }

    /// Gives a stopped thread the debug registers that it should have.
    fn set_debug_registers(&mut self, tid: Tid) -> io::Result<()> {
        if !self.hardware_works {
            self.synced(tid);
            return Ok(());
        }
        let breakpoints = self.sites.hardware();
        let Some(thread) = self.threads.get(tid) else { return Ok(()) };
        let wanted = thread.wanted_registers(breakpoints);
        if thread.debug_registers == Some(wanted) {
            self.synced(tid);
            return Ok(());
        }
        let held = thread.debug_registers;
        let is_other_kind = held.is_none_or(|held| control_of(held) != control_of(wanted));
        // An address is checked against the kind that its register has: those that change are off meanwhile.
        if is_other_kind {
            let kept = held.map_or(0, |held| {
                let is_same = |number: &usize| held[*number] == wanted[*number];
                (0..DEBUG_REGISTERS).filter(is_same).map(|number| wanted[number].control(number)).sum()
            });
            self.process.set_debug_register(tid, DEBUG_CONTROL, kept)?;
        }
        for (number, register) in wanted.iter().enumerate() {
            let is_there = held.is_some_and(|held| held[number].address == register.address);
            if !register.is_off() && !is_there {
                self.process.set_debug_register(tid, number, register.address.0)?;
            }
        }
        if is_other_kind {
            self.process.set_debug_register(tid, DEBUG_CONTROL, control_of(wanted))?;
        }
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.debug_registers = Some(wanted);
        }
        self.synced(tid);
        Ok(())
    }
}

/// Turns on those that hold an address.
fn control_of(registers: [DebugRegister; DEBUG_REGISTERS]) -> u64 {
    registers.iter().enumerate().map(|(number, register)| register.control(number)).sum()
}

pub(super) fn register_value(registers: &libc::user_regs_struct, register: Register) -> u64 {
    let full = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RBX => registers.rbx,
        Register::RSP => registers.rsp,
        Register::RBP => registers.rbp,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::FS => return registers.fs_base,
        Register::GS => return registers.gs_base,
        // Other segments begin at 0 in this mode.
        _ => return 0,
    };
    if register.size() == 4 { full & 0xffff_ffff } else { full }
}
