//! Actors for bindings: making, calling, finding and ending them.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{ActorId, NodeId, ProcessId, TaskId},
    v1::{ActorCreation, ActorEntry, ActorReply, actor_state::Phase},
};

use crate::{
    Core, Interrupted, Language, NewTask, ObjectRef, Placement, SubmitError, convert,
    reactor::{ActorAddress, NewActor, Question, State},
    shared::Shared,
};

/// How long the head may take for an answer about a name.
const REGISTRY_LIMIT: Duration = Duration::from_secs(15);
/// How often a thread that waits for it looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(100);

/// A counted handle of an actor. When the last one in the process that made the actor is dropped, the actor ends after its pending
/// calls, unless a handle has left that process.
#[derive(Clone)]
pub struct ActorRef(Arc<Counted>);

struct Counted {
    address: ActorAddress,
    shared: Arc<Shared>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.actor_dropped(self.address.actor);
    }
}

impl ActorRef {
    /// Bytes of the wire form.
    pub const WIRE_BYTES: usize = 49;

    /// The actor's id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.0.address.actor
    }

    pub(crate) fn is_of(&self, core: &Core) -> bool {
        Arc::ptr_eq(&self.0.shared, &core.0)
    }

    /// What another process needs to make the same handle. From now on nobody counts the actor's handles.
    #[must_use]
    pub fn to_wire(&self) -> [u8; Self::WIRE_BYTES] {
        self.0.shared.with(|state| state.mark_actor_escaped(self.id()));
        wire(self.0.address)
    }
}

impl fmt::Debug for ActorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({})", self.id())
    }
}

fn wire(address: ActorAddress) -> [u8; ActorRef::WIRE_BYTES] {
    let ActorAddress { actor, owner, owner_node, detached } = address;
    let mut wire = [0; ActorRef::WIRE_BYTES];
    wire[..16].copy_from_slice(&actor.0);
    wire[16..32].copy_from_slice(&owner.0);
    wire[32..48].copy_from_slice(&owner_node.0);
    wire[48] = u8::from(detached);
    wire
}

fn address_from_wire(wire: &[u8]) -> Option<ActorAddress> {
    let wire: &[u8; ActorRef::WIRE_BYTES] = wire.try_into().ok()?;
    Some(ActorAddress {
        actor: ActorId::try_from(&wire[..16]).ok()?,
        owner: ProcessId::try_from(&wire[16..32]).ok()?,
        owner_node: NodeId::try_from(&wire[32..48]).ok()?,
        detached: wire[48] != 0,
    })
}

/// What a new actor is, beside the task that makes it.
#[derive(Debug, Clone)]
pub struct ActorOptions<'a> {
    /// The class, for people.
    pub class: &'a str,
    /// How often it is made anew after its worker ended; `u32::MAX` is without limit.
    pub max_restarts: u32,
    /// Calls that run at once in each concurrency group; the first is the default one.
    pub group_limits: &'a [u32],
    /// What it keeps for its life, in whole units; its making needs the task's resources.
    pub held: &'a [(&'a str, f64)],
    /// It outlives the process that makes it.
    pub detached: bool,
    /// Its name, unique in the namespace.
    pub name: Option<&'a str>,
    /// Where the name counts; the job's own namespace when `None`.
    pub namespace: Option<&'a str>,
    /// What the binding makes a handle from, for those who find the actor by its name.
    pub handle: &'a [u8],
    /// An actor that has the name already is the answer, and no error.
    pub get_if_exists: bool,
}

/// What [`Core::new_actor`] and [`Core::find_actor`] answer with.
pub struct MadeActor {
    /// The handle.
    pub actor: ActorRef,
    /// For an actor that was there already: what its maker gave as [`ActorOptions::handle`].
    pub found: Option<Bytes>,
}

impl Core {
    /// Makes an actor. Its calls wait until it is there.
    ///
    /// # Errors
    /// When an argument cannot be stored, the name is taken, or the process has left its cluster.
    pub fn new_actor(
        &self,
        task: &NewTask<'_>,
        options: &ActorOptions<'_>,
        interrupted: Interrupted<'_>,
    ) -> Result<MadeActor, SubmitError> {
        let shared = &self.0;
        let id = ActorId(shared.task_ids.lock().next().0);
        let registered = options.detached || options.name.is_some();
        if registered && let Some(entry) = self.register(id, options, interrupted)? {
            if options.get_if_exists {
                return self.found(entry);
            }
            return Err(SubmitError::NameTaken { name: entry.name, namespace: entry.namespace });
        }
        let held = convert::class_key(Language::Python, None, options.held, &Placement::default())?;
        let address = self.own_address(id, options.detached);
        let submission = self.submission(TaskId(id.0), task, |spec| {
            spec.actor_id = id.to_bytes();
            let handle = Bytes::copy_from_slice(&wire(address));
            spec.creation = Some(ActorCreation { group_limits: options.group_limits.to_vec(), handle });
        })?;
        let new = NewActor {
            id,
            class: options.class.into(),
            max_restarts: options.max_restarts,
            detached: options.detached,
            registered,
            held: held.resources.iter().map(|(name, amount)| (name.to_string(), *amount)).collect(),
        };
        let make = |state: &mut State| {
            state.on_new_actor(new, submission);
            Ok(())
        };
        self.take_in(TaskId(id.0), 0, make, drop)?;
        let actor = ActorRef(Arc::new(Counted { address, shared: Arc::clone(shared) }));
        Ok(MadeActor { actor, found: None })
    }

    fn own_address(&self, actor: ActorId, detached: bool) -> ActorAddress {
        self.0.with(|state| ActorAddress {
            actor,
            owner: state.me.process,
            owner_node: state.me.node,
            detached,
        })
    }

    /// The entry of an actor that has the name already.
    fn register(
        &self,
        id: ActorId,
        options: &ActorOptions<'_>,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<ActorEntry>, SubmitError> {
        let namespace = options.namespace.map_or_else(|| self.namespace(), str::to_owned);
        let address = self.own_address(id, options.detached);
        let entry = ActorEntry {
            actor_id: id.to_bytes(),
            namespace,
            name: options.name.unwrap_or_default().to_owned(),
            detached: options.detached,
            owner_id: address.owner.to_bytes(),
            owner_node_id: address.owner_node.to_bytes(),
            job_id: self.job_bytes(),
            handle: Bytes::copy_from_slice(options.handle),
            class_name: options.class.to_owned(),
            ..ActorEntry::default()
        };
        let reply = self.ask(interrupted, |state, answer| state.register_actor(entry, answer))?;
        if reply.error.is_empty() { Ok(reply.entry) } else { Err(SubmitError::Registry(reply.error)) }
    }

    /// The namespace of this process's job. Without a name it is the job's alone.
    #[must_use]
    pub fn namespace(&self) -> String {
        let job = self.job();
        let named = job.as_ref().filter(|job| !job.namespace.is_empty()).map(|job| job.namespace.clone());
        named.or_else(|| job.map(|job| job.id.to_string())).unwrap_or_default()
    }

    /// The actor of a name, if there is one.
    ///
    /// # Errors
    /// When the head does not answer.
    pub fn find_actor(
        &self,
        namespace: Option<&str>,
        name: &str,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<MadeActor>, SubmitError> {
        let namespace = namespace.map_or_else(|| self.namespace(), str::to_owned);
        let name = name.to_owned();
        let reply = self.ask(interrupted, |state, answer| state.find_actor(namespace, name, answer))?;
        let alive =
            |entry: &ActorEntry| entry.state.as_ref().is_none_or(|state| state.phase() != Phase::Dead);
        reply.entry.filter(alive).map(|entry| self.found(entry)).transpose()
    }

    fn found(&self, entry: ActorEntry) -> Result<MadeActor, SubmitError> {
        let address = || {
            Some(ActorAddress {
                actor: ActorId::try_from(&entry.actor_id).ok()?,
                owner: ProcessId::try_from(&entry.owner_id).ok()?,
                owner_node: NodeId::try_from(&entry.owner_node_id).ok()?,
                detached: entry.detached,
            })
        };
        let address = address().ok_or_else(|| SubmitError::Registry("its answer is damaged".to_owned()))?;
        Ok(MadeActor { actor: self.adopt_actor(address), found: Some(entry.handle) })
    }

    fn adopt_actor(&self, address: ActorAddress) -> ActorRef {
        self.0.with(|state| state.add_actor_handle(address));
        ActorRef(Arc::new(Counted { address, shared: Arc::clone(&self.0) }))
    }

    /// Asks the head something, and waits for its answer.
    fn ask(
        &self,
        interrupted: Interrupted<'_>,
        question: impl FnOnce(&mut State, Question),
    ) -> Result<ActorReply, SubmitError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        // A thread that has given up does not hear it.
        let answer = Box::new(move |reply| drop(sender.try_send(reply)));
        self.0.with(|state| question(state, answer));
        let deadline = Instant::now() + REGISTRY_LIMIT;
        loop {
            if let Ok(reply) = receiver.recv_timeout(POLL) {
                return Ok(reply);
            }
            if let Some(cause) = self.gone() {
                return Err(SubmitError::Disconnected(cause));
            }
            if Instant::now() >= deadline {
                let sentence = format!("it did not answer within {} s", REGISTRY_LIMIT.as_secs());
                return Err(SubmitError::Registry(sentence));
            }
            if interrupted() {
                return Err(SubmitError::Registry("the wait for it was interrupted".to_owned()));
            }
        }
    }

    /// The handle whose wire form [`ActorRef::to_wire`] made, here or in another process; `None` if the bytes are none.
    #[must_use]
    pub fn actor_from_wire(&self, wire: &[u8]) -> Option<ActorRef> {
        address_from_wire(wire).map(|address| self.adopt_actor(address))
    }

    /// Calls an actor; the refs of the results come back at once. `task.function` is [`crate::Function::Method`].
    ///
    /// # Errors
    /// When an argument cannot be stored, too many calls are pending, or the process has left its cluster.
    pub fn call(
        &self,
        actor: &ActorRef,
        task: &NewTask<'_>,
        group: u32,
        pending_max: Option<usize>,
    ) -> Result<Vec<ObjectRef>, SubmitError> {
        if !actor.is_of(self) {
            return Err(SubmitError::StaleRef);
        }
        let id = self.0.task_ids.lock().next();
        let submission = self.submission(id, task, |spec| {
            spec.actor_id = actor.id().to_bytes();
            spec.concurrency_group = group;
        })?;
        let mut refs = Vec::with_capacity(task.num_returns as usize);
        let submit = |state: &mut State| {
            let called = state.on_call(actor.id(), submission, pending_max);
            called.map_err(|pending| SubmitError::PendingCalls { pending })
        };
        self.take_in(id, task.num_returns, submit, |made| refs.push(made))?;
        Ok(refs)
    }

    /// Ends an actor at once: its pending calls fail. With `no_restart` false it is made anew if it has restarts left.
    ///
    /// # Errors
    ///
    /// [`SubmitError::StaleRef`] for a handle of an earlier connection.
    pub fn kill_actor(&self, actor: &ActorRef, no_restart: bool) -> Result<(), SubmitError> {
        if !actor.is_of(self) {
            return Err(SubmitError::StaleRef);
        }
        self.0.with(|state| state.on_kill_actor(actor.id(), no_restart));
        Ok(())
    }

    /// Worker: ends the actor that it hosts, for good. The cause is for people.
    pub fn exit_actor(&self, cause: &str) {
        self.0.with(|state| state.on_actor_exit(cause));
    }
}
