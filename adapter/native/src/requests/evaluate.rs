//! `evaluate`

use dap::{EvaluateArguments, EvaluateResponseBody, VariablesReference};

use super::{Answer, Answered, Server};
use crate::engine::handles::Handle;
use crate::expression::Evaluated;
use crate::values::render::{Shown, Style};
use crate::values::view::display_type;

impl Server {
    pub(super) fn evaluate(&mut self, arguments: EvaluateArguments) -> Answered<EvaluateResponseBody> {
        let frame_id =
            arguments.frame_id.ok_or("An expression needs a frame: select one of a paused task.")?;
        let (tid, evaluated) = match self.engine.handles.get(frame_id.0).cloned() {
            Some((tid, Handle::Frame(frame))) => (tid, self.evaluated(tid, frame, &arguments.expression)?),
            Some((tid, Handle::Awaiter(future))) => (tid, self.evaluated_in(&future, &arguments.expression)?),
            Some((_, Handle::Label)) => return Err("This line of the stack is no frame.".to_owned()),
            _ => return Err("There is no such frame; its thread runs on.".to_owned()),
        };
        let whole = arguments.context.as_ref() == Some(&dap::EvaluateContext::Clipboard);
        let style = if whole { Style::WHOLE } else { Style::LINE };
        let style = style.with_hex(arguments.format.and_then(|format| format.hex).unwrap_or(false));
        let Evaluated::Value(value) = &evaluated else {
            let result = evaluated.text_as(&self.engine.process, style);
            let reference = VariablesReference(0);
            return Ok(Answer::Now(EvaluateResponseBody {
                result,
                variables_reference: reference,
                ..Default::default()
            }));
        };
        let (Shown { line, counts, address }, variables_reference) = self.shown(tid, value, style)?;
        self.engine.handles.name(variables_reference.0, Some(&format!("({})", arguments.expression)));
        Ok(Answer::Now(EvaluateResponseBody {
            memory_reference: address.map(|address| address.to_string()),
            result: line,
            type_: Some(display_type(&value.of.name)),
            variables_reference,
            named_variables: i32::try_from(counts.named).ok().filter(|count| *count > 0),
            indexed_variables: i32::try_from(counts.indexed).ok().filter(|count| *count > 0),
            ..Default::default()
        }))
    }
}
