//! What tasks print, and the count of it: a driver that leaves knows by the marks of finished tasks what is still on its way to it.

use manta_proto::{
    ids::ProcessId,
    v1::{OutputMark, TaskOutput, process_to_node},
};

use super::{Effect, FastMap, State};

/// Pieces that wait for the I/O thread are joined up to this size.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// Workers that a finished task can name as having printed for it; output of others may be cut off when the driver leaves at once.
const MARKS_MAX: usize = 64;

/// How many pieces of output left this process, and how many of other processes exist and have arrived.
#[derive(Default)]
pub(super) struct OutputCounts {
    sent: u64,
    told: FastMap<ProcessId, u64>,
    arrived: FastMap<ProcessId, u64>,
}

impl State {
    /// Worker: sends what a task printed. Answers with whether it was joined to a piece that had not left yet.
    pub fn on_output(&mut self, mut output: TaskOutput) -> bool {
        if let Some(Effect::ToNode(message)) = self.effects.last_mut()
            && let process_to_node::Message::Output(last) = &mut **message
        {
            let same = last.task_id == output.task_id && last.stderr == output.stderr;
            if same && last.text.len() + output.text.len() <= PIECE_BYTES_MAX {
                last.text.push_str(&output.text);
                return true;
            }
        }
        self.outputs.sent += 1;
        output.worker_id = self.me.process.to_bytes();
        output.sequence = self.outputs.sent;
        self.tell_node(process_to_node::Message::Output(output));
        false
    }

    /// Worker: what was printed before a task's end, by it and by the tasks that it waited for.
    pub(super) fn output_marks(&self) -> Vec<OutputMark> {
        let mark = |process: ProcessId, sequence: u64| OutputMark { worker_id: process.to_bytes(), sequence };
        let own = (self.outputs.sent > 0).then(|| mark(self.me.process, self.outputs.sent));
        let told = self.outputs.told.iter().map(|(process, sequence)| mark(*process, *sequence));
        own.into_iter().chain(told).take(MARKS_MAX).collect()
    }

    /// A task's end says what was printed until then.
    pub(super) fn on_output_marks(&mut self, marks: &[OutputMark]) {
        for mark in marks {
            if let Ok(process) = ProcessId::try_from(&mark.worker_id) {
                let told = self.outputs.told.entry(process).or_default();
                *told = mark.sequence.max(*told);
            }
        }
    }

    /// Driver: output came, and the binding has it.
    pub fn on_output_arrived(&mut self, worker_id: &bytes::Bytes, sequence: u64) {
        if let Ok(process) = ProcessId::try_from(worker_id) {
            let arrived = self.outputs.arrived.entry(process).or_default();
            *arrived = sequence.max(*arrived);
        }
    }

    /// Driver: whether all that finished tasks printed has arrived.
    pub fn has_all_output(&self) -> bool {
        let arrived = |process| self.outputs.arrived.get(process).copied().unwrap_or(0);
        self.outputs.told.iter().all(|(process, told)| arrived(process) >= *told)
    }
}
