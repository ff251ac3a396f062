//! A target's sources, lines and variables, as the client can use them.

use dap::{Source, StackFrame, VariablesReference};

use crate::{
    arena::{ArenaId, HandleError, HandleKind},
    ids::TargetId,
    session::Session,
};

impl Session {
    pub(crate) fn shown_source(&mut self, source: Source, target: &TargetId) -> Source {
        self.sources.shown(source, target, &self.paths, self.files.as_ref())
    }

    /// A source of the client, as the cluster knows it best.
    pub(crate) fn remote_path(&self, source: Source) -> Option<String> {
        let reference = source.source_reference.map_or(0, i32::from);
        if let Some(path) = self.sources.held(reference).and_then(|held| held.path) {
            return Some(path);
        }
        let path = source.path.filter(|path| !path.is_empty())?;
        self.paths.to_remote(&path).into_iter().next().or(Some(path))
    }

    pub(crate) fn shown_line(&self, line: i64) -> i64 {
        // Frames without a source have line 0 whatever the client counts from.
        (line - 1 + self.client.lines_start_at).max(0)
    }

    pub(crate) fn shown_column(&self, column: i64) -> i64 {
        (column - 1 + self.client.columns_start_at).max(0)
    }

    pub(crate) fn shown_frame(
        &mut self,
        frame: StackFrame,
        target: &TargetId,
        arena: ArenaId,
    ) -> Result<StackFrame, HandleError> {
        let id = self.arenas.handle(arena, HandleKind::Frame, frame.id.0)?;
        Ok(StackFrame {
            id: dap::FrameId(id),
            source: frame.source.map(|source| self.shown_source(source, target)),
            line: self.shown_line(frame.line),
            column: self.shown_column(frame.column),
            end_line: frame.end_line.map(|line| self.shown_line(line)),
            end_column: frame.end_column.map(|column| self.shown_column(column)),
            instruction_pointer_reference: self.shown_memory(frame.instruction_pointer_reference, target),
            // Modules are each process's own, and are not offered.
            module_id: None,
            ..frame
        })
    }

    pub(crate) fn shown_reference(
        &mut self,
        reference: VariablesReference,
        arena: ArenaId,
    ) -> Result<VariablesReference, HandleError> {
        if !reference.has_children() {
            return Ok(VariablesReference::NONE);
        }
        self.arenas.handle(arena, HandleKind::Variables, reference.0).map(VariablesReference)
    }

    /// A value's type, where the client shows types.
    pub(crate) fn shown_type(&self, type_: Option<String>) -> Option<String> {
        type_.filter(|_| self.client.shows_types)
    }
}
