//! `mantaDebugInfo`: what has become of debug information that the engine has asked for.

use dap::RequestMessage;

use super::Server;
use crate::protocol::{DebugInfoArguments, MantaDebugInfo};

impl Server {
    pub(super) fn debug_information(&mut self, request: &RequestMessage) {
        let arguments: DebugInfoArguments = match request.arguments() {
            Ok(arguments) => arguments,
            Err(malformed) => return self.engine.outbox.respond(request.err(malformed.reason)),
        };
        let taken = self.engine.on_debug_information(arguments, self.configured.is_none());
        let answer = match taken {
            Ok(()) => request.ok::<MantaDebugInfo>(&dap::Empty),
            Err(reason) => request.err(reason),
        };
        self.engine.outbox.respond(answer);
        if !self.engine.awaits_debug_information() {
            self.answer_configured();
        }
    }
}
