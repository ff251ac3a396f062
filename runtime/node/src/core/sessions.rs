//! The ends of debug sessions: what is disarmed at once, what is resumed after the grace.

use std::time::Duration;

use manta_proto::{
    ids::{ProcessId, SessionId},
    v1,
};
use serde_json::{json, value::RawValue};

use super::{Core, Effect, Timer, debug::Request, workers::State};

/// How long paused tasks wait for a head that was lost.
const HEAD_GRACE: Duration = Duration::from_secs(15);

impl Core {
    /// The session ended, or lost its connection.
    pub(super) fn on_session_ended(&mut self, ended: &v1::SessionEnded) {
        let Ok(session) = SessionId::try_from(&ended.session_id) else { return };
        let generation = self.debug.config.take().map_or(0, |config| config.generation);
        self.debug.rounds.clear();
        self.unblock_configuring();
        if ended.grace_ms == 0 {
            self.release(session);
            return;
        }
        self.disarm(session, generation);
        self.lose_session(session, Duration::from_millis(ended.grace_ms.into()));
    }

    /// The head's connection ended: as far as is known here, so did the session. Its breakpoints stay in force for its grace, as it
    /// looks for the head too.
    pub fn on_head_lost(&mut self) {
        self.return_uncommitted();
        let session =
            self.debug.config.as_ref().and_then(|config| SessionId::try_from(&config.session_id).ok());
        if let Some(session) = session {
            self.lose_session(session, HEAD_GRACE);
        }
    }

    /// The head is back. Until the session is back too, the grace goes on, and its breakpoints stay in force: no stop is missed.
    pub(super) fn on_head_found(&mut self) {
        if self.debug.lost.is_some() {
            self.debug.rounds.clear();
        }
    }

    fn lose_session(&mut self, session: SessionId, grace: Duration) {
        self.debug.lost = Some(session);
        self.debug.losses += 1;
        self.effects.push(Effect::Timer(Timer::Grace { loss: self.debug.losses }, grace));
    }

    fn unblock_configuring(&mut self) {
        let mut configuring: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.state == State::Configuring)
            .map(|(id, _)| *id)
            .collect();
        configuring.sort_unstable();
        for id in configuring {
            self.on_worker_ready(id);
        }
    }

    pub(super) fn on_grace_over(&mut self, loss: u64) {
        // A session that came back and was lost again has a grace of its own.
        if loss == self.debug.losses
            && let Some(session) = self.debug.lost.take()
        {
            self.debug.config = None;
            self.release(session);
        }
    }

    fn loaded_targets(&self) -> Vec<ProcessId> {
        let mut loaded: Vec<_> =
            self.debug.targets.iter().filter(|(_, target)| target.loaded).map(|(id, _)| *id).collect();
        loaded.sort_unstable();
        loaded
    }

    /// Takes a lost session's breakpoints away at once; what is paused stays so until the grace is over.
    fn disarm(&mut self, session: SessionId, generation: u64) {
        let arguments = json!({
            "generation": generation, "sessionId": session.to_string(), "sources": [],
            "functionBreakpoints": [], "exceptionFilters": [], "exceptionOptions": [],
        });
        self.request_all("mantaConfigure", &arguments, Request::Disarm);
    }

    pub(super) fn release(&mut self, session: SessionId) {
        self.request_all("mantaRelease", &json!({"sessionId": session.to_string()}), Request::Release);
    }

    fn request_all(&mut self, command: &str, arguments: &serde_json::Value, request: Request) {
        let arguments = RawValue::from_string(arguments.to_string()).expect("a JSON value prints as JSON");
        for target in self.loaded_targets() {
            self.request(target, command, &arguments, request);
        }
    }

    pub(super) fn on_released(&mut self, id: ProcessId) {
        let Some(target) = self.debug.targets.get_mut(&id) else { return };
        // A new session may have started in the meantime; it keeps the engine.
        if self.debug.config.is_none() && target.agent_runs {
            self.effects.push(Effect::StopAgent(id));
        }
    }
}
