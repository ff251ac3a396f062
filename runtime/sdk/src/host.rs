//! The worker's side of an actor: its value, and the threads that run its calls.
//!
//! The value lies behind a lock: methods with `&self` share it, one with `&mut self` has it alone. A panic fails the call in which it
//! happens and leaves the actor as it is, as an exception does in Python: who must not go on after it calls [`exit_actor`] or ends the
//! process, and has `max_restarts` make the actor anew.

use std::{
    any::Any,
    borrow::Cow,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use manta_worker::{Core, NextTask, RunnableTask, SystemError, SystemErrorKind, TaskFunction};
use tokio::sync::RwLock;

use crate::{
    Actor, ActorHandle, Error,
    actor::RawOptions,
    handle::RawHandle,
    object_ref,
    panics::ExitActor,
    registry::{Arguments, Done, Failure, Outcome},
    session,
    worker::{self, STACK_BYTES},
};

/// One `#[manta::actor]`.
pub struct ActorDefinition {
    /// `crate::module::Name`.
    pub path: &'static str,
    /// Its type's name.
    pub name: &'static str,
    /// Reads the arguments and makes the value.
    pub create: fn(&mut Arguments) -> Result<Instance, Failure>,
    /// Calls that run at once in each of its concurrency groups, unless its maker says otherwise.
    pub limits: fn() -> Vec<u32>,
    /// What can be called.
    pub methods: &'static [MethodDefinition],
}

inventory::collect!(ActorDefinition);

/// A method of an actor.
pub struct MethodDefinition {
    /// Its name.
    pub name: &'static str,
    /// Reads the arguments, calls it, and serializes what it returns.
    pub run: fn(&Instance, &mut Arguments) -> Outcome,
}

/// An actor's value, whatever its type.
pub struct Instance(Box<dyn Any + Send + Sync>);

impl Instance {
    /// Takes the value in.
    pub fn new<A: Actor>(value: A) -> Self {
        Self(Box::new(RwLock::new(value)))
    }

    /// The lock with the value.
    ///
    /// # Errors
    /// When it is of another type, which the macro does not let happen.
    pub fn lock<A: Actor>(&self) -> Result<&RwLock<A>, Failure> {
        self.0.downcast_ref().ok_or_else(|| Failure::Call(format!("the actor is no {}", A::CLASS.name)))
    }
}

/// The actor that this worker hosts.
static HOSTED: OnceLock<Host> = OnceLock::new();

struct Host {
    core: Core,
    definition: &'static ActorDefinition,
    instance: Instance,
    handle: Vec<u8>,
    groups: Vec<Group>,
}

struct Group {
    limit: usize,
    /// Threads that serve it, and those of them that wait for a call.
    threads: AtomicUsize,
    idle: AtomicUsize,
}

fn find(path: &str) -> Option<&'static ActorDefinition> {
    inventory::iter::<ActorDefinition>.into_iter().find(|actor| actor.path == path)
}

/// Runs the task that makes an actor; `true` when this worker hosts it from now on.
pub(crate) fn create(core: &Core, mut task: RunnableTask) -> bool {
    let TaskFunction::Named(path) = &task.function else {
        fail(core, &task, "the actor", "its task does not name its type");
        return false;
    };
    let Some(definition) = find(path) else {
        let sentence = format!(
            "this binary has no actor '{path}'; the driver was built from another version of the program"
        );
        fail(core, &task, path, &sentence);
        return false;
    };
    let mut arguments = Arguments::of(&mut task);
    let made = worker::guarded(&task, || (definition.create)(&mut arguments));
    drop(arguments);
    let Some(created) = task.creates.take() else { return false };
    match made {
        Ok(Ok(instance)) => {
            let group = |limit: &u32| Group {
                limit: (*limit).max(1) as usize,
                threads: AtomicUsize::new(0),
                idle: AtomicUsize::new(0),
            };
            let limits =
                if created.group_limits.is_empty() { (definition.limits)() } else { created.group_limits };
            core.set_group_limits(&task, &limits);
            let groups = limits.iter().map(group).collect();
            let (core, handle) = (core.clone(), created.handle.to_vec());
            let host = HOSTED.get_or_init(|| Host { core, definition, instance, handle, groups });
            host.core.finish(&task, &[], false);
            true
        }
        Ok(Err(Failure::Returned(message) | Failure::Call(message))) => {
            fail(core, &task, definition.name, &message);
            false
        }
        Err(caught) => {
            let error = worker::panic_error(&task, caught);
            fail(core, &task, definition.name, &error.to_string());
            false
        }
    }
}

fn fail(core: &Core, task: &RunnableTask, class: &str, cause: &str) {
    let message = format!("the actor '{class}' died because its constructor failed: {cause}");
    core.failing(task, message.lines().next().unwrap_or_default());
    let error = SystemError { kind: SystemErrorKind::ActorDied, message, actor: None }.encode();
    core.finish(task, &[manta_worker::NewValue::plain(manta_worker::Format::SystemError, &error)], true);
}

/// Serves the hosted actor's calls on the calling thread, which is the first of the default group, until the worker's time is over.
pub(crate) fn serve() {
    let Some(host) = HOSTED.get() else { return };
    for group in 1..host.groups.len() {
        host.start_thread(group);
    }
    if let Some(group) = host.groups.first() {
        group.threads.fetch_add(1, Ordering::Relaxed);
        host.serve(0);
    }
}

impl Host {
    fn start_thread(&'static self, group: usize) {
        let number = self.groups[group].threads.fetch_add(1, Ordering::Relaxed);
        if number >= self.groups[group].limit {
            self.groups[group].threads.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let thread = thread::Builder::new().name(format!("manta-calls-{group}-{number}"));
        if thread.stack_size(STACK_BYTES).spawn(move || self.serve(group)).is_err() {
            // The threads that there are serve the calls one after the other.
            self.groups[group].threads.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn serve(&'static self, group: usize) {
        let Group { idle, limit, .. } = &self.groups[group];
        loop {
            idle.fetch_add(1, Ordering::AcqRel);
            let next = self.core.next_call(group, None);
            // Somebody has to be there for the next call.
            if idle.fetch_sub(1, Ordering::AcqRel) == 1 && *limit > 1 {
                self.start_thread(group);
            }
            match next {
                NextTask::Run(call) => self.run(*call),
                NextTask::Nothing => {}
                NextTask::Exit(_) => return,
            }
        }
    }

    fn run(&self, mut call: RunnableTask) {
        let mut arguments = Arguments::of(&mut call);
        let outcome = worker::guarded(&call, || self.invoke(&call.function, &mut arguments));
        drop(arguments);
        match outcome {
            Err(caught) if caught.exits => self.core.exit_actor("it ended itself with exit_actor()"),
            outcome => worker::finish(&self.core, &call, outcome),
        }
    }

    fn invoke(&self, function: &TaskFunction, arguments: &mut Arguments) -> Outcome {
        let TaskFunction::Method(name) = function else {
            return Err(Failure::Call("it is no method of an actor".to_owned()));
        };
        if let Some(method) = self.definition.methods.iter().find(|method| method.name == name) {
            return (method.run)(&self.instance, arguments);
        }
        match &**name {
            crate::actor::READY => {
                object_ref::serialize(&true).map(Done).map_err(|error| Failure::Returned(error.to_string()))
            }
            "__ray_terminate__" => exit_actor(),
            _ => {
                let known: Vec<_> = self.definition.methods.iter().map(|method| method.name).collect();
                let (class, known) = (self.definition.name, known.join(", "));
                Err(Failure::Call(format!("the actor '{class}' has no method '{name}'; it has {known}")))
            }
        }
    }
}

/// Ends the actor whose method calls this, for good. The call, and those that wait, fail with [`Error::ActorDied`]; values in the
/// method's own frames are dropped first.
pub fn exit_actor() -> ! {
    std::panic::resume_unwind(Box::new(ExitActor))
}

/// The handle of the actor whose method calls this.
///
/// # Errors
/// When the calling process hosts no `A`.
pub fn current_actor<A: Actor>() -> Result<ActorHandle<A>, Error> {
    let host = HOSTED
        .get()
        .filter(|host| host.definition.path == A::CLASS.path)
        .ok_or_else(|| Error::Value(format!("this process hosts no actor of the type {}", A::CLASS.name)))?;
    let core = session::core()?;
    let actor = core.actor_from_wire(&host.handle).ok_or_else(Error::not_initialized)?;
    let options = RawOptions::named(
        manta_worker::Function::Rust(A::CLASS.path),
        Cow::Borrowed(A::CLASS.name),
        manta_worker::Language::Rust,
    );
    Ok(RawHandle::of(actor, &options).into())
}
