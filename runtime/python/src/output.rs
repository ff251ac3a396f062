//! What tasks print: from a worker to its node, and from the node to the driver's printing thread.

use std::{borrow::Cow, collections::VecDeque, mem, sync::Arc};

use manta_proto::limits::OUTPUT_LINE_BYTES_MAX;
use manta_worker::TaskOutputLine;
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

use crate::{connection, worker::Task};

/// Printed text that waits for a slow terminal. What comes on top is dropped, and the driver says how much.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Lines between the I/O thread, which must not wait, and the thread that writes them.
#[derive(Default)]
pub struct OutputQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<TaskOutputLine>,
    bytes: usize,
    dropped_bytes: usize,
    closed: bool,
}

impl OutputQueue {
    /// Adds text, or counts it as dropped when too much waits.
    pub fn push(&self, line: TaskOutputLine) {
        let mut state = self.state.lock();
        if state.bytes + line.text.len() > WAITING_BYTES_MAX {
            state.dropped_bytes += line.text.len();
        } else {
            state.bytes += line.text.len();
            state.lines.push_back(line);
        }
        self.changed.notify_one();
    }

    /// Nothing more comes: readers get what is left, then `None`.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for text; `None` at the end.
    fn take(&self, most: usize) -> Option<Vec<TaskOutputLine>> {
        let mut state = self.state.lock();
        while state.lines.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        let count = state.lines.len().min(most);
        let mut taken: Vec<_> = state.lines.drain(..count).collect();
        state.bytes -= taken.iter().map(|line| line.text.len()).sum::<usize>();
        if state.lines.is_empty() && state.dropped_bytes > 0 {
            let dropped = mem::take(&mut state.dropped_bytes);
            taken.push(TaskOutputLine {
                task_name: "manta".to_owned(),
                pid: std::process::id(),
                node_name: String::new(),
                stderr: true,
                text: format!("{dropped} bytes of tasks' output were dropped here, because they came faster than they could be written\n"),
            });
        }
        (!taken.is_empty()).then_some(taken)
    }
}

/// The next lines of this job's tasks, as (to stderr, task name, pid, text); `None` when the connection has ended.
#[pyfunction]
pub fn next_output(py: Python<'_>, most: usize) -> Option<Vec<(bool, String, u32, String)>> {
    let queue = connection::output_queue()?;
    let lines = py.detach(|| Arc::clone(&queue).take(most))?;
    Some(lines.into_iter().map(|line| (line.stderr, line.task_name, line.pid, line.text)).collect())
}

/// Sends whole lines as printed by `task`, or else by the task that runs; answers with false when none does, and sends nothing then.
/// They are shown with `name` before them, or else with the task's.
#[pyfunction]
#[pyo3(signature = (to_stderr, lines, task = None, name = None))]
pub fn send_output(
    py: Python<'_>,
    to_stderr: bool,
    lines: &str,
    task: Option<&Bound<'_, Task>>,
    name: Option<&str>,
) -> PyResult<bool> {
    let given = task.map(|task| task.get().current());
    let Some(task) = given.or_else(connection::running_task) else { return Ok(false) };
    let core = connection::core()?;
    py.detach(|| {
        let text: String =
            lines.split('\n').map(shortened).fold(String::new(), |text, line| text + &line + "\n");
        core.send_output(Some((task.id, name.unwrap_or(&task.name))), to_stderr, &text);
    });
    Ok(true)
}

fn shortened(line: &str) -> Cow<'_, str> {
    if line.len() <= OUTPUT_LINE_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let kept = line.floor_char_boundary(OUTPUT_LINE_BYTES_MAX);
    Cow::Owned(format!("{} [this line was cut: it had {} bytes]", &line[..kept], line.len()))
}
