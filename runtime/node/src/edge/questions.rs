//! Questions that come through the head: logs, what waits here, stacks. The answer goes back in parts, as fast as they are taken.

use std::sync::Arc;

use manta_proto::{
    ids::{ProcessId, TaskId},
    limits::ANSWER_PARTS_AHEAD,
    v1::{AskNode, MoreOfAnswer, NodeAnswer, NodeToHead, ReadLog, node_question::Question, node_to_head},
};
use tokio::sync::{Notify, Semaphore};

use super::{Shared, logs::Log, objects, stacks};

/// An answer that is under way.
pub struct Open {
    room: Arc<Semaphore>,
    over: Arc<Notify>,
}

/// Answers a question.
pub fn ask(shared: &Arc<Shared>, ask: AskNode) {
    let query_id = ask.query_id;
    let Some(question) = ask.question.and_then(|question| question.question) else {
        let answer = NodeAnswer {
            query_id,
            last: true,
            error: "this node does not understand the question; install the same release everywhere"
                .to_owned(),
            ..NodeAnswer::default()
        };
        return tell(shared, answer);
    };
    let (room, over) = (Arc::new(Semaphore::new(ANSWER_PARTS_AHEAD)), Arc::new(Notify::new()));
    shared.lock().questions.insert(query_id, Open { room: Arc::clone(&room), over: Arc::clone(&over) });
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let asker = Asker { shared: Arc::clone(&shared), query_id, room };
        let error = tokio::select! {
            outcome = answer(&shared, &asker, question) => outcome.err(),
            () = over.notified() => None,
        };
        shared.lock().questions.remove(&query_id);
        let last =
            NodeAnswer { query_id, last: true, error: error.unwrap_or_default(), ..NodeAnswer::default() };
        tell(&shared, last);
    });
}

/// The asker has taken a part, or is gone.
pub fn more(shared: &Shared, more: MoreOfAnswer) {
    if let Some(open) = shared.lock().questions.get(&more.query_id) {
        if more.cancel {
            open.over.notify_one();
        } else {
            open.room.add_permits(1);
        }
    }
}

/// The head is gone, and all who asked through it.
pub fn end_all(shared: &Shared) {
    for open in shared.lock().questions.values() {
        open.over.notify_one();
    }
}

pub struct Asker {
    shared: Arc<Shared>,
    query_id: u64,
    room: Arc<Semaphore>,
}

impl Asker {
    /// Sends a part, when the asker has room for it.
    pub async fn send(&self, data: Vec<u8>) -> Result<(), String> {
        let permit = self.room.acquire().await.map_err(|error| error.to_string())?;
        permit.forget();
        tell(
            &self.shared,
            NodeAnswer { query_id: self.query_id, data: data.into(), ..NodeAnswer::default() },
        );
        Ok(())
    }
}

fn tell(shared: &Shared, answer: NodeAnswer) {
    let mut state = shared.lock();
    shared.send_to_head(&mut state, NodeToHead { message: Some(node_to_head::Message::NodeAnswer(answer)) });
}

async fn answer(shared: &Arc<Shared>, asker: &Asker, question: Question) -> Result<(), String> {
    match question {
        Question::ListLogs(list) => {
            asker.send(shared.logs.list(&list.pattern).to_string().into_bytes()).await
        }
        Question::Explain(_) => {
            let explained = shared.read(crate::core::Core::explain);
            asker.send(explained.to_string().into_bytes()).await
        }
        Question::ReadLog(read) if !read.task_id.is_empty() => read_of_task(shared, asker, &read).await,
        Question::ReadLog(read) => {
            let Some(log) = shared.logs.find(&read.name) else {
                return Err(format!("there is no log '{}' here; see 'manta logs'", read.name));
            };
            read_log(asker, &log, read.tail, read.follow).await
        }
        Question::Objects(_) => objects::answer(shared, asker).await,
        Question::Environments(_) => {
            let listed = shared.read(crate::core::Core::list_environments);
            asker.send(listed.to_string().into_bytes()).await
        }
        Question::Stacks(wanted) => {
            let workers = shared.read(crate::core::Core::worker_pids);
            let meant = |id: &ProcessId| {
                wanted.workers.is_empty()
                    || wanted.workers.iter().any(|wish| id.to_string().starts_with(&**wish))
            };
            for (id, pid) in workers.into_iter().filter(|(id, _)| meant(id)) {
                let stack = stacks::of(shared, id, pid, wanted.native).await;
                asker.send(stack.to_string().into_bytes()).await?;
            }
            Ok(())
        }
    }
}

async fn read_log(asker: &Asker, log: &Log, tail: i64, follow: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the log '{}' cannot be read: {error}", log.name);
    let mut at = log.start_of_tail(tail).map_err(failed)?;
    loop {
        let (data, next, more) = log.read(at).map_err(failed)?;
        at = next;
        if !data.is_empty() {
            asker.send(data).await?;
        } else if !(follow && more) {
            return Ok(());
        } else {
            log.wait(at).await;
        }
    }
}

async fn read_of_task(shared: &Shared, asker: &Asker, read: &ReadLog) -> Result<(), String> {
    let task =
        TaskId::from_hex(&read.task_id).ok_or_else(|| format!("'{}' is no id of a task", read.task_id))?;
    let mut text = Vec::new();
    for (name, from, to) in shared.logs.of_task(task).unwrap_or_default() {
        if !read.name.is_empty() && !super::logs::matches(&read.name, &name) {
            continue;
        }
        let Some(log) = shared.logs.find(&name) else { continue };
        let mut at = from;
        while at < to {
            let (mut data, next, _) =
                log.read(at).map_err(|error| format!("the log '{name}' cannot be read: {error}"))?;
            if data.is_empty() {
                break;
            }
            // The newest lines only are kept: the beginning may be gone.
            let begin = next - data.len() as u64;
            data.truncate(usize::try_from(to.saturating_sub(begin)).unwrap_or(usize::MAX));
            text.extend_from_slice(&data);
            at = next;
        }
    }
    for part in tail_of(&text, read.tail).chunks(manta_proto::limits::ANSWER_PART_BYTES) {
        asker.send(part.to_vec()).await?;
    }
    Ok(())
}

fn tail_of(text: &[u8], lines: i64) -> &[u8] {
    let Ok(lines) = usize::try_from(lines) else { return text };
    let end = text.strip_suffix(b"\n").unwrap_or(text);
    if lines == 0 {
        return &[];
    }
    let mut ends = end.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.nth(lines - 1).map_or(text, |(at, _)| &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_has_whole_lines() {
        assert_eq!(tail_of(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(tail_of(b"a\nb\nc", 1), b"c");
        assert_eq!(tail_of(b"a\n", 5), b"a\n");
        assert_eq!(tail_of(b"a\n", -1), b"a\n");
        assert_eq!(tail_of(b"a\n", 0), b"");
    }
}
