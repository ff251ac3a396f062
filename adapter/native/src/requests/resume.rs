//! `continue`, `next`, `stepIn`, `stepOut`: one thread runs on. The others are never touched.

use dap::requests as r;
use dap::{Request, RequestMessage, SteppingGranularity, ThreadId};
use serde::Deserialize;

use super::Server;
use crate::engine::step::{StepKind, StepUnit};

/// What the four have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneThread {
    thread_id: ThreadId,
    granularity: Option<SteppingGranularity>,
}

/// A request that lets a thread run.
pub(super) trait Resume: Request {
    /// The step that it asks for, if it is one.
    const STEP: Option<StepKind>;
    /// The answer.
    fn body() -> Self::Response;
}

impl Resume for r::Continue {
    const STEP: Option<StepKind> = None;
    fn body() -> Self::Response {
        dap::ContinueResponseBody { all_threads_continued: Some(false) }
    }
}

impl Resume for r::Next {
    const STEP: Option<StepKind> = Some(StepKind::Over);
    fn body() -> Self::Response {
        dap::Empty
    }
}

impl Resume for r::StepIn {
    const STEP: Option<StepKind> = Some(StepKind::In);
    fn body() -> Self::Response {
        dap::Empty
    }
}

impl Resume for r::StepOut {
    const STEP: Option<StepKind> = Some(StepKind::Out);
    fn body() -> Self::Response {
        dap::Empty
    }
}

impl Server {
    pub(super) fn resume_request<R: Resume>(&mut self, request: &RequestMessage) {
        let held = match request.arguments::<OneThread>() {
            Ok(arguments) => {
                let unit = match arguments.granularity {
                    Some(SteppingGranularity::Instruction) => StepUnit::Instruction,
                    _ => StepUnit::Line,
                };
                self.held(arguments.thread_id).map(|thread| (thread.tid, unit))
            }
            Err(malformed) => Err(malformed.reason),
        };
        match held {
            Ok((tid, unit)) => {
                // The answer comes before anything that the thread does next.
                self.engine.outbox.respond(request.ok::<R>(&R::body()));
                match R::STEP {
                    Some(kind) => self.engine.step(tid, kind, unit),
                    None => self.engine.resume(tid, true),
                }
            }
            Err(reason) => self.engine.outbox.respond(request.err(reason)),
        }
    }
}
