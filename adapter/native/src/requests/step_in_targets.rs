//! `stepInTargets`: the calls of the line at which a thread stands, by name.

use dap::{StepInTarget, StepInTargetId, StepInTargetsArguments, StepInTargetsResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::calls::calls_of_line;
use crate::engine::handles::Handle;

impl Server {
    pub(super) fn step_in_targets(
        &mut self,
        arguments: StepInTargetsArguments,
    ) -> Answered<StepInTargetsResponseBody> {
        let Some((tid, Handle::Frame(frame))) = self.engine.handles.get(arguments.frame_id.0).cloned() else {
            return Err("There is no such frame; its thread runs on.".to_owned());
        };
        // A caller's call is being made already.
        if frame > 0 {
            return Ok(Answer::Now(StepInTargetsResponseBody::default()));
        }
        let registers =
            self.engine.registers(tid).map_err(|error| format!("The thread cannot be read: {error}."))?;
        let stop = self.engine.threads.get(tid).and_then(|thread| thread.stop());
        let hidden = stop.map_or(0, |stop| stop.hidden);
        let calls = calls_of_line(&self.engine.modules, &self.engine.process, &registers, hidden);
        let mut targets = Vec::with_capacity(calls.len());
        for call in calls {
            let handle = Handle::StepTarget(call.target);
            let id = self.engine.handles.add(tid, handle).ok_or(super::variables::TOO_MANY)?;
            let column = (call.column != 0).then(|| i64::from(call.column));
            targets.push(StepInTarget {
                id: StepInTargetId(id),
                label: call.name,
                column,
                ..Default::default()
            });
        }
        Ok(Answer::Now(StepInTargetsResponseBody { targets }))
    }
}
