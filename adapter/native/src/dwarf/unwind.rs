//! From a frame to its caller: all registers, by the rules of `.eh_frame`.

use std::cell::RefCell;
use std::rc::Rc;

use gimli::{CfaRule, Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection};

use super::Slice;
use super::modules::{Module, Modules};
use crate::address::Address;
use crate::limits::{ADDRESSES_KEPT_MAX, DWARF_OPERATIONS_MAX, FRAMES_DEEPEST_MAX};
use crate::registers::{COUNT, RIP, RSP, Registers};
use crate::target::Memory;

/// A physical frame.
#[derive(Clone, Debug)]
pub struct PhysicalFrame {
    /// The frame's registers.
    pub registers: Registers,
    /// The stack pointer before the call that made this frame; unknown when there are no unwind tables for its code.
    pub cfa: Option<Address>,
    /// An address inside the instruction that the frame is at.
    pub lookup: Address,
}

/// Why a stack ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// The thread begins here.
    Complete,
    /// There are no unwind tables for this code.
    NoTables,
    /// The memory or the tables are damaged.
    Damaged,
    /// The limit.
    Cut,
}

/// Walks stacks. It keeps its working memory, because a step over a call needs it often.
#[derive(Default)]
pub struct Unwinder {
    context: RefCell<Box<UnwindContext<usize>>>,
}

/// How the registers of a caller are found from one address.
pub(super) struct UnwindRow {
    cfa: CfaRule<usize>,
    rules: [Option<RegisterRule<usize>>; COUNT],
    is_signal_frame: bool,
}

struct Step {
    caller: Registers,
    cfa: Address,
    is_signal_frame: bool,
}

impl Unwinder {
    /// The canonical frame address of a frame.
    #[must_use]
    pub fn cfa(
        &self,
        modules: &Modules,
        memory: &dyn Memory,
        registers: &Registers,
        lookup: Address,
    ) -> Option<Address> {
        self.step(modules, memory, registers, lookup).ok().map(|step| step.cfa)
    }

    /// The return address of a frame, and the stack pointer that it will have in its caller.
    #[must_use]
    pub fn return_to(
        &self,
        modules: &Modules,
        memory: &dyn Memory,
        registers: &Registers,
    ) -> Option<(Address, Address)> {
        let step = self.step(modules, memory, registers, Address(registers.pc())).ok()?;
        Some((Address(step.caller.pc()), step.cfa))
    }

    /// The physical frames of a stopped thread, innermost first.
    #[must_use]
    pub fn frames(
        &self,
        modules: &Modules,
        memory: &dyn Memory,
        innermost: &Registers,
        most: usize,
    ) -> (Vec<PhysicalFrame>, StackEnd) {
        let most = most.min(FRAMES_DEEPEST_MAX);
        let mut frames: Vec<PhysicalFrame> = Vec::new();
        let mut registers = innermost.clone();
        let mut lookup = Address(registers.pc());
        loop {
            if frames.len() == most {
                return (frames, StackEnd::Cut);
            }
            let step = self.step(modules, memory, &registers, lookup);
            let cfa = step.as_ref().ok().map(|step| step.cfa);
            // A stack grows to lower addresses; one that does not rise on the way out has gone wrong. Equal frames of a
            // recursion are told apart by this, not by their return addresses.
            let rises = match (frames.last().and_then(|inner| inner.cfa), cfa) {
                (Some(inner), Some(outer)) => outer > inner,
                _ => true,
            };
            frames.push(PhysicalFrame { registers: registers.clone(), cfa, lookup });
            let step = match step {
                Ok(step) if rises || step.is_signal_frame => step,
                Ok(_) => return (frames, StackEnd::Damaged),
                Err(end) => return (frames, end),
            };
            if step.caller.pc() == 0 {
                return (frames, StackEnd::Complete);
            }
            registers = step.caller;
            // A call's return address may belong to the next line, or to the next function. Where a signal interrupted, it does not.
            lookup = Address(registers.pc() - u64::from(!step.is_signal_frame));
        }
    }

    fn step(
        &self,
        modules: &Modules,
        memory: &dyn Memory,
        registers: &Registers,
        lookup: Address,
    ) -> Result<Step, StackEnd> {
        let module = modules.at(lookup).ok_or(StackEnd::NoTables)?;
        let at = module.file_address(lookup).0;
        let row = self.row(module, at)?;
        let view = View { module, memory, registers };
        let cfa = match &row.cfa {
            CfaRule::RegisterAndOffset { register, offset } => {
                registers.get(*register).ok_or(StackEnd::Damaged)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => view.expression(expression, None)?,
        };
        let mut caller = registers.of_caller();
        for (number, rule) in (0u16..).zip(&row.rules) {
            let register = Register(number);
            caller.set(register, view.restore(rule.as_ref(), register, cfa)?);
        }
        if row.rules[usize::from(RSP.0)].is_none() {
            caller.set_sp(cfa);
        }
        if matches!(row.rules[usize::from(RIP.0)], Some(RegisterRule::Undefined)) {
            caller.set_pc(0);
        }
        Ok(Step { caller, cfa: Address(cfa), is_signal_frame: row.is_signal_frame })
    }

    /// The rules at an address, which are found once.
    fn row(&self, module: &Module, at: u64) -> Result<Rc<UnwindRow>, StackEnd> {
        if let Some(known) = module.unwind_rows.borrow().get(&at) {
            return Ok(Rc::clone(known));
        }
        let tables = &module.image.unwind;
        let description = match tables.index.as_ref().and_then(|index| index.table()) {
            Some(table) => {
                table.fde_for_address(&tables.frames, &tables.bases, at, EhFrameOf::cie_from_offset)
            }
            None => tables.frames.fde_for_address(&tables.bases, at, EhFrameOf::cie_from_offset),
        };
        let description = description.map_err(|_| StackEnd::NoTables)?;
        let mut context = self.context.borrow_mut();
        let row = description
            .unwind_info_for_address(&tables.frames, &tables.bases, &mut context, at)
            .map_err(|_| StackEnd::Damaged)?;
        let row = Rc::new(UnwindRow {
            cfa: row.cfa().clone(),
            rules: std::array::from_fn(|number| row.register(Register(number as u16))),
            is_signal_frame: description.is_signal_trampoline(),
        });
        let mut rows = module.unwind_rows.borrow_mut();
        if rows.len() >= ADDRESSES_KEPT_MAX {
            rows.clear();
        }
        rows.insert(at, Rc::clone(&row));
        Ok(row)
    }
}

/// The section type, under a short name.
type EhFrameOf = gimli::EhFrame<Slice>;

struct View<'a> {
    module: &'a Module,
    memory: &'a dyn Memory,
    registers: &'a Registers,
}

impl View<'_> {
    fn restore(
        &self,
        rule: Option<&RegisterRule<usize>>,
        register: Register,
        cfa: u64,
    ) -> Result<Option<u64>, StackEnd> {
        let read = |address| self.memory.read_u64(Address(address)).map_err(|_| StackEnd::Damaged);
        Ok(match rule {
            // No rule means what the calling convention means.
            None if Registers::is_callee_saved(register) => self.registers.get(register),
            None | Some(RegisterRule::Undefined) => None,
            Some(RegisterRule::SameValue) => self.registers.get(register),
            Some(RegisterRule::Offset(offset)) => Some(read(cfa.wrapping_add_signed(*offset))?),
            Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(*offset)),
            Some(RegisterRule::Register(other)) => self.registers.get(*other),
            Some(RegisterRule::Expression(expression)) => {
                Some(read(self.expression(expression, Some(cfa))?)?)
            }
            Some(RegisterRule::ValExpression(expression)) => Some(self.expression(expression, Some(cfa))?),
            Some(RegisterRule::Constant(value)) => Some(*value),
            Some(_) => None,
        })
    }

    fn expression(
        &self,
        expression: &UnwindExpression<usize>,
        initial: Option<u64>,
    ) -> Result<u64, StackEnd> {
        const DAMAGED: StackEnd = StackEnd::Damaged;
        let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
        let expression = expression.get(&self.module.image.unwind.frames).map_err(|_| DAMAGED)?;
        let mut evaluation = expression.evaluation(encoding);
        evaluation.set_max_iterations(DWARF_OPERATIONS_MAX);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut step = evaluation.evaluate().map_err(|_| DAMAGED)?;
        loop {
            step = match step {
                gimli::EvaluationResult::Complete => break,
                gimli::EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register).ok_or(DAMAGED)?;
                    evaluation.resume_with_register(gimli::Value::Generic(value))
                }
                gimli::EvaluationResult::RequiresMemory { address, size, .. } => {
                    let mut buffer = [0; 8];
                    let wanted = buffer.get_mut(..usize::from(size)).ok_or(DAMAGED)?;
                    self.memory.read(Address(address), wanted).map_err(|_| DAMAGED)?;
                    evaluation.resume_with_memory(gimli::Value::Generic(u64::from_le_bytes(buffer)))
                }
                _ => return Err(DAMAGED),
            }
            .map_err(|_| DAMAGED)?;
        }
        match evaluation.result().first().map(|piece| &piece.location) {
            Some(gimli::Location::Address { address }) => Ok(*address),
            Some(gimli::Location::Value { value }) => value.to_u64(u64::MAX).map_err(|_| DAMAGED),
            _ => Err(DAMAGED),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::arch::asm;

    use super::*;
    use crate::address::Tid;
    use crate::dwarf::modules::without_generics;
    use crate::limits::FRAMES_MAX;
    use crate::ptrace::Process;
    use crate::target::{MappedModule, MemoryError, Target};

    /// This very process, whose memory anybody may read.
    struct Own(Process);

    impl Memory for Own {
        fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
            self.0.read(address, buffer)
        }
    }

    impl Target for Own {
        fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
            self.0.write(address, bytes)
        }
        fn registers(&self, _: Tid) -> std::io::Result<Registers> {
            Ok(own_registers())
        }
        fn set_registers(&self, _: Tid, _: &Registers) -> std::io::Result<()> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
        fn threads(&self) -> std::io::Result<Vec<Tid>> {
            self.0.threads()
        }
        fn modules(&self) -> std::io::Result<Vec<MappedModule>> {
            self.0.modules()
        }
    }

    /// The registers of the caller, as they are inside it: of what a caller may rely on, and the program counter.
    #[inline(always)]
    fn own_registers() -> Registers {
        let mut saved = [0u64; 8];
        // SAFETY: it stores registers into an array that is large enough, and changes nothing else.
        unsafe {
            asm!(
                "mov [{to}], rbx", "mov [{to} + 8], rbp", "mov [{to} + 16], rsp", "mov [{to} + 24], r12",
                "mov [{to} + 32], r13", "mov [{to} + 40], r14", "mov [{to} + 48], r15",
                "lea {pc}, [rip]", "mov [{to} + 56], {pc}",
                to = in(reg) saved.as_mut_ptr(), pc = out(reg) _, options(nostack),
            );
        }
        let mut registers = Registers::default();
        for (number, value) in [3, 6, 7, 12, 13, 14, 15, 16].into_iter().zip(saved) {
            registers.set(Register(number), Some(value));
        }
        registers
    }

    #[inline(never)]
    fn recurse(depth: u32, own: &Own, modules: &Modules) -> (Vec<String>, StackEnd) {
        if depth > 0 {
            let result = recurse(depth - 1, own, modules);
            return std::hint::black_box(result);
        }
        let (frames, end) = Unwinder::default().frames(modules, own, &own_registers(), FRAMES_MAX);
        let name = |frame: &PhysicalFrame| {
            let module = modules.at(frame.lookup)?;
            module.image.symbol_at(module.file_address(frame.lookup)).map(|symbol| symbol.name)
        };
        let names =
            frames.iter().map(|frame| format!("{:#}", rustc_demangle::demangle(name(frame).unwrap_or("?"))));
        (names.map(|name| without_generics(&name)).collect(), end)
    }

    /// A function of its own, as a test may be inlined into what calls it.
    #[inline(never)]
    fn bottom(own: &Own, modules: &Modules) -> (Vec<String>, StackEnd) {
        std::hint::black_box(recurse(5, own, modules))
    }

    #[test]
    fn the_unwinder_walks_this_very_stack_to_its_end() {
        let own = Own(Process::open(std::process::id() as i32).unwrap());
        let modules = Modules::of(&own).unwrap();
        let (names, end) = bottom(&own, &modules);
        let recursions = names.iter().take_while(|name| name.ends_with("::recurse")).count();
        assert_eq!(recursions, 6, "{names:?}");
        assert!(names[6].ends_with("::bottom"), "{names:?}");
        assert_eq!(end, StackEnd::Complete, "{names:?}");
    }
}
