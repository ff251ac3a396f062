//! `setExpression`: a place that an expression names gets a new value, which may be an expression too.

use dap::{SetExpressionArguments, SetExpressionResponseBody};

use super::variables::style_of;
use super::{Answer, Answered, Server};
use crate::address::Tid;
use crate::engine::handles::Handle;
use crate::expression::{Evaluated, evaluate, parse};
use crate::values::view::display_type;

impl Server {
    pub(super) fn set_expression(
        &mut self,
        arguments: SetExpressionArguments,
    ) -> Answered<SetExpressionResponseBody> {
        let frame_id =
            arguments.frame_id.ok_or("An expression needs a frame: select one of a paused task.")?;
        let Some((tid, Handle::Frame(frame))) = self.engine.handles.get(frame_id.0).cloned() else {
            return Err("There is no such frame; its thread runs on.".to_owned());
        };
        let Evaluated::Value(place) = self.evaluated(tid, frame, &arguments.expression)? else {
            return Err(format!("{:?} is no place of the program that could be set.", arguments.expression));
        };
        if let Err(reason) = self.assign(tid, Some(frame), &place, &arguments.value) {
            // Not a plain value: perhaps an expression whose result is one.
            let Ok(result) = self.evaluated(tid, frame, &arguments.value) else { return Err(reason) };
            let text = result.text(&self.engine.process);
            self.assign(tid, Some(frame), &place, &text)?;
        }
        let style = style_of(arguments.format.as_ref());
        // The place may have moved with what was set: a pointer on the way to it, for example.
        let (value, type_, variables_reference) = match self.evaluated(tid, frame, &arguments.expression)? {
            Evaluated::Value(again) => {
                let (shown, reference) = self.shown(tid, &again, style)?;
                (shown.line, Some(display_type(&again.of.name)), Some(reference))
            }
            other => (other.text_as(&self.engine.process, style), None, None),
        };
        Ok(Answer::Now(SetExpressionResponseBody { value, type_, variables_reference, ..Default::default() }))
    }

    /// What an expression comes to in a frame.
    pub(super) fn evaluated(&self, tid: Tid, frame: usize, expression: &str) -> Result<Evaluated, String> {
        let say = |reason| format!("This cannot be evaluated: {reason}.");
        let expression = parse(expression).map_err(say)?;
        let memory = &self.engine.process;
        self.with_variables(tid, frame, |variables| evaluate(&expression, variables, memory)).map_err(say)
    }
}
