//! Actors as their callers see them: types, options, calls.

use std::{borrow::Cow, marker::PhantomData, ops::Deref, sync::Arc};

use manta_worker::{ActorRef, Argument, Function, Language, NewTask, Program};

use crate::{
    Arg, Error, ObjectRef,
    arguments::{self, Given},
    demand::{self, Demand, common_methods, demand_methods},
    handle::{ActorHandle, AnyActor, RawHandle},
    session,
};

/// Calls that run at once in an actor with async methods, unless it says otherwise.
const ASYNC_CONCURRENCY: u32 = 1000;

/// A type whose values can be actors; `#[manta::actor]` on an `impl` block implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no actor",
    note = "write #[manta::actor] above an impl block with a function `new`"
)]
pub trait Actor: Send + Sync + Sized + 'static {
    /// Its methods, as they are called from elsewhere.
    #[doc(hidden)]
    type Methods: From<RawHandle> + AsRef<RawHandle> + Send + Sync;
    /// Its constructor, as it is called from elsewhere.
    #[doc(hidden)]
    type Start: From<RawOptions> + AsMut<RawOptions>;
    /// What its workers know it by.
    #[doc(hidden)]
    const CLASS: Class;
}

/// What is known of an actor's type without a value of it.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    /// `crate::module::Name`.
    pub path: &'static str,
    /// For people.
    pub name: &'static str,
    /// It has async methods.
    pub is_async: bool,
    /// Concurrency groups beyond the default one.
    pub groups: &'static [(&'static str, u32)],
}

/// How an actor is made, whatever its type.
#[derive(Debug, Clone)]
pub struct RawOptions {
    pub(crate) function: Function,
    pub(crate) class: Cow<'static, str>,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) detached: bool,
    pub(crate) get_if_exists: bool,
    pub(crate) max_restarts: u32,
    pub(crate) max_task_retries: u32,
    pub(crate) max_pending_calls: Option<usize>,
    pub(crate) limits: Vec<u32>,
    pub(crate) num_cpus: Option<f64>,
    pub(crate) demand: Demand,
    pub(crate) program: Option<Arc<Program>>,
    pub(crate) language: Language,
}

impl RawOptions {
    /// The defaults of a class.
    #[must_use]
    pub fn of(class: &Class) -> Self {
        let limit = if class.is_async { ASYNC_CONCURRENCY } else { 1 };
        Self {
            limits: std::iter::once(limit).chain(class.groups.iter().map(|(_, limit)| *limit)).collect(),
            ..Self::named(Function::Rust(class.path), Cow::Borrowed(class.name), Language::Rust)
        }
    }

    pub(crate) fn named(function: Function, class: Cow<'static, str>, language: Language) -> Self {
        Self {
            function,
            class,
            name: None,
            namespace: None,
            detached: false,
            get_if_exists: false,
            max_restarts: 0,
            max_task_retries: 0,
            max_pending_calls: None,
            limits: vec![1],
            num_cpus: None,
            demand: Demand::default(),
            program: None,
            language,
        }
    }

    pub(crate) fn with_program(mut self, program: Arc<Program>) -> Self {
        self.program = Some(program);
        self
    }

    /// Calls that run at once in each concurrency group.
    #[must_use]
    pub fn limits(&self) -> &[u32] {
        &self.limits
    }

    /// Starts an actor. If that fails, its calls say why.
    #[must_use]
    pub fn start(&self, arguments: Vec<Arg>) -> RawHandle {
        self.start_with(arguments.into_iter().map(|argument| (None, argument)).collect())
    }

    pub(crate) fn start_with(&self, arguments: Vec<(Option<String>, Arg)>) -> RawHandle {
        RawHandle { actor: self.try_start(arguments), ..RawHandle::failed(Error::not_initialized(), self) }
    }

    fn try_start(&self, arguments: Vec<(Option<String>, Arg)>) -> Result<ActorRef, Error> {
        let core = session::core()?;
        let given = arguments::given(arguments)?;
        let args: Vec<_> = given.iter().map(|(name, given)| (name.as_deref(), given.argument())).collect();
        let kept: Vec<_> = self.num_cpus.map(|cpus| ("CPU", cpus)).into_iter().collect();
        let held = self.demand.amounts(&kept)?;
        let held = demand::borrowed(&held);
        let resources = self.demand.amounts(&[("CPU", self.num_cpus.unwrap_or(1.0))])?;
        let resources = demand::borrowed(&resources);
        let task = NewTask {
            function: self.function.clone(),
            name: &format!("{}::new", self.class),
            args: &args,
            num_returns: 0,
            resources: &resources,
            placement: &self.demand.placement,
            max_retries: 0,
            retry_exceptions: false,
            program: self.program.as_ref(),
            cross_language: self.language != Language::Rust,
            environment: None,
        };
        let unbound = RawHandle::failed(Error::not_initialized(), self);
        let options = manta_worker::ActorOptions {
            class: &self.class,
            max_restarts: self.max_restarts,
            group_limits: &self.limits,
            held: &held,
            detached: self.detached,
            name: self.name.as_deref(),
            namespace: self.namespace.as_deref(),
            handle: &unbound.description(),
            get_if_exists: self.get_if_exists,
        };
        Ok(core.new_actor(&task, &options, &mut || false)?.actor)
    }

    pub(crate) fn demand_mut(&mut self) -> &mut Demand {
        &mut self.demand
    }
}

/// How an actor is made: `Counter::options()` makes one with the defaults of its type, `.remote(..)` starts the actor.
#[must_use = "the actor is started by .remote(..)"]
pub struct ActorOptions<A: Actor> {
    start: A::Start,
}

impl<A: Actor> Default for ActorOptions<A> {
    fn default() -> Self {
        Self { start: RawOptions::of(&A::CLASS).into() }
    }
}

impl<A: Actor> Deref for ActorOptions<A> {
    type Target = A::Start;

    fn deref(&self) -> &A::Start {
        &self.start
    }
}

impl<A: Actor> ActorOptions<A> {
    fn raw(&mut self) -> &mut RawOptions {
        self.start.as_mut()
    }

    fn demand(&mut self) -> &mut Demand {
        &mut self.raw().demand
    }

    /// For who is asked to make one without being told.
    #[doc(hidden)]
    pub fn limits(mut self) -> Vec<u32> {
        self.raw().limits().to_vec()
    }

    demand_methods!();
    common_methods!();
}

/// A call of an actor's method, to be sent by [`Call::remote`]. Calls of one caller run in the order in which they are sent.
#[must_use = "the method is called by .remote()"]
pub struct Call<T> {
    handle: RawHandle,
    method: Cow<'static, str>,
    arguments: Vec<(Option<String>, Arg)>,
    group: u32,
    name: Option<String>,
    max_task_retries: u32,
    retry_errors: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    pub(crate) fn new(
        handle: &RawHandle,
        method: Cow<'static, str>,
        group: u32,
        arguments: Vec<(Option<String>, Arg)>,
    ) -> Self {
        Self {
            method,
            arguments,
            group,
            name: None,
            max_task_retries: handle.max_task_retries,
            retry_errors: false,
            kind: PhantomData,
            handle: handle.clone(),
        }
    }

    /// The name that people see.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How often it runs again when the worker ended under it.
    pub fn max_task_retries(mut self, times: u32) -> Self {
        self.max_task_retries = times;
        self
    }

    /// Whether panics and errors of the method are retried too.
    pub fn retry_errors(mut self, yes: bool) -> Self {
        self.retry_errors = yes;
        self
    }

    /// Sends the call; the ref of its result is there at once.
    pub fn remote(self) -> ObjectRef<T> {
        ObjectRef::new(self.send())
    }

    fn send(self) -> Result<manta_worker::ObjectRef, Error> {
        let Self { handle, method, arguments, group, name, max_task_retries, retry_errors, .. } = self;
        let core = session::core()?;
        let actor = handle.actor?;
        let given = arguments::given(arguments)?;
        let args: Vec<(Option<&str>, Argument<'_>)> =
            given.iter().map(|(name, given)| (name.as_deref(), given.argument())).collect();
        let name = name.unwrap_or_else(|| format!("{}::{method}", handle.class));
        let task = NewTask {
            function: Function::Method(method.as_ref().into()),
            name: &name,
            args: &args,
            num_returns: 1,
            resources: &[],
            placement: &manta_worker::Placement::default(),
            max_retries: max_task_retries,
            retry_exceptions: retry_errors,
            program: None,
            cross_language: handle.language != Language::Rust,
            environment: None,
        };
        let refs = core.call(&actor, &task, group, handle.max_pending_calls)?;
        refs.into_iter().next().ok_or_else(Error::not_initialized)
    }
}

/// Ends an actor at once and for good; its pending calls fail with [`Error::ActorDied`].
///
/// # Errors
/// When the actor could not be made.
pub fn kill(actor: &impl AnyActor) -> Result<(), Error> {
    end(actor, true)
}

/// Ends an actor's worker; the actor is made anew if it has restarts left.
///
/// # Errors
/// When the actor could not be made.
pub fn restart(actor: &impl AnyActor) -> Result<(), Error> {
    end(actor, false)
}

fn end(actor: &impl AnyActor, no_restart: bool) -> Result<(), Error> {
    session::core()?.kill_actor(actor.raw_handle().actor.as_ref().map_err(Error::clone)?, no_restart)?;
    Ok(())
}

/// Is true once the actor is made; `get` of it says why it could not be.
pub fn ready(actor: &impl AnyActor) -> ObjectRef<bool> {
    Call::new(actor.raw_handle(), Cow::Borrowed(READY), 0, Vec::new()).remote()
}

/// The method that every actor has, in every language.
pub(crate) const READY: &str = "__ray_ready__";

/// The living actor of a name, in the job's namespace.
///
/// # Errors
/// When there is none, or it is no `A`.
pub fn get_actor<A: Actor>(name: &str) -> Result<ActorHandle<A>, Error> {
    find::<A>(None, name)
}

/// The living actor of a name, in a namespace.
///
/// # Errors
/// When there is none, or it is no `A`.
pub fn get_actor_in<A: Actor>(namespace: &str, name: &str) -> Result<ActorHandle<A>, Error> {
    find::<A>(Some(namespace), name)
}

fn find<A: Actor>(namespace: Option<&str>, name: &str) -> Result<ActorHandle<A>, Error> {
    lookup(namespace, name)?.of_class::<A>().map(ActorHandle::from)
}

pub(crate) fn lookup(namespace: Option<&str>, name: &str) -> Result<RawHandle, Error> {
    let core = session::core()?;
    let found = core.find_actor(namespace, name, &mut || false)?;
    found.map(RawHandle::found).ok_or_else(|| {
        let namespace = namespace.map_or_else(|| core.namespace(), str::to_owned);
        Error::Value(format!("no living actor has the name '{name}' in the namespace '{namespace}'"))
    })
}

impl Given {
    pub(crate) fn argument(&self) -> Argument<'_> {
        match self {
            Self::Value(value) => Argument::Value(value.as_new_value()),
            Self::Ref(reference) => Argument::Ref(reference.clone()),
        }
    }
}
