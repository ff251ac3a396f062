//! `initialize`: what both engines do now, and nothing else, is promised.

use dap::{
    Capabilities, ExceptionBreakpointsFilter, InitializePathFormat, InitializeRequestArguments,
    RequestMessage, requests,
};

use super::{Handled, Refusal};
use crate::session::{Phase, Session};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    if session.phase != Phase::New {
        return Err(Refusal::from("the session is initialized already"));
    }
    let arguments: InitializeRequestArguments = request.arguments()?;
    if arguments.path_format.is_some_and(|format| format != InitializePathFormat::Path) {
        return Err(Refusal::from("Manta knows files by their paths only; set 'pathFormat' to 'path'"));
    }
    if let Some(name) = arguments.client_name.or(arguments.client_id).filter(|name| !name.is_empty()) {
        session.client.name = name;
    }
    let first = |starts_at_1: Option<bool>| i64::from(starts_at_1.unwrap_or(true));
    session.client.lines_start_at = first(arguments.lines_start_at1);
    session.client.columns_start_at = first(arguments.columns_start_at1);
    session.client.shows_types = arguments.supports_variable_type.unwrap_or(false);
    session.client.takes_invalidated = arguments.supports_invalidated_event.unwrap_or(false);
    session.phase = Phase::Initialized;
    Ok(Some(request.ok::<requests::Initialize>(&capabilities())))
}

fn capabilities() -> Capabilities {
    let yes = Some(true);
    Capabilities {
        supports_configuration_done_request: yes,
        supports_function_breakpoints: yes,
        supports_conditional_breakpoints: yes,
        supports_hit_conditional_breakpoints: yes,
        supports_log_points: yes,
        supports_evaluate_for_hovers: yes,
        supports_set_variable: yes,
        supports_set_expression: yes,
        supports_completions_request: yes,
        completion_trigger_characters: Some(vec![".".to_owned()]),
        supports_value_formatting_options: yes,
        supports_data_breakpoints: yes,
        supports_data_breakpoint_bytes: yes,
        supports_read_memory_request: yes,
        supports_write_memory_request: yes,
        supports_disassemble_request: yes,
        supports_stepping_granularity: yes,
        supports_step_in_targets_request: yes,
        supports_goto_targets_request: yes,
        supports_restart_frame: yes,
        supports_breakpoint_locations_request: yes,
        supports_loaded_sources_request: yes,
        supports_clipboard_context: yes,
        supports_exception_filter_options: yes,
        supports_exception_info_request: yes,
        supports_delayed_stack_trace_loading: yes,
        supports_single_thread_execution_requests: yes,
        supports_terminate_request: yes,
        supports_cancel_request: yes,
        exception_breakpoint_filters: Some(filters()),
        ..Default::default()
    }
}

/// None is on unless the user asks for it: a failing task of a job that runs for others would wait for this client.
fn filters() -> Vec<ExceptionBreakpointsFilter> {
    vec![
        python_filter(
            "uncaught",
            "Uncaught exceptions",
            "Pause a task when a Python exception is about to leave it, or a Rust panic begins.",
        ),
        python_filter(
            "userUncaught",
            "Exceptions that leave your code",
            "Pause a Python task when an exception leaves your code for a library that called it.",
        ),
        python_filter(
            "raised",
            "Raised exceptions",
            "Pause a task at each Python exception, also where it is caught, and at each Rust panic.",
        ),
        filter("panic", "Panics", "Pause a Rust task when it panics."),
        filter("signal", "Fatal signals", "Pause a Rust task when a signal is about to end its process."),
    ]
}

fn python_filter(id: &str, label: &str, description: &str) -> ExceptionBreakpointsFilter {
    ExceptionBreakpointsFilter {
        supports_condition: Some(true),
        condition_description: Some(
            "An exception class, a tuple of classes, or an expression about `exception`".to_owned(),
        ),
        ..filter(id, label, description)
    }
}

fn filter(id: &str, label: &str, description: &str) -> ExceptionBreakpointsFilter {
    ExceptionBreakpointsFilter {
        filter: id.to_owned(),
        label: label.to_owned(),
        description: Some(description.to_owned()),
        default: Some(false),
        ..Default::default()
    }
}
