//! Leases: which worker runs which of our tasks.
//!
//! Tasks of one class (language and resources) share leases. Each lease gets several tasks ahead, the more the shorter they are;
//! a worker gives back what it does not come to.

use std::{sync::Arc, time::Instant};

use manta_proto::{
    ids::{LeaseId, NodeId, ProcessId, TaskId},
    v1::{
        self, LeaseCancel, LeaseGrant, LeaseReply, LeaseRequest, LeaseReturn, lease_reply, process_to_node,
    },
};

use super::{
    ConnId, IDLE_LEASE, LONG_TASK, RequestId, State,
    events::Place,
    ids::ClassId,
    programs,
    queue::{Item, Queue, Range},
};
use crate::{Language, Program, SystemErrorKind};

/// Tasks sent ahead to a worker of which nothing is known yet.
const DEPTH_FIRST: usize = 4;
/// Tasks sent ahead to a worker at most.
const DEPTH_MAX: usize = 512;
/// Tasks that run at most this long let the depth grow.
const SHORT_TASK_US: u64 = 1_000;
/// Workers in a row that could not be reached before that counts as their death; until then another is asked for, since a node may
/// grant a worker whose end it has not seen yet.
const UNREACHABLE_MAX: usize = 10;
/// Lease requests of one class under way at one time.
const REQUESTS_MAX: usize = 256;
/// Such requests for tasks that need nothing, and so could have any number.
const REQUESTS_WITHOUT_RESOURCES: usize = 16;

/// What tasks must have in common to share leases. Amounts are ten-thousandths, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClassKey {
    pub language: Language,
    /// What its workers run, when that is not what this process's job runs by itself.
    pub program: Option<Arc<Program>>,
    pub resources: Box<[(Box<str>, u64)]>,
    pub placement: crate::Placement,
    /// The environment of the workers; `None` for this process's own.
    pub environment: Option<std::sync::Arc<str>>,
}

pub(super) struct Class {
    key: Arc<ClassKey>,
    pub queue: Queue,
    leases: Vec<LeaseId>,
    requests: Vec<RequestId>,
    depth: usize,
    short_tasks: usize,
    unreachable: usize,
    dirty: bool,
}

pub(super) struct Lease {
    class: ClassId,
    pub conn: ConnId,
    pub node: NodeId,
    worker: ProcessId,
    /// In the order in which the worker takes them: the first has started, unless it is on its way.
    pub tasks: Queue,
    idle_since: Option<Instant>,
    /// The worker gave tasks back: it gets no more until it has finished one.
    stalled: bool,
}

impl Lease {
    fn place(&self) -> Place {
        Place { node: self.node, worker: self.worker }
    }
}

/// A lease and how much it has, while tasks are shared out.
struct Loaded {
    id: LeaseId,
    conn: ConnId,
    place: Place,
    tasks: usize,
    stalled: bool,
}

impl State {
    pub fn class(&mut self, key: ClassKey) -> ClassId {
        if let Some(id) = self.class_ids.get(&key) {
            return *id;
        }
        let (id, key) = (ClassId(self.classes.len()), Arc::new(key));
        self.classes.push(Class {
            key: Arc::clone(&key),
            queue: Queue::default(),
            leases: Vec::new(),
            requests: Vec::new(),
            depth: DEPTH_FIRST,
            short_tasks: 0,
            unreachable: 0,
            dirty: false,
        });
        self.class_ids.insert(key, id);
        id
    }

    pub(super) fn key_of(&self, id: ClassId) -> &Arc<ClassKey> {
        &self.classes[id.0].key
    }

    /// The task that each lease's worker has in hand.
    pub(super) fn running_fronts(&self) -> impl Iterator<Item = TaskId> {
        self.leases.values().filter_map(|lease| lease.tasks.front().map(Item::first_task))
    }

    /// Has the class looked at before the effects are taken.
    pub(super) fn mark_dirty(&mut self, id: ClassId) {
        let class = &mut self.classes[id.0];
        if !class.dirty {
            class.dirty = true;
            self.dirty_classes.push(id);
        }
    }

    /// Sends queued tasks, and asks for leases or gives them back, wherever something changed.
    pub(super) fn pump_dirty(&mut self) {
        while let Some(id) = self.dirty_classes.pop() {
            self.classes[id.0].dirty = false;
            self.send_queued(id);
            self.adjust_requests(id);
        }
    }

    /// Sends queued tasks, each to the least loaded lease that may have one task more. While leases are still to come, some work is
    /// kept for them.
    fn send_queued(&mut self, id: ClassId) {
        let class = &self.classes[id.0];
        if class.queue.is_empty() {
            return;
        }
        let loaded = |id: &LeaseId| {
            let lease = self.leases.get(id)?;
            Some(Loaded {
                id: *id,
                conn: lease.conn,
                place: lease.place(),
                tasks: lease.tasks.len(),
                stalled: lease.stalled,
            })
        };
        let mut leases: Vec<Loaded> = class.leases.iter().filter_map(loaded).collect();
        let sent: usize = leases.iter().map(|lease| lease.tasks).sum();
        let all = leases.len() + class.requests.len();
        let share = (class.queue.len() + sent).div_ceil(all.max(1));
        let room = class.depth.min(share.max(1));
        while let Some(front) = self.classes[id.0].queue.front() {
            let task = front.first_task();
            // What has left a series is sent by itself.
            let together = if let Item::Series(range) = front { self.sendable(range) } else { 0 };
            if together == 0 && !self.is_queued(task) {
                // It was cancelled.
                self.classes[id.0].queue.take_front(1);
                continue;
            }
            let usable = leases.iter_mut().filter(|lease| !lease.stalled && lease.tasks < room);
            let Some(Loaded { id: lease_id, conn, place, tasks, .. }) =
                usable.min_by_key(|lease| lease.tasks)
            else {
                break;
            };
            if together > 0 {
                let taken = self.classes[id.0].queue.take_front(together.min(room - *tasks));
                let Some(Item::Series(range)) = taken else { continue };
                *tasks += range.len();
                if let Some(lease) = self.leases.get_mut(lease_id) {
                    lease.tasks.push_range(range);
                    lease.idle_since = None;
                }
                self.push_series(range, *lease_id, *conn, *place);
                continue;
            }
            self.classes[id.0].queue.take_front(1);
            if !self.has_arguments(task) {
                continue;
            }
            *tasks += 1;
            if let Some(lease) = self.leases.get_mut(lease_id) {
                lease.tasks.push_back(task);
                lease.idle_since = None;
            }
            self.push_task(task, *lease_id, *conn, *place);
        }
    }

    fn adjust_requests(&mut self, id: ClassId) {
        let class = &self.classes[id.0];
        let wanted = class.queue.len().min(self.requests_max(&class.key));
        if let Some(task) = class.queue.front().map(Item::first_task) {
            for _ in class.requests.len()..wanted {
                self.request_lease(id, task);
            }
        }
        while self.classes[id.0].requests.len() > wanted {
            let Some(request) = self.classes[id.0].requests.pop() else { break };
            self.lease_requests.remove(&request);
            self.tell_node(process_to_node::Message::CancelLease(LeaseCancel { request_id: request.0 }));
        }
        self.note_idle_leases(id);
    }

    /// As many as the whole cluster could serve at once.
    fn requests_max(&self, key: &ClassKey) -> usize {
        if key.resources.iter().all(|(_, amount)| *amount == 0) {
            return REQUESTS_WITHOUT_RESOURCES;
        }
        let fits = |total: &v1::Resources| {
            let by_resource = key.resources.iter().filter(|(_, amount)| *amount > 0);
            by_resource
                .map(|(name, amount)| total.amounts.get(&**name).copied().unwrap_or(0) / amount)
                .min()
                .unwrap_or(0)
        };
        let nodes = self.view.nodes.iter().filter_map(|node| node.info.as_ref()?.total.as_ref());
        usize::try_from(nodes.map(fits).sum::<u64>()).unwrap_or(REQUESTS_MAX).clamp(1, REQUESTS_MAX)
    }

    fn request_lease(&mut self, id: ClassId, task: TaskId) {
        let request_id = self.request_id();
        self.classes[id.0].requests.push(request_id);
        self.lease_requests.insert(request_id, id);
        let request = self.lease_request(request_id, &self.classes[id.0].key);
        let request = LeaseRequest { task_name: self.task_name(task), ..request };
        self.tell_node(process_to_node::Message::RequestLease(request));
    }

    /// A request for a worker; the name of what it is for is to be added.
    pub(super) fn lease_request(&self, request_id: RequestId, key: &ClassKey) -> LeaseRequest {
        let amounts = key.resources.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
        let mut job = self.job.as_ref().map(|job| programs::job_of(job, key.program.as_deref()));
        if let Some(job) = &mut job {
            // Where this worker's own environment lies says nothing about another's.
            job.here = None;
            if let Some(environment) = &key.environment {
                job.runtime_env = environment.to_string();
            }
        }
        LeaseRequest {
            request_id: request_id.0,
            owner_id: self.me.process.to_bytes(),
            job_id: self.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default(),
            resources: Some(v1::Resources { amounts }),
            language: key.language.as_str().to_owned(),
            job,
            placement: key.placement.to_wire(),
            spillback_count: 0,
            ..LeaseRequest::default()
        }
    }

    /// The node answers a lease request.
    pub(super) fn on_lease_reply(&mut self, reply: LeaseReply) {
        if self.on_actor_lease_reply(&reply) {
            return;
        }
        let request = RequestId(reply.request_id);
        let class = self.lease_requests.remove(&request);
        if let Some(class) = class {
            self.classes[class.0].requests.retain(|other| *other != request);
        }
        match (class, reply.result) {
            (Some(class), Some(lease_reply::Result::Granted(grant))) => self.on_granted(class, &grant),
            // The request was cancelled while the grant was on its way.
            (None, Some(lease_reply::Result::Granted(grant))) => {
                self.give_back(grant.lease_id, grant.node_id, false);
            }
            (Some(class), Some(lease_reply::Result::Refused(sentence))) => {
                let kind = if reply.environment_failed {
                    SystemErrorKind::EnvironmentFailed
                } else if reply.group_removed {
                    SystemErrorKind::GroupRemoved
                } else {
                    SystemErrorKind::Unschedulable
                };
                self.on_refused(class, kind, &sentence);
            }
            // Busy is between nodes only; asking again is all that can be done with it.
            (Some(class), _) => self.mark_dirty(class),
            (None, _) => {}
        }
    }

    fn on_granted(&mut self, class: ClassId, grant: &LeaseGrant) {
        let ids = (
            LeaseId::try_from(&grant.lease_id),
            ProcessId::try_from(&grant.worker_id),
            NodeId::try_from(&grant.node_id),
        );
        let (Ok(id), Ok(worker), Ok(node)) = ids else {
            return self.give_back(grant.lease_id.clone(), grant.node_id.clone(), true);
        };
        let conn = self.conn_to(worker, node, Some(grant.peer_socket.as_str().into()));
        let lease =
            Lease { class, conn, node, worker, tasks: Queue::default(), idle_since: None, stalled: false };
        self.leases.insert(id, lease);
        self.classes[class.0].leases.push(id);
        self.mark_dirty(class);
    }

    fn on_refused(&mut self, class: ClassId, kind: SystemErrorKind, sentence: &str) {
        for task in std::mem::take(&mut self.classes[class.0].queue).into_tasks() {
            self.unfold(task);
            self.fail_queued(task, kind, sentence);
        }
        self.mark_dirty(class);
    }

    /// The worker of a lease has finished a task.
    pub(super) fn on_lease_done(&mut self, id: LeaseId, task: TaskId, run_us: u64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.tasks.remove(task);
            self.on_lease_progress(id, 1, run_us);
        }
    }

    /// The same of tasks of a series, each of which ran for `run_us` on average.
    pub(super) fn on_lease_series_done(&mut self, id: LeaseId, range: Range, run_us: u64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.tasks.remove_range(range);
            self.on_lease_progress(id, range.len(), run_us);
        }
    }

    fn on_lease_progress(&mut self, id: LeaseId, count: usize, run_us: u64) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.stalled = false;
        let class_id = lease.class;
        let class = &mut self.classes[class_id.0];
        class.unreachable = 0;
        if run_us < SHORT_TASK_US {
            class.short_tasks += count;
            if class.short_tasks >= class.depth {
                class.depth = (class.depth * 2).min(DEPTH_MAX);
                class.short_tasks = 0;
            }
        } else if u128::from(run_us) > LONG_TASK.as_micros() {
            class.depth = 1;
            class.short_tasks = 0;
        }
        self.mark_dirty(class_id);
    }

    /// The worker gives back tasks that it has not started.
    pub(super) fn on_returned(&mut self, tasks: &[TaskId]) {
        // The last first, since each goes to the front of the queue.
        for &task in tasks.iter().rev() {
            self.unfold(task);
            let Some(id) = self.lease_of(task) else { continue };
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.tasks.remove(task);
                // Without a task of ours it is busy with one of an owner that is gone: then the lease goes back as an idle one does.
                lease.stalled = true;
                let class = &mut self.classes[lease.class.0];
                class.depth = 1;
                class.short_tasks = 0;
            }
            self.requeue(task);
        }
    }

    fn note_idle_leases(&mut self, id: ClassId) {
        let (now, mut any) = (self.now, false);
        for lease in &self.classes[id.0].leases {
            if let Some(lease) = self.leases.get_mut(lease).filter(|lease| lease.tasks.is_empty()) {
                lease.idle_since.get_or_insert(now);
                any = true;
            }
        }
        if any {
            self.arm(now + IDLE_LEASE);
        }
    }

    /// Gives back the leases that had no work for a while.
    pub(super) fn return_idle_leases(&mut self) {
        let now = self.now;
        let mut over = Vec::new();
        for (id, lease) in &self.leases {
            match lease.idle_since {
                Some(since) if now >= since + IDLE_LEASE => over.push((*id, lease.class, lease.node)),
                Some(since) => {
                    self.timer =
                        Some(self.timer.map_or(since + IDLE_LEASE, |timer| timer.min(since + IDLE_LEASE)));
                }
                None => {}
            }
        }
        for (id, class, node) in over {
            self.leases.remove(&id);
            self.classes[class.0].leases.retain(|other| *other != id);
            self.give_back(id.to_bytes(), node.to_bytes(), false);
        }
    }

    pub(super) fn give_back(&mut self, lease_id: bytes::Bytes, node_id: bytes::Bytes, worker_unusable: bool) {
        self.tell_node(process_to_node::Message::ReturnLease(LeaseReturn {
            lease_id,
            node_id,
            worker_unusable,
            orderly: false,
        }));
    }

    /// A task that was sent to a worker does not fit a message.
    pub fn on_push_failed(&mut self, task: TaskId, cause: &str) {
        if let Some(lease) = self.lease_of(task).and_then(|id| self.leases.get_mut(&id)) {
            lease.tasks.remove(task);
            let class = lease.class;
            self.mark_dirty(class);
            self.fail_queued(
                task,
                SystemErrorKind::Internal,
                &format!("its arguments could not be sent: {cause}"),
            );
        }
    }

    /// The leases whose worker was reached by a connection that ended.
    pub(super) fn leases_on(&self, conn: ConnId) -> Vec<LeaseId> {
        self.leases.iter().filter(|(_, lease)| lease.conn == conn).map(|(id, _)| *id).collect()
    }

    /// Forgets a lease whose worker is lost, or could never be reached; what it had comes back with it, and whether the first of it
    /// has to be taken for started.
    pub(super) fn drop_lease(&mut self, id: LeaseId, never_reached: bool) -> Option<(Lease, bool)> {
        let lease = self.leases.remove(&id)?;
        let class = &mut self.classes[lease.class.0];
        class.leases.retain(|other| *other != id);
        class.unreachable = if never_reached { class.unreachable + 1 } else { 0 };
        let started = !never_reached || class.unreachable > UNREACHABLE_MAX;
        self.mark_dirty(lease.class);
        if never_reached {
            self.give_back(id.to_bytes(), lease.node.to_bytes(), true);
        }
        Some((lease, started))
    }
}
