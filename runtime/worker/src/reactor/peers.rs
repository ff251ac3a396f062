//! Connections to other processes: owners, workers, and processes that ask for objects.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use manta_proto::{
    ids::{ActorId, NodeId, ObjectId, ProcessId, TaskId},
    v1::{
        PeerHello, PeerMessage, RegisterFunction, WorkerFateReply, WorkerFateRequest, peer_message,
        process_to_node,
    },
};

use super::{ConnId, Effect, FastSet, RequestId, State, objects::error_value};
use crate::{FunctionId, SystemErrorKind};

pub(super) struct Conn {
    /// Known from the start when this side made the connection, else from the peer's hello.
    process: Option<ProcessId>,
    node: Option<NodeId>,
    greeted: bool,
    sent_functions: FastSet<FunctionId>,
}

/// What hangs on the answer to why a process ended.
#[derive(Default)]
pub(super) struct FateQuestion {
    actors: Vec<ActorId>,
    tasks: Vec<TaskId>,
    objects: Vec<ObjectId>,
    /// Tasks that run again already: an end for want of memory is not their fault, and costs them no retry.
    retried: Vec<TaskId>,
}

impl State {
    /// Sends a message to a peer; one that is gone gets nothing.
    pub(super) fn send(&mut self, conn: ConnId, message: peer_message::Message) {
        if self.conns.contains_key(&conn) {
            self.effects.push(Effect::Send { conn, message });
        }
    }

    /// Sends a function's code ahead of the first task that needs it.
    pub(super) fn send_function(&mut self, conn: ConnId, id: FunctionId) {
        let Some(peer) = self.conns.get_mut(&conn) else { return };
        if !peer.sent_functions.insert(id) {
            return;
        }
        if let Some((name, code)) = self.functions.get(&id) {
            let function = RegisterFunction {
                function_id: Bytes::copy_from_slice(&id.0),
                name: name.clone(),
                code: code.clone(),
            };
            self.send(conn, peer_message::Message::Function(function));
        }
    }

    /// The process behind a connection.
    pub(super) fn process_of(&self, conn: ConnId) -> Option<ProcessId> {
        self.conns.get(&conn)?.process
    }

    /// The connection to a process, which is made if there is none.
    pub(super) fn conn_to(&mut self, process: ProcessId, node: NodeId, socket: Option<PathBuf>) -> ConnId {
        if let Some(conn) = self.conn_of.get(&process) {
            return *conn;
        }
        let conn = ConnId(self.number());
        let given = socket.filter(|socket| !socket.as_os_str().is_empty());
        let folder = self.peer_dir(node);
        let socket = folder.map(|folder| given.unwrap_or_else(|| folder.join(format!("p-{process}.sock"))));
        let relay = (node != self.me.node).then(|| self.node_address(&node.0)).flatten();
        self.conns.insert(
            conn,
            Conn {
                process: Some(process),
                node: Some(node),
                greeted: false,
                sent_functions: FastSet::default(),
            },
        );
        self.conn_of.insert(process, conn);
        self.effects.push(Effect::Dial { conn, process, socket, relay });
        self.send_hello(conn);
        conn
    }

    /// Where the processes of a node on this machine have their sockets; `None` for nodes elsewhere.
    fn peer_dir(&self, node: NodeId) -> Option<PathBuf> {
        if node == self.me.node {
            return Some(self.me.peer_dir.clone());
        }
        let info = |id: NodeId| {
            let mut infos = self.view.nodes.iter().filter_map(|view| view.info.as_ref());
            infos.find(|info| info.node_id[..] == id.0)
        };
        let (theirs, ours) = (info(node)?, info(self.me.node)?);
        let folder = Path::new(&theirs.local_socket).parent()?;
        (theirs.machine_id == ours.machine_id).then(|| folder.to_owned())
    }

    fn send_hello(&mut self, conn: ConnId) {
        let hello = PeerHello {
            protocol_version: manta_proto::PROTOCOL_VERSION,
            process_id: self.me.process.to_bytes(),
            token: self.me.token.as_str().to_owned(),
            lease_id: Bytes::new(),
        };
        self.send(conn, peer_message::Message::Hello(hello));
    }

    /// A peer has connected; its hello is to come.
    pub fn on_accepted(&mut self) -> ConnId {
        let conn = ConnId(self.number());
        self.conns.insert(
            conn,
            Conn { process: None, node: None, greeted: false, sent_functions: FastSet::default() },
        );
        conn
    }

    /// A message came from a peer.
    pub fn on_message(&mut self, conn: ConnId, message: PeerMessage) {
        let Some(message) = message.message else { return };
        let greeted = self.conns.get(&conn).is_some_and(|peer| peer.greeted);
        match message {
            peer_message::Message::Hello(hello) if !greeted => self.on_hello(conn, &hello),
            // A second hello, or anything ahead of the first: not a peer of ours.
            peer_message::Message::Hello(_) => self.close(conn),
            _ if !greeted => self.close(conn),
            peer_message::Message::Function(function) => self.on_function(function),
            peer_message::Message::Push(task) => self.on_push(conn, task),
            peer_message::Message::Series(series) => self.on_series_pushed(conn, series),
            peer_message::Message::SeriesDone(done) => self.on_series_done(&done),
            peer_message::Message::Done(done) => {
                self.on_output_marks(&done.printed);
                let arrived = self.on_refs_arrive(conn, done.hold, &done.results);
                self.on_refs_kept(conn, &done);
                if let Ok(task) = TaskId::try_from(&done.task_id) {
                    self.unfold(task);
                }
                self.on_done(done);
                self.unpin_all(arrived);
            }
            peer_message::Message::Returned(returned) => {
                let tasks: Vec<TaskId> =
                    returned.task_ids.iter().filter_map(|id| TaskId::try_from(id).ok()).collect();
                self.on_returned(&tasks);
            }
            peer_message::Message::Paused(paused) => {
                if let Ok(task) = TaskId::try_from(&paused.task_id) {
                    self.unfold(task);
                    self.on_task_paused(task, paused.paused);
                }
            }
            peer_message::Message::Get(get) => self.on_get_object(conn, &get),
            peer_message::Message::Object(reply) => {
                let arrived = self.on_refs_arrive(conn, reply.hold, reply.value.as_slice());
                self.on_object_reply(reply);
                self.unpin_all(arrived);
            }
            peer_message::Message::Cancel(cancel) => self.on_cancel_message(conn, &cancel),
            peer_message::Message::StreamItem(item) => {
                let arrived = self.on_refs_arrive(conn, item.hold, item.value.as_slice());
                self.on_stream_item(conn, item);
                self.unpin_all(arrived);
            }
            peer_message::Message::StreamTaken(taken) => self.on_stream_taken(&taken.task_id, taken.taken),
            peer_message::Message::ActorAsk(ask) => self.on_actor_ask(conn, &ask.actor_id),
            peer_message::Message::Actor(state) => self.on_actor_state(&state),
            peer_message::Message::KillActor(kill) => self.on_kill_message(&kill),
            peer_message::Message::RefChange(change) => self.on_ref_change(conn, &change),
            peer_message::Message::Borrowed(borrowed) => self.on_borrowed(&borrowed),
            peer_message::Message::RefsSettled(settled) => self.on_refs_settled(conn, &settled),
        }
    }

    fn on_hello(&mut self, conn: ConnId, hello: &PeerHello) {
        let Ok(process) = ProcessId::try_from(&hello.process_id) else { return self.close(conn) };
        if !self.me.token.matches(&hello.token) || hello.protocol_version != manta_proto::PROTOCOL_VERSION {
            return self.close(conn);
        }
        let Some(peer) = self.conns.get_mut(&conn) else { return };
        peer.greeted = true;
        if peer.process.is_none() {
            peer.process = Some(process);
            self.conn_of.entry(process).or_insert(conn);
            self.send_hello(conn);
        } else if peer.process != Some(process) {
            self.close(conn);
        }
    }

    fn on_function(&mut self, function: RegisterFunction) {
        if let Ok(id) = <[u8; 16]>::try_from(&function.function_id[..]) {
            self.functions.entry(FunctionId(id)).or_insert((function.name, function.code));
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.effects.push(Effect::Close { conn });
        self.on_conn_lost(conn, "it did not speak this cluster's protocol");
    }

    /// A connection has ended, or could not be made; the cause is for people.
    pub fn on_conn_lost(&mut self, conn: ConnId, cause: &str) {
        let Some(peer) = self.conns.remove(&conn) else { return };
        if let Some(process) = peer.process.filter(|process| self.conn_of.get(process) == Some(&conn)) {
            self.conn_of.remove(&process);
        }
        self.on_owner_lost(conn);
        self.on_borrower_lost(conn, peer.process);
        let (tasks, retried) = self.tasks_lost_with(conn, peer.greeted);
        let mut question = FateQuestion { tasks, retried, ..FateQuestion::default() };
        let (calls, actors) = self.actors_lost_with(conn, peer.greeted);
        question.tasks.extend(calls);
        question.actors = actors;
        let unanswered =
            self.fetches.iter().filter(|(_, (on, _))| *on == conn).map(|(id, (_, object))| (*id, *object));
        for (request_id, object) in unanswered.collect::<Vec<_>>() {
            self.fetches.remove(&request_id);
            question.objects.push(object);
        }
        let nobody_asks = question.tasks.is_empty()
            && question.objects.is_empty()
            && question.actors.is_empty()
            && question.retried.is_empty();
        if nobody_asks {
            return;
        }
        match (peer.process, peer.node) {
            (Some(worker), Some(node)) => {
                let request_id = self.request_id();
                self.fates.insert(request_id, question);
                self.tell_node(process_to_node::Message::Fate(WorkerFateRequest {
                    request_id: request_id.0,
                    worker_id: worker.to_bytes(),
                    node_id: node.to_bytes(),
                }));
            }
            _ => {
                let fate = format!("the connection to it ended ({cause})");
                self.answer_fate(question, SystemErrorKind::WorkerDied, &fate);
            }
        }
    }

    /// Takes back the tasks of the workers behind a lost connection. Those that had started run again, or come back as a list when
    /// they must not: the first of each lease, since a worker takes them in order.
    fn tasks_lost_with(&mut self, conn: ConnId, reached: bool) -> (Vec<TaskId>, Vec<TaskId>) {
        let (mut failed, mut retried) = (Vec::new(), Vec::new());
        for id in self.leases_on(conn) {
            let Some((lease, started)) = self.drop_lease(id, !reached) else { continue };
            let mut tasks: Vec<_> =
                lease.tasks.into_tasks().into_iter().inspect(|task| self.unfold(*task)).collect();
            tasks.retain(|task| self.is_pushed_to(*task, id));
            let first = (started && !tasks.is_empty()).then(|| tasks.remove(0));
            for task in tasks.into_iter().rev() {
                self.requeue(task);
            }
            if let Some(task) = first {
                if self.on_worker_lost(task) { failed.push(task) } else { retried.push(task) }
            }
        }
        (failed, retried)
    }

    /// The node says why a process ended.
    pub(super) fn on_fate(&mut self, reply: &WorkerFateReply) {
        let Some(question) = self.fates.remove(&RequestId(reply.request_id)) else { return };
        let mut fate = reply.sentence.trim_end_matches('.').to_owned();
        if fate.is_empty() {
            "its node does not know why".clone_into(&mut fate);
        }
        if !reply.last_stderr.is_empty() {
            fate = format!("{fate}; its last lines on stderr:\n  {}\n", reply.last_stderr.join("\n  "));
        }
        if reply.out_of_memory {
            return self.answer_out_of_memory(question, &fate);
        }
        let kind = if reply.node_gone { SystemErrorKind::NodeDied } else { SystemErrorKind::WorkerDied };
        self.answer_fate(question, kind, &fate);
    }

    /// The process was killed to free memory: its tasks run again, as often as that happens.
    fn answer_out_of_memory(&mut self, mut question: FateQuestion, fate: &str) {
        for task in std::mem::take(&mut question.retried) {
            self.give_retry_back(task);
        }
        for task in std::mem::take(&mut question.tasks) {
            self.end_out_of_memory(task, fate);
        }
        self.answer_fate(question, SystemErrorKind::WorkerDied, fate);
    }

    fn answer_fate(&mut self, question: FateQuestion, kind: SystemErrorKind, fate: &str) {
        for actor in question.actors {
            self.on_actor_fate(actor, fate);
        }
        for task in question.tasks {
            self.fail_for_fate(task, kind, fate);
        }
        for object in question.objects {
            let sentence =
                format!("object {object} is lost, because the process that owned it ended: {fate}");
            self.set_value(object, error_value(SystemErrorKind::OwnerDied, sentence));
        }
    }
}
