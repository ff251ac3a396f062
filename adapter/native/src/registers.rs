//! The registers of a thread on x86-64, in DWARF's numbering.

use gimli::Register;

/// Registers that unwinding and variables need: sixteen general ones and the program counter.
pub const COUNT: usize = 17;
/// DWARF's number of `rsp`.
pub const RSP: Register = Register(7);
/// DWARF's number of the return address, where this engine keeps the program counter.
pub const RIP: Register = Register(16);
/// DWARF's number of `xmm0`.
const XMM0: u16 = 17;
const CALLEE_SAVED: [u16; 6] = [3, 6, 12, 13, 14, 15];

/// A frame's registers; those that the callee may have overwritten are unknown in outer frames.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    general: [Option<u64>; COUNT],
    /// `xmm0` to `xmm15`, only of the innermost frame.
    vector: Option<Box<[u128; 16]>>,
    /// Processor flags, only of the innermost frame.
    pub flags: u64,
    /// The thread's own storage begins below this.
    pub fs_base: u64,
}

impl Registers {
    /// An outer frame of the same thread, of which no register is known yet.
    #[must_use]
    pub fn of_caller(&self) -> Self {
        Self { flags: self.flags, fs_base: self.fs_base, ..Self::default() }
    }

    /// The value of a general register, by DWARF number.
    #[must_use]
    pub fn get(&self, register: Register) -> Option<u64> {
        self.general.get(usize::from(register.0)).copied().flatten()
    }

    /// Sets a general register, by DWARF number; other numbers change nothing.
    pub fn set(&mut self, register: Register, value: Option<u64>) {
        if let Some(place) = self.general.get_mut(usize::from(register.0)) {
            *place = value;
        }
    }

    /// The whole value of a general or vector register, as bytes in memory order.
    #[must_use]
    pub fn bytes(&self, register: Register) -> Option<Vec<u8>> {
        if let Some(value) = self.get(register) {
            return Some(value.to_le_bytes().to_vec());
        }
        let index = usize::from(register.0.checked_sub(XMM0)?);
        let vector = self.vector.as_ref()?;
        Some(vector.get(index)?.to_le_bytes().to_vec())
    }

    /// Adds the vector registers.
    pub fn set_vector(&mut self, vector: [u128; 16]) {
        self.vector = Some(Box::new(vector));
    }

    /// The program counter; 0 when it is unknown, which is no code.
    #[must_use]
    pub fn pc(&self) -> u64 {
        self.get(RIP).unwrap_or(0)
    }

    /// The stack pointer; 0 when it is unknown.
    #[must_use]
    pub fn sp(&self) -> u64 {
        self.get(RSP).unwrap_or(0)
    }

    /// Sets the program counter.
    pub fn set_pc(&mut self, pc: u64) {
        self.set(RIP, Some(pc));
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: u64) {
        self.set(RSP, Some(sp));
    }

    /// Does a function have to preserve this register for its caller?
    #[must_use]
    pub fn is_callee_saved(register: Register) -> bool {
        CALLEE_SAVED.contains(&register.0)
    }
}

/// Copies between the kernel's order and DWARF's: `($kernel field, dwarf number)`.
macro_rules! each_register {
    ($do:ident) => {
        $do!(rax 0, rdx 1, rcx 2, rbx 3, rsi 4, rdi 5, rbp 6, rsp 7, r8 8, r9 9, r10 10, r11 11, r12 12, r13 13, r14 14,
             r15 15, rip 16)
    };
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Registers {
    /// From what the kernel gives.
    #[must_use]
    pub fn from_kernel(kernel: &libc::user_regs_struct) -> Self {
        let mut general = [None; COUNT];
        macro_rules! copy {
            ($($field:ident $number:literal),*) => { $(general[$number] = Some(kernel.$field);)* };
        }
        each_register!(copy);
        Self { general, vector: None, flags: kernel.eflags, fs_base: kernel.fs_base }
    }

    /// Into what the kernel takes; unknown registers keep what `kernel` has.
    pub fn to_kernel(&self, kernel: &mut libc::user_regs_struct) {
        macro_rules! copy {
            ($($field:ident $number:literal),*) => { $(if let Some(value) = self.general[$number] { kernel.$field = value; })* };
        }
        each_register!(copy);
        kernel.eflags = self.flags;
    }
}
