//! `mantaRelease` and `disconnect`: everything that was set is taken out, and every thread runs on.

use dap::requests::Disconnect;
use dap::{DisconnectArguments, RequestMessage, ResponseMessage};

use crate::engine::Mode;

use crate::protocol::{MantaRelease, ReleaseArguments};

use super::{Flow, OrdinarySet, Releasing, Server};

impl Server {
    /// A session is gone. When another one has come in the meantime, that one's breakpoints and stops stay.
    pub(super) fn release_request(&mut self, request: &RequestMessage) {
        let arguments: ReleaseArguments = match request.arguments() {
            Ok(arguments) => arguments,
            Err(malformed) => return self.engine.outbox.respond(request.err(malformed.reason)),
        };
        let answer = request.ok::<MantaRelease>(&dap::Empty);
        let in_force = &self.engine.configuration.session_id;
        if arguments.session_id.is_none() || in_force.is_none() || *in_force == arguments.session_id {
            return self.release(answer, Flow::Open);
        }
        let own = |stop: &crate::engine::stops::Stop| stop.session_id == arguments.session_id;
        for tid in self.engine.threads.those(|thread| thread.stop().is_some_and(own)) {
            self.engine.resume(tid, false);
        }
        self.engine.outbox.respond(answer);
    }

    /// Releases the process, and answers when that is done.
    pub(super) fn release(&mut self, answer: ResponseMessage, then: Flow) {
        self.ordinary = OrdinarySet::default();
        self.engine.release();
        self.releasing = Some(Releasing { answer, then });
    }

    /// The program runs on, unless the client asks for its end; a session's programs are not its to end.
    pub(super) fn disconnect(&mut self, request: &RequestMessage) {
        let ends = match request.arguments::<DisconnectArguments>() {
            Ok(arguments) => arguments.terminate_debuggee == Some(true),
            Err(malformed) => return self.engine.outbox.respond(request.err(malformed.reason)),
        };
        if ends && self.engine.mode == Mode::Standalone {
            let pid = self.engine.process.pid();
            // SAFETY: it takes numbers only.
            if unsafe { libc::kill(pid, libc::SIGKILL) } != 0 {
                let error = std::io::Error::last_os_error();
                let refusal = request.err(format!("The process {pid} cannot be ended: {error}."));
                return self.engine.outbox.respond(refusal);
            }
        }
        self.release(request.ok::<Disconnect>(&dap::Empty), Flow::Close);
    }

    /// The connection is gone, or the agent has to end: the same, and nobody to answer to.
    pub fn release_for_good(&mut self) {
        self.ordinary = OrdinarySet::default();
        self.engine.release();
    }
}
