//! What targets tell without being asked.

use dap::{
    BreakpointEventBody, EventMessage, InvalidatedAreas, InvalidatedEventBody, Message, OutputEventBody,
    ResponseMessage, ThreadEventBody, ThreadEventReason, events,
};

use crate::{
    effect::Effect,
    ids::TargetId,
    limits, output, profile,
    session::{Phase, Session},
};

impl Session {
    pub(crate) fn on_target(&mut self, target: &TargetId, message: Message) {
        // What one that is gone had said before may come after the news of its end. None of it holds any more.
        if self.phase != Phase::Attached || !self.targets.contains_key(target) {
            return;
        }
        match message {
            Message::Response(response) => self.on_target_response(target, &response),
            Message::Event(event) => self.on_target_event(target, &event),
            Message::Request(request) => {
                let sentence = format!("the session does not know the request '{}'", request.command);
                self.log(format!("{target} asked: {sentence}"));
                let refusal = ResponseMessage::err(request.seq, request.command, sentence);
                self.effects.push(Effect::ToTarget { target: target.clone(), message: refusal.into() });
            }
        }
    }

    fn on_target_event(&mut self, target: &TargetId, event: &EventMessage) {
        let handled = match event.event.as_str() {
            profile::STOPPED => event.body().map(|body| self.on_stopped(target, body)),
            profile::CONTINUED => event.body().map(|body| self.on_continued(target, &body)),
            profile::LOOK => event.body().map(|body| self.on_look(target, body)),
            "breakpoint" => event.body().map(|body| self.on_breakpoint_event(target, &body)),
            "output" => event.body().map(|body| self.on_output_event(target, body)),
            "invalidated" => event.body().map(|body| self.on_invalidated(target, &body)),
            "thread" => event.body().map(|body| self.on_thread_event(target, &body)),
            // A target's own life is told by the cluster, and its code by its breakpoints.
            "initialized" | "process" | "module" | "loadedSource" | "exited" | "terminated" => Ok(()),
            other => {
                self.log(format!(
                    "{target} sent the event '{other}', which the target profile does not have"
                ));
                Ok(())
            }
        };
        if let Err(malformed) = handled {
            let name = self.target_name(target);
            self.console(&format!("{name} sent something that could not be read: {malformed}"));
        }
    }

    fn on_breakpoint_event(&mut self, target: &TargetId, body: &BreakpointEventBody) {
        let name = self.target_name(target);
        self.breakpoints.on_breakpoint(target, &name, &body.breakpoint);
        self.learn_from(std::slice::from_ref(&body.breakpoint));
        self.publish_if_due();
        self.tell_breakpoint_changes();
    }

    /// What a log point has to say, for instance.
    fn on_output_event(&mut self, target: &TargetId, body: OutputEventBody) {
        if body.data.as_ref().is_some_and(|data| data["level"].is_string()) {
            return self.on_level(target, &body.output);
        }
        let source = body.source.map(|source| self.shown_source(source, target));
        let shown = OutputEventBody {
            output: output::cut(&body.output).into_owned(),
            source,
            line: body.line.map(|line| self.shown_line(line)),
            column: body.column.map(|column| self.shown_column(column)),
            // Their ids would be the target's own.
            variables_reference: None,
            location_reference: None,
            data: None,
            ..body
        };
        self.emit::<events::Output>(&shown);
    }

    /// How well a target can be debugged, where that is less than people expect. What holds for one holds for many, most of the time.
    fn on_level(&mut self, target: &TargetId, sentence: &str) {
        let sentence = output::cut(sentence).trim_end().to_owned();
        let name = self.target_name(target);
        if self.levels_told.len() < limits::LEVELS_TOLD && self.levels_told.insert(sentence.clone()) {
            self.console(&format!(
                "{name}: {sentence} Other workers of which this is true are not named; `manta list workers` shows the level of each."
            ));
        }
    }

    /// A target knows more of a stop than it has shown, such as when debug information has come late.
    fn on_invalidated(&mut self, target: &TargetId, body: &InvalidatedEventBody) {
        let thread = body.thread_id.and_then(|thread| self.threads.find(target, thread.0));
        let Some(stop) = thread.and_then(|id| self.threads.get(id)?.stop()) else { return };
        let (arena, is_shown) = (stop.arena, stop.is_announced);
        self.forget_look(arena);
        if is_shown && self.client.takes_invalidated {
            // Of stacks the client asks again by itself: told of those, VS Code goes through all stops once more, and has lost some.
            let body = InvalidatedEventBody {
                areas: Some(vec![InvalidatedAreas::Variables]),
                thread_id: thread.map(dap::ThreadId),
                stack_frame_id: None,
            };
            self.emit::<events::Invalidated>(&body);
        }
    }

    fn on_thread_event(&mut self, target: &TargetId, body: &ThreadEventBody) {
        if body.reason != ThreadEventReason::Exited {
            return;
        }
        if let Some(id) = self.threads.find(target, body.thread_id.0) {
            self.end_thread(id, None);
        }
    }
}
