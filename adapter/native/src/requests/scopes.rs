//! `scopes`: a frame has one, its variables.

use dap::{Scope, ScopePresentationHint, ScopesArguments, ScopesResponseBody, VariablesReference};

use super::{Answer, Answered, Server};
use crate::engine::handles::Handle;

impl Server {
    pub(super) fn scopes(&mut self, arguments: ScopesArguments) -> Answered<ScopesResponseBody> {
        let Some((tid, Handle::Frame(frame))) = self.engine.handles.get(arguments.frame_id.0).cloned() else {
            return Err("There is no such frame; its thread runs on.".to_owned());
        };
        let count = self.with_variables(tid, frame, |variables| Ok(variables.all().len()));
        // A frame without debug information has no variables, and that is no error.
        let Ok(count) = count else { return Ok(Answer::Now(ScopesResponseBody { scopes: Vec::new() })) };
        let id = self.engine.handles.add(tid, Handle::Variables(frame)).ok_or(super::variables::TOO_MANY)?;
        let scope = Scope {
            name: "Locals".to_owned(),
            presentation_hint: Some(ScopePresentationHint::Locals),
            variables_reference: VariablesReference(id),
            named_variables: i32::try_from(count).ok(),
            expensive: false,
            ..Default::default()
        };
        Ok(Answer::Now(ScopesResponseBody { scopes: vec![scope] }))
    }
}
