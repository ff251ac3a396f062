//! `goto`: a paused thread goes on from another line of its function, without running what lies between.

use dap::GotoArguments;

use super::Server;

impl Server {
    pub(super) fn goto(&mut self, request: &dap::RequestMessage) {
        let moved = request
            .arguments::<GotoArguments>()
            .map_err(|malformed| malformed.reason)
            .and_then(|arguments| self.jump_of(&arguments));
        match moved {
            Ok((tid, address)) => {
                // The answer comes before the stop at the new place.
                self.engine.outbox.respond(request.ok::<dap::requests::Goto>(&dap::Empty));
                self.engine.move_to(tid, address);
            }
            Err(reason) => self.engine.outbox.respond(request.err(reason)),
        }
    }
}
