//! `setBreakpoints` and its siblings for functions, instructions and exceptions: an ordinary client sets its breakpoints in pieces.

use std::collections::BTreeMap;

use dap::{
    SetBreakpointsArguments, SetBreakpointsResponseBody, SetExceptionBreakpointsArguments,
    SetExceptionBreakpointsResponseBody, SetFunctionBreakpointsArguments, SetFunctionBreakpointsResponseBody,
    SetInstructionBreakpointsArguments, SetInstructionBreakpointsResponseBody,
};

use super::configure::{PANIC_FILTERS, SIGNAL_FILTERS};
use super::memory::referenced;
use super::{Answer, Answered, Server};
use crate::engine::Engine;
use crate::engine::breakpoints::{On, Specification};
use crate::engine::configuration::Configuration;

/// What an ordinary client has set so far.
#[derive(Default)]
pub struct OrdinarySet {
    by_file: BTreeMap<String, Vec<Specification>>,
    functions: Vec<Specification>,
    instructions: Vec<Specification>,
    pub(super) data: Vec<Specification>,
    stop_at_panics: bool,
    stop_at_signals: bool,
    last_id: i32,
}

impl OrdinarySet {
    pub(super) fn next_id(&mut self) -> i32 {
        self.last_id += 1;
        self.last_id
    }
}

impl Server {
    pub(super) fn set_breakpoints(
        &mut self,
        arguments: SetBreakpointsArguments,
    ) -> Answered<SetBreakpointsResponseBody> {
        let path = arguments.source.path.ok_or("A breakpoint needs the path of its file.")?;
        let is_sha256 = |checksum: &dap::Checksum| checksum.algorithm == dap::ChecksumAlgorithm::Sha256;
        let sha256 = arguments.source.checksums.into_iter().flatten().find(is_sha256);
        let sha256 = sha256.map(|checksum| checksum.checksum);
        let mut specifications = Vec::new();
        for breakpoint in arguments.breakpoints.unwrap_or_default() {
            let line = u32::try_from(breakpoint.line)
                .map_err(|_| format!("There is no line {}.", breakpoint.line))?;
            specifications.push(Specification {
                id: self.ordinary.next_id(),
                on: On::Line { paths: vec![path.clone()], line, sha256: sha256.clone() },
                condition: breakpoint.condition,
                hit_condition: breakpoint.hit_condition,
                log_message: breakpoint.log_message,
            });
        }
        let ids: Vec<i32> = specifications.iter().map(|specification| specification.id).collect();
        self.ordinary.by_file.insert(path.clone(), specifications);
        let mut breakpoints = self.apply_ordinary(&ids);
        for breakpoint in &mut breakpoints {
            breakpoint.source = Some(crate::engine::report::source_body(&path, true));
        }
        Ok(Answer::WhenSynced(SetBreakpointsResponseBody { breakpoints }))
    }

    pub(super) fn set_function_breakpoints(
        &mut self,
        arguments: SetFunctionBreakpointsArguments,
    ) -> Answered<SetFunctionBreakpointsResponseBody> {
        let mut functions = Vec::new();
        for breakpoint in arguments.breakpoints {
            functions.push(Specification {
                id: self.ordinary.next_id(),
                on: On::Function(breakpoint.name),
                condition: breakpoint.condition,
                hit_condition: breakpoint.hit_condition,
                log_message: None,
            });
        }
        let ids: Vec<i32> = functions.iter().map(|specification| specification.id).collect();
        self.ordinary.functions = functions;
        Ok(Answer::WhenSynced(SetFunctionBreakpointsResponseBody { breakpoints: self.apply_ordinary(&ids) }))
    }

    pub(super) fn set_instruction_breakpoints(
        &mut self,
        arguments: SetInstructionBreakpointsArguments,
    ) -> Answered<SetInstructionBreakpointsResponseBody> {
        let mut instructions = Vec::new();
        for breakpoint in arguments.breakpoints {
            let address = referenced(&breakpoint.instruction_reference, breakpoint.offset)?;
            instructions.push(Specification {
                id: self.ordinary.next_id(),
                on: On::Instruction(address),
                condition: breakpoint.condition,
                hit_condition: breakpoint.hit_condition,
                log_message: None,
            });
        }
        let ids: Vec<i32> = instructions.iter().map(|specification| specification.id).collect();
        self.ordinary.instructions = instructions;
        let breakpoints = self.apply_ordinary(&ids);
        Ok(Answer::WhenSynced(SetInstructionBreakpointsResponseBody { breakpoints }))
    }

    pub(super) fn set_exception_breakpoints(
        &mut self,
        arguments: SetExceptionBreakpointsArguments,
    ) -> Answered<SetExceptionBreakpointsResponseBody> {
        let options = arguments.filter_options.unwrap_or_default();
        let named: Vec<&str> = arguments
            .filters
            .iter()
            .chain(options.iter().map(|option| &option.filter_id))
            .map(String::as_str)
            .collect();
        self.ordinary.stop_at_panics = named.iter().any(|name| PANIC_FILTERS.contains(name));
        self.ordinary.stop_at_signals = named.iter().any(|name| SIGNAL_FILTERS.contains(name));
        self.apply_ordinary(&[]);
        Ok(Answer::WhenSynced(SetExceptionBreakpointsResponseBody::default()))
    }

    /// Puts the whole set into force, and tells where those with these ids landed.
    pub(super) fn apply_ordinary(&mut self, ids: &[i32]) -> Vec<dap::Breakpoint> {
        let all = self.ordinary.by_file.values().flatten().chain(&self.ordinary.functions);
        let all = all.chain(&self.ordinary.instructions).chain(&self.ordinary.data).cloned().collect();
        let breakpoints = self.engine.breakpoints_of(all);
        let generation = self.engine.configuration.generation + 1;
        let OrdinarySet { stop_at_panics, stop_at_signals, .. } = self.ordinary;
        self.engine.configure(Configuration {
            session_id: None,
            generation,
            breakpoints,
            stop_at_panics,
            stop_at_signals,
            into_framework: false,
        });
        let breakpoints = &self.engine.configuration.breakpoints;
        ids.iter()
            .filter_map(|id| breakpoints.iter().find(|breakpoint| breakpoint.specification.id == *id))
            .map(Engine::breakpoint_body)
            .collect()
    }
}
