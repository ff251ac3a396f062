//! Messages of the target profile, as a node sends them to an engine.

use ::dap::Message;
use manta_native::protocol::{ConfigureArguments, ReleaseArguments};

/// Reads a message and what it carries.
pub fn run(data: &[u8]) {
    let Ok(Message::Request(request)) = Message::from_slice(data) else { return };
    for malformed in [
        request.arguments::<ConfigureArguments>().err(),
        request.arguments::<ReleaseArguments>().err(),
        request.arguments::<::dap::StackTraceArguments>().err(),
        request.arguments::<::dap::EvaluateArguments>().err(),
        request.arguments::<::dap::VariablesArguments>().err(),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!malformed.reason.is_empty(), "a refusal has a reason");
    }
}
