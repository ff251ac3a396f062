//! `stackTrace`: the innermost frame from memory, more from the target.

use dap::{RequestMessage, Source, StackTraceArguments, StackTraceResponseBody, ThreadId, requests};

use super::{Handled, Refusal};
use crate::{
    arena::ArenaId,
    ids::TargetId,
    limits::FRAMES_MAX,
    looks::Found,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: StackTraceArguments = request.arguments()?;
    let thread = session.paused(arguments.thread_id.0)?;
    let (target, target_thread) = (thread.target.clone(), thread.target_thread);
    let Some(stop) = thread.stop() else { return Err(Refusal::from("the task runs")) };
    let arena = stop.arena;
    let start = arguments.start_frame.unwrap_or(0).max(0);
    let levels = arguments.levels.filter(|levels| *levels > 0).unwrap_or(FRAMES_MAX).min(FRAMES_MAX);
    let has_format = arguments.format.is_some();
    let top = stop.top_frame.clone().filter(|_| (start, levels) == (0, 1));
    session.note_asked(arena, start.saturating_add(levels), false);
    if let Some(frame) = top {
        // That there is more, the client learns by asking: a short answer is the stack's end.
        let frame = session.shown_frame(frame, &target, arena)?;
        let body = StackTraceResponseBody { stack_frames: vec![frame], total_frames: None };
        return Ok(Some(request.ok::<requests::StackTrace>(&body)));
    }
    match session.looks.stack(arena, start, levels) {
        Found::Answer(body) if !has_format => {
            let body = answered(session, &target, arena, body)?;
            return Ok(Some(request.ok::<requests::StackTrace>(&body)));
        }
        Found::Wait if !has_format => {
            session.looks.hold(arena, request.clone());
            return Ok(None);
        }
        _ => {}
    }
    let asked = StackTraceArguments {
        thread_id: ThreadId(target_thread),
        start_frame: Some(start),
        levels: Some(levels),
        format: arguments.format,
    };
    let pending = Pending::new(Some(origin(request)), target, Some(arena), Purpose::StackTrace);
    session.ask::<requests::StackTrace>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    arena: ArenaId,
    body: StackTraceResponseBody,
) -> Result<StackTraceResponseBody, Refusal> {
    let mut stack_frames = Vec::with_capacity(body.stack_frames.len());
    // A recursion has the same file in each frame: whether the client has it is looked up once.
    let mut last: Option<(Source, Source)> = None;
    for mut frame in body.stack_frames {
        let source = frame.source.take();
        let mut shown = session.shown_frame(frame, target, arena)?;
        shown.source = source.map(|source| match &last {
            Some((own, shown)) if *own == source => shown.clone(),
            _ => {
                let shown = session.shown_source(source.clone(), target);
                last = Some((source, shown.clone()));
                shown
            }
        });
        stack_frames.push(shown);
    }
    Ok(StackTraceResponseBody { stack_frames, total_frames: body.total_frames })
}
