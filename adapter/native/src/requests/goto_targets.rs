//! `gotoTargets`: a line that a thread could go on from. Which thread that will be, only `goto` says.

use dap::{GotoTarget, GotoTargetId, GotoTargetsArguments, GotoTargetsResponseBody};

use super::{Answer, Answered, Server};
use crate::address::{Address, Tid};
use crate::engine::jump::Jump;
use crate::engine::resolve::lines_with_code;

impl Server {
    pub(super) fn goto_targets(
        &mut self,
        arguments: GotoTargetsArguments,
    ) -> Answered<GotoTargetsResponseBody> {
        let path = arguments.source.path.ok_or("The path of the file is missing.")?;
        let line =
            u32::try_from(arguments.line).map_err(|_| format!("There is no line {}.", arguments.line))?;
        let paths = [path.clone()];
        let has_code = self.engine.modules.states().iter().any(|module| {
            module
                .content
                .as_ref()
                .is_ok_and(|module| !lines_with_code(module, &paths, line..=line).is_empty())
        });
        if !has_code {
            return Ok(Answer::Now(GotoTargetsResponseBody::default()));
        }
        let id = self.jumps.add(Jump { path, line }).ok_or("No ids are left for places to go on from.")?;
        let target = GotoTarget {
            id: GotoTargetId(id),
            label: format!("line {line}"),
            line: arguments.line,
            ..Default::default()
        };
        Ok(Answer::Now(GotoTargetsResponseBody { targets: vec![target] }))
    }

    /// Which thread is to go where.
    pub(super) fn jump_of(&self, arguments: &dap::GotoArguments) -> Result<(Tid, Address), String> {
        let tid = self.held(arguments.thread_id)?.tid;
        let id = arguments.target_id.0;
        let jump = self
            .jumps
            .get(id)
            .ok_or_else(|| format!("There is no goto target {id}; ask for 'gotoTargets' again."))?;
        Ok((tid, self.engine.place_of_jump(tid, jump)?))
    }
}
