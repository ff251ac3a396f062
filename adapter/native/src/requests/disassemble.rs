//! `disassemble`: code as the processor sees it, with its lines and the functions that it belongs to.

use dap::{
    DisassembleArguments, DisassembleResponseBody, DisassembledInstruction,
    DisassembledInstructionPresentationHint as Hint,
};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};

use super::memory::referenced;
use super::{Answer, Answered, Server};
use crate::address::Address;
use crate::dwarf::modules::short_symbol;
use crate::engine::Engine;
use crate::engine::report::source_body;
use crate::engine::user_code::is_user_file;
use crate::limits::INSTRUCTIONS_MAX;

/// The longest instruction of the processor.
const INSTRUCTION_BYTES_MAX: u64 = 15;
/// How far back the beginning of a function is believed: what lies before a longer one is not shown.
const FUNCTION_BYTES_MAX: u64 = 1 << 20;

/// One place of the answer.
enum Shown {
    Instruction(Instruction),
    /// No instruction can be read here.
    Nothing(Address),
}

impl Server {
    pub(super) fn disassemble(
        &mut self,
        arguments: DisassembleArguments,
    ) -> Answered<Option<DisassembleResponseBody>> {
        let start = referenced(&arguments.memory_reference, arguments.offset)?;
        let count = usize::try_from(arguments.instruction_count)
            .map_err(|_| "The count of instructions must not be negative.")?
            .min(INSTRUCTIONS_MAX);
        let from = arguments.instruction_offset.unwrap_or(0);
        let engine = &self.engine;
        let before = usize::try_from(-from.min(0)).unwrap_or(usize::MAX).min(INSTRUCTIONS_MAX);
        let skipped = usize::try_from(from.max(0)).unwrap_or(usize::MAX).min(INSTRUCTIONS_MAX);
        let mut shown = engine.instructions_before(start, before);
        shown.extend(engine.instructions_from(start, (skipped + count).saturating_sub(before)));
        let with_symbols = arguments.resolve_symbols.unwrap_or(true);
        let shown = &shown[skipped.min(shown.len())..];
        let mut last_line = None;
        let instructions = shown
            .iter()
            .take(count)
            .map(|shown| engine.instruction_body(shown, with_symbols, &mut last_line))
            .collect();
        Ok(Answer::Now(Some(DisassembleResponseBody { instructions })))
    }
}

impl Engine {
    /// Instructions one after another from an address on.
    fn instructions_from(&self, start: Address, count: usize) -> Vec<Shown> {
        let code = self.readable(start, count as u64 * INSTRUCTION_BYTES_MAX);
        let mut decoder = Decoder::with_ip(64, &code, start.0, DecoderOptions::NONE);
        let mut shown = Vec::with_capacity(count);
        while shown.len() < count {
            let at = Address(decoder.ip());
            if !decoder.can_decode() {
                break;
            }
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                // The next byte may begin one.
                let next = (at.0 - start.0) as usize + 1;
                if decoder.set_position(next).is_err() {
                    break;
                }
                decoder.set_ip(at.0 + 1);
                shown.push(Shown::Nothing(at));
            } else {
                shown.push(Shown::Instruction(instruction));
            }
        }
        // The client counts on as many as it asked for.
        let after = shown.last().map_or(start.0, |last| last.end());
        let missing = count.saturating_sub(shown.len()) as u64;
        shown.extend((0..missing).map(|index| Shown::Nothing(Address(after.wrapping_add(index)))));
        shown
    }

    /// The instructions before an address: found from the beginnings of functions, because code cannot be read backwards.
    fn instructions_before(&self, end: Address, count: usize) -> Vec<Shown> {
        let mut blocks: Vec<Vec<Shown>> = Vec::new();
        let (mut found, mut end) = (0, end);
        while found < count {
            let Some(start) = self.function_start(Address(end.0.wrapping_sub(1))) else { break };
            if start >= end || end.0 - start.0 > FUNCTION_BYTES_MAX {
                break;
            }
            let code = self.readable(start, end.0 - start.0);
            let decoder = Decoder::with_ip(64, &code, start.0, DecoderOptions::NONE);
            let block: Vec<Shown> =
                decoder.into_iter().filter(|own| !own.is_invalid()).map(Shown::Instruction).collect();
            if block.is_empty() {
                break;
            }
            found += block.len();
            end = start;
            blocks.push(block);
        }
        let known: Vec<Shown> = blocks.into_iter().rev().flatten().collect();
        let missing = count.saturating_sub(known.len()) as u64;
        let filler = (1..=missing).rev().map(|index| Shown::Nothing(Address(end.0.saturating_sub(index))));
        let surplus = known.len().saturating_sub(count);
        filler.chain(known.into_iter().skip(surplus)).collect()
    }

    fn function_start(&self, at: Address) -> Option<Address> {
        let module = self.modules.at(at)?;
        let symbol = module.image.symbol_before(module.file_address(at))?;
        Some(symbol.address.live(module.bias))
    }

    fn instruction_body(
        &self,
        shown: &Shown,
        with_symbols: bool,
        last_line: &mut Option<(String, u32)>,
    ) -> DisassembledInstruction {
        let instruction = match shown {
            Shown::Instruction(instruction) => instruction,
            Shown::Nothing(at) => {
                return DisassembledInstruction {
                    address: at.to_string(),
                    instruction: "(nothing)".to_owned(),
                    presentation_hint: Some(Hint::Invalid),
                    ..Default::default()
                };
            }
        };
        let at = Address(instruction.ip());
        let mut text = String::new();
        IntelFormatter::new().format(instruction, &mut text);
        let leads_to = if instruction.near_branch_target() != 0 {
            Some(Address(instruction.near_branch_target()))
        } else {
            instruction.is_ip_rel_memory_operand().then(|| Address(instruction.ip_rel_memory_address()))
        };
        if with_symbols && let Some(name) = leads_to.and_then(|to| self.symbol_name(to)) {
            text.push_str(&format!(" ; {name}"));
        }
        let bytes = self.readable(at, instruction.len() as u64);
        let mut body = DisassembledInstruction {
            address: at.to_string(),
            instruction_bytes: Some(
                bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
            ),
            instruction: text,
            symbol: self.symbol_name(at).filter(|_| with_symbols),
            ..Default::default()
        };
        let line = self.modules.at(at).and_then(|module| module.line_at(at));
        if line.is_some() && line != *last_line {
            let (path, line) = line.clone().unwrap_or_default();
            body.location = Some(source_body(&path, is_user_file(&path)));
            body.line = Some(i64::from(line));
        }
        *last_line = line;
        body
    }

    fn symbol_name(&self, at: Address) -> Option<String> {
        let module = self.modules.at(at)?;
        let address = module.file_address(at);
        let symbol = module.image.symbol_at(address)?;
        let name = short_symbol(symbol.name);
        let offset = address.0 - symbol.address.0;
        Some(if offset == 0 { name } else { format!("{name}+{offset:#x}") })
    }
}

impl Shown {
    fn end(&self) -> u64 {
        match self {
            Self::Instruction(instruction) => instruction.next_ip(),
            Self::Nothing(at) => at.0.wrapping_add(1),
        }
    }
}
