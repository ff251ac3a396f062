//! `scopes`: a frame has its variables and its registers.

use dap::{Scope, ScopePresentationHint, ScopesArguments, ScopesResponseBody, VariablesReference};

use super::{Answer, Answered, Server};
use crate::engine::handles::Handle;

impl Server {
    pub(super) fn scopes(&mut self, arguments: ScopesArguments) -> Answered<ScopesResponseBody> {
        let (tid, frame) = match self.engine.handles.get(arguments.frame_id.0).cloned() {
            Some((tid, Handle::Frame(frame))) => (tid, frame),
            Some((tid, Handle::Awaiter(future))) => return self.scopes_of_awaiter(tid, future),
            Some((_, Handle::Label)) => return Ok(Answer::Now(ScopesResponseBody { scopes: Vec::new() })),
            _ => return Err("There is no such frame; its thread runs on.".to_owned()),
        };
        let mut scopes = Vec::new();
        let count = self.with_variables(tid, frame, |variables| Ok(variables.all().len()));
        // A frame without debug information has no variables, and that is no error.
        if let Ok(count) = count {
            let id =
                self.engine.handles.add(tid, Handle::Variables(frame)).ok_or(super::variables::TOO_MANY)?;
            scopes.push(Scope {
                name: "Locals".to_owned(),
                presentation_hint: Some(ScopePresentationHint::Locals),
                variables_reference: VariablesReference(id),
                named_variables: i32::try_from(count).ok(),
                expensive: false,
                ..Default::default()
            });
        }
        let id = self.engine.handles.add(tid, Handle::Registers(frame)).ok_or(super::variables::TOO_MANY)?;
        scopes.push(Scope {
            name: "Registers".to_owned(),
            presentation_hint: Some(ScopePresentationHint::Registers),
            variables_reference: VariablesReference(id),
            expensive: false,
            ..Default::default()
        });
        if frame == 0 {
            scopes.extend(self.tokio_scope(tid)?);
        }
        Ok(Answer::Now(ScopesResponseBody { scopes }))
    }
}
