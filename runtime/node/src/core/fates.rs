//! How workers ended, for whoever asks later.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use manta_proto::{
    ids::{NodeId, ProcessId},
    limits::WORKER_FATES_MAX,
    v1::{WorkerFateReply, WorkerFateRequest, node_to_process},
};
use nix::sys::signal::Signal;

use super::{
    Core, Effect, ReplyId, Timer,
    workers::{Exit, State, Worker},
};

/// How long a question about a worker's end waits for that end.
const FATE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
enum Asker {
    Process(ProcessId, u64),
    Peer(ReplyId),
}

#[derive(Default)]
pub(super) struct Fates {
    known: HashMap<ProcessId, WorkerFateReply>,
    order: VecDeque<ProcessId>,
    waiting: HashMap<ProcessId, Vec<Asker>>,
}

impl Core {
    pub(super) fn fate_of(&self, worker: &Worker, exit: &Exit) -> WorkerFateReply {
        let name = format!("worker {} on {}", worker.pid().unwrap_or(0), self.me.name);
        let intended = worker.state == State::Ending;
        let sentence = if !exit.spawn_error.is_empty() {
            format!("a worker could not be started on {}: {}", self.me.name, exit.spawn_error)
        } else if let Some(sentence) = &worker.killed_for_memory {
            sentence.clone()
        } else if intended {
            format!("{name} was ended by its node, because its job is over or it was of no use any more")
        } else if exit.signal != 0 {
            let signal = Signal::try_from(exit.signal).map_or("unknown", Signal::as_str);
            format!("{name} was killed by signal {} ({signal})", exit.signal)
        } else {
            format!("{name} exited with code {}", exit.code)
        };
        WorkerFateReply {
            request_id: 0,
            sentence,
            exit_code: exit.code,
            signal: exit.signal,
            last_stderr: exit.last_stderr.clone(),
            intended,
            out_of_memory: worker.killed_for_memory.is_some(),
            node_gone: false,
        }
    }

    pub(super) fn record_fate(&mut self, id: ProcessId, fate: WorkerFateReply) {
        for asker in self.fates.waiting.remove(&id).unwrap_or_default() {
            self.answer_fate(asker, fate.clone());
        }
        if self.fates.known.insert(id, fate).is_none() {
            self.fates.order.push_back(id);
        }
        if self.fates.order.len() > WORKER_FATES_MAX
            && let Some(oldest) = self.fates.order.pop_front()
        {
            self.fates.known.remove(&oldest);
        }
    }

    /// A process of ours asks, perhaps about a worker elsewhere.
    pub(super) fn on_fate_request(&mut self, from: ProcessId, request: &WorkerFateRequest) {
        let asker = Asker::Process(from, request.request_id);
        let node = NodeId::try_from(&request.node_id).unwrap_or(self.me.id);
        if node == self.me.id {
            self.find_fate(asker, &request.worker_id);
        } else if let Some(peer) = self.peers.get(&node) {
            let address = peer.address.clone();
            self.effects.push(Effect::AskFate { process: from, address, request: request.clone() });
        } else {
            let sentence = format!("{} was lost, and its workers with it", self.node_name(node));
            let fate = WorkerFateReply { sentence, node_gone: true, ..WorkerFateReply::default() };
            self.answer_fate(asker, fate);
        }
    }

    /// A peer asks about a worker of ours.
    pub fn on_peer_fate(&mut self, reply: ReplyId, request: &WorkerFateRequest) {
        self.find_fate(Asker::Peer(reply), &request.worker_id);
    }

    fn find_fate(&mut self, asker: Asker, worker: &[u8]) {
        let unknown = || WorkerFateReply {
            sentence: format!(
                "{} knows nothing of this worker; it ended long ago, or its node started anew",
                self.me.name
            ),
            ..WorkerFateReply::default()
        };
        let Ok(id) = ProcessId::try_from(worker) else {
            let fate = unknown();
            return self.answer_fate(asker, fate);
        };
        if let Some(fate) = self.fates.known.get(&id).cloned() {
            self.answer_fate(asker, fate);
        } else if self.workers.contains_key(&id) {
            self.fates.waiting.entry(id).or_default().push(asker);
            self.effects.push(Effect::Timer(Timer::Fate(id), FATE_TIMEOUT));
        } else {
            let fate = unknown();
            self.answer_fate(asker, fate);
        }
    }

    pub(super) fn on_fate_timeout(&mut self, id: ProcessId) {
        let Some(askers) = self.fates.waiting.remove(&id) else { return };
        let pid = self.workers.get(&id).and_then(Worker::pid).unwrap_or(0);
        let sentence = format!("worker {pid} on {} runs, but its connection was lost", self.me.name);
        for asker in askers {
            self.answer_fate(
                asker,
                WorkerFateReply { sentence: sentence.clone(), ..WorkerFateReply::default() },
            );
        }
    }

    fn answer_fate(&mut self, asker: Asker, mut fate: WorkerFateReply) {
        match asker {
            Asker::Process(process, request_id) => {
                fate.request_id = request_id;
                self.tell_process(process, node_to_process::Message::Fate(fate));
            }
            Asker::Peer(reply) => self.effects.push(Effect::AnswerFate(reply, fate)),
        }
    }
}
