//! `initialize`: from here on the client is an ordinary one.

use dap::requests::Initialize;
use dap::{Capabilities, ExceptionBreakpointsFilter, RequestMessage};

use super::Server;
use crate::engine::Mode;
use crate::tracer::Means;

impl Server {
    pub(super) fn initialize(&mut self, request: &RequestMessage) {
        self.engine.mode = Mode::Standalone;
        let panic = ExceptionBreakpointsFilter {
            filter: "panic".to_owned(),
            label: "Panics".to_owned(),
            description: Some("Stops where a panic begins".to_owned()),
            default: Some(false),
            ..Default::default()
        };
        let signal = ExceptionBreakpointsFilter {
            filter: "signal".to_owned(),
            label: "Fatal signals".to_owned(),
            description: Some("Stops before a signal such as SIGSEGV ends the program".to_owned()),
            default: Some(false),
            ..Default::default()
        };
        // What only ptrace can do is not offered where the system refuses that.
        let has_debug_registers = self.engine.can_watch().is_ok();
        let is_traced = self.engine.process.means() == Means::Ptrace;
        let filters = std::iter::once(panic).chain(is_traced.then_some(signal)).collect();
        let capabilities = Capabilities {
            supports_configuration_done_request: Some(true),
            supports_function_breakpoints: Some(true),
            supports_conditional_breakpoints: Some(true),
            supports_hit_conditional_breakpoints: Some(true),
            supports_log_points: Some(true),
            supports_evaluate_for_hovers: Some(true),
            supports_set_variable: Some(true),
            supports_value_formatting_options: Some(true),
            supports_clipboard_context: Some(true),
            supports_set_expression: Some(true),
            supports_completions_request: Some(true),
            completion_trigger_characters: Some(vec![".".to_owned()]),
            supports_exception_info_request: Some(true),
            supports_instruction_breakpoints: Some(true),
            supports_data_breakpoints: Some(has_debug_registers),
            supports_data_breakpoint_bytes: Some(has_debug_registers),
            supports_breakpoint_locations_request: Some(true),
            supports_modules_request: Some(true),
            supports_loaded_sources_request: Some(true),
            supports_read_memory_request: Some(true),
            supports_write_memory_request: Some(true),
            supports_disassemble_request: Some(true),
            supports_goto_targets_request: Some(true),
            supports_step_in_targets_request: Some(true),
            supports_stepping_granularity: Some(true),
            support_terminate_debuggee: Some(true),
            supports_delayed_stack_trace_loading: Some(true),
            supports_single_thread_execution_requests: Some(true),
            exception_breakpoint_filters: Some(filters),
            ..Default::default()
        };
        self.engine.outbox.respond(request.ok::<Initialize>(&capabilities));
        self.engine.outbox.event::<dap::events::Initialized>(&dap::Empty);
        for sentence in self.engine.introduction() {
            self.engine.outbox.console(&format!("{sentence}\n"));
        }
    }
}
