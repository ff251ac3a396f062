//! `setExceptionBreakpoints`: answered when every node has the change.

use dap::{RequestMessage, SetExceptionBreakpointsArguments};

use super::{Handled, Refusal};
use crate::{
    profile::ExceptionOption,
    session::{Session, origin},
    setting::Setting,
};

const FILTERS: [&str; 5] = ["uncaught", "userUncaught", "raised", "panic", "signal"];
/// The native engine has no conditions for these.
const UNCONDITIONAL: [&str; 2] = ["panic", "signal"];

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SetExceptionBreakpointsArguments = request.arguments()?;
    let options: Vec<_> = arguments
        .filter_options
        .unwrap_or_default()
        .into_iter()
        .map(|option| ExceptionOption { filter_id: option.filter_id, condition: option.condition })
        .collect();
    let has_condition =
        |option: &ExceptionOption| option.condition.as_ref().is_some_and(|condition| !condition.is_empty());
    if let Some(option) = options
        .iter()
        .find(|option| UNCONDITIONAL.contains(&option.filter_id.as_str()) && has_condition(option))
    {
        let filter = &option.filter_id;
        return Err(Refusal::from(format!("the exception filter '{filter}' takes no condition; remove it")));
    }
    let asked = arguments.filters.iter().chain(options.iter().map(|option| &option.filter_id));
    for filter in asked {
        if !FILTERS.contains(&filter.as_str()) {
            return Err(Refusal::from(format!(
                "there is no exception filter '{filter}'; the filters are {}",
                FILTERS.join(", ")
            )));
        }
    }
    let count = arguments.filters.len() + options.len();
    let is_changed = session.breakpoints.set_exceptions(arguments.filters, options);
    session.set(origin(request), Setting::Exceptions(count), is_changed);
    Ok(None)
}
