//! `continue`, `next`, `stepIn`, `stepOut`: one thread runs on. The others are never touched.

use dap::requests as r;
use dap::{Request, RequestMessage, StepInTargetId, SteppingGranularity, ThreadId};
use serde::Deserialize;

use super::Server;
use crate::address::Tid;
use crate::engine::calls::StepTarget;
use crate::engine::handles::Handle;
use crate::engine::level::{Level, SNAPSHOT_ONLY};
use crate::engine::step::{StepKind, StepUnit};
use crate::protocol::LookWanted;

/// What the four have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneThread {
    thread_id: ThreadId,
    granularity: Option<SteppingGranularity>,
    /// Of `stepIn` only.
    target_id: Option<StepInTargetId>,
    /// What the client will ask at the next stop.
    manta_look: Option<LookWanted>,
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
        let held = request
            .arguments::<OneThread>()
            .map_err(|malformed| malformed.reason)
            .and_then(|arguments| Ok((self.wanted_of(R::STEP, &arguments)?, arguments.manta_look)));
        match held {
            Ok(((tid, unit, into), look)) => {
                self.engine.looks.want(tid, look);
                // The answer comes before anything that the thread does next.
                self.engine.outbox.respond_soon(request.ok::<R>(&R::body()));
                match R::STEP {
                    Some(kind) => self.engine.step(tid, kind, unit, into),
                    None => self.engine.resume(tid, true),
                }
            }
            Err(reason) => self.engine.outbox.respond(request.err(reason)),
        }
    }

    /// Which thread, how far, and into which of the line's calls.
    fn wanted_of(
        &self,
        step: Option<StepKind>,
        arguments: &OneThread,
    ) -> Result<(Tid, StepUnit, Option<StepTarget>), String> {
        let tid = self.held(arguments.thread_id)?.tid;
        if step.is_some() && self.engine.level() == Level::SnapshotOnly {
            return Err(format!(
                "The thread cannot be stepped: {SNAPSHOT_ONLY}. Continue it, and pause it again for a new picture."
            ));
        }
        let into = match arguments.target_id.filter(|_| step == Some(StepKind::In)) {
            None => None,
            Some(id) => match self.engine.handles.get(id.0) {
                Some((own, Handle::StepTarget(target))) if *own == tid => Some(target.clone()),
                _ => {
                    return Err(format!(
                        "There is no step-in target {id} at this stop of the thread; ask for 'stepInTargets' again."
                    ));
                }
            },
        };
        let unit = match arguments.granularity {
            Some(SteppingGranularity::Instruction) if into.is_none() => StepUnit::Instruction,
            _ => StepUnit::Line,
        };
        Ok((tid, unit, into))
    }
}
