//! `mantaRelease` and `disconnect`: everything that was set is taken out, and every thread runs on.

use dap::requests::Disconnect;
use dap::{RequestMessage, ResponseMessage};

use super::{Flow, OrdinarySet, Releasing, Server};

impl Server {
    /// Releases the process, and answers when that is done.
    pub(super) fn release(&mut self, answer: ResponseMessage, then: Flow) {
        self.ordinary = OrdinarySet::default();
        self.engine.release();
        self.releasing = Some(Releasing { answer, then });
    }

    pub(super) fn disconnect(&mut self, request: &RequestMessage) {
        self.release(request.ok::<Disconnect>(&dap::Empty), Flow::Close);
    }

    /// The connection is gone, or the agent has to end: the same, and nobody to answer to.
    pub fn release_for_good(&mut self) {
        self.ordinary = OrdinarySet::default();
        self.engine.release();
    }
}
