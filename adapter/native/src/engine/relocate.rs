//! Running a patched instruction elsewhere, so that no other thread ever runs past the patch.
//!
//! The copy ends with a jump back to the next instruction. A thread that is let go at the copy needs nobody any more: if the
//! agent dies at that very moment, the thread still finds its way.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction,
    InstructionBlock,
};

use crate::address::Address;

/// Room for one copy in the scratch area.
pub const COPY_BYTES: u64 = 64;
const JUMP_BYTES: usize = 14;

/// How to get past a patched instruction.
#[derive(Clone, Debug)]
pub enum PastPatch {
    /// Let the thread run the copy.
    Copy {
        /// Where the copy is.
        at: Address,
        /// Where its jump back is.
        jump: Address,
    },
    /// A call: the return address must be the original one, so the engine does what the instruction would.
    Call {
        /// The instruction.
        instruction: Box<Instruction>,
    },
}

/// Decodes the instruction at an address.
#[must_use]
pub fn decode(code: &[u8], address: Address) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(64, code, address.0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Does an instruction only work near its own place: does it refer to something by the distance to it? A call does too, but is
/// never copied.
#[must_use]
pub fn is_bound_to_its_place(instruction: &Instruction) -> bool {
    let jumps = [FlowControl::UnconditionalBranch, FlowControl::ConditionalBranch];
    let calls = [FlowControl::Call, FlowControl::IndirectCall];
    let flow = instruction.flow_control();
    jumps.contains(&flow) || (instruction.is_ip_rel_memory_operand() && !calls.contains(&flow))
}

/// Prepares the way past the instruction whose original code this is: the bytes for the scratch area at `copy`, if any are needed.
pub fn relocate(code: &[u8], address: Address, copy: Address) -> Result<(PastPatch, Vec<u8>), String> {
    let instruction =
        decode(code, address).ok_or_else(|| format!("the instruction at {address} cannot be decoded"))?;
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall if instruction.code() != Code::Syscall => {
            return Ok((PastPatch::Call { instruction: Box::new(instruction) }, Vec::new()));
        }
        FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => {
            return Err(format!("the instruction at {address} cannot be run elsewhere"));
        }
        _ => {}
    }
    let instructions = [instruction];
    let block = InstructionBlock::new(&instructions, copy.0);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)
        .map_err(|error| format!("the instruction at {address} cannot be run elsewhere: {error}"))?;
    let mut bytes = encoded.code_buffer;
    if bytes.len() + JUMP_BYTES > COPY_BYTES as usize {
        return Err(format!("the instruction at {address} needs too much room elsewhere"));
    }
    let jump = copy.offset(bytes.len() as u64);
    // jmp qword ptr [rip+0], followed by the address.
    bytes.extend([0xff, 0x25, 0, 0, 0, 0]);
    bytes.extend(instruction.next_ip().to_le_bytes());
    Ok((PastPatch::Copy { at: copy, jump }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Address = Address(0x5000_0000);
    const THERE: Address = Address(0x5010_0000);

    #[test]
    fn a_plain_instruction_is_copied_with_a_jump_back() {
        let (past, bytes) = relocate(&[0x48, 0x89, 0xe5], HERE, THERE).unwrap();
        assert!(matches!(past, PastPatch::Copy { at: THERE, jump } if jump == THERE.offset(3)));
        assert_eq!(bytes[..9], [0x48, 0x89, 0xe5, 0xff, 0x25, 0, 0, 0, 0]);
        assert_eq!(bytes[9..], (HERE.0 + 3).to_le_bytes());
    }

    #[test]
    fn what_is_relative_to_the_program_counter_still_means_the_same() {
        // lea rax, [rip+0x10]
        let (_, bytes) = relocate(&[0x48, 0x8d, 0x05, 0x10, 0, 0, 0], HERE, THERE).unwrap();
        let moved = decode(&bytes, THERE).unwrap();
        assert_eq!(moved.ip_rel_memory_address(), HERE.0 + 7 + 0x10);
        // jne +0x20
        let (_, bytes) = relocate(&[0x75, 0x20], HERE, THERE).unwrap();
        assert_eq!(decode(&bytes, THERE).unwrap().near_branch_target(), HERE.0 + 2 + 0x20);
    }

    #[test]
    fn calls_are_done_by_the_engine() {
        let (past, bytes) = relocate(&[0xe8, 0x10, 0, 0, 0], HERE, THERE).unwrap();
        assert!(
            matches!(past, PastPatch::Call { instruction } if instruction.near_branch_target() == HERE.0 + 5 + 0x10)
        );
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        assert!(relocate(&[0xcc], HERE, THERE).is_err());
        assert!(relocate(&[], HERE, THERE).is_err());
    }
}
