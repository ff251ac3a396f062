//! Actors as their callers see them: options, handles, calls.

use std::{borrow::Cow, fmt, hash, marker::PhantomData, ops::Deref, sync::Arc};

use manta_worker::{ActorRef, Argument, Function, Language, MadeActor, NewTask, Program};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::{
    Arg, Error, ObjectRef,
    arguments::{self, Given},
    demand::{Demand, common_methods, demand_methods},
    session, tags,
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
        self.demand.check()?;
        let core = session::core()?;
        let given = arguments::given(arguments)?;
        let args: Vec<_> = given.iter().map(|(name, given)| (name.as_deref(), given.argument())).collect();
        let held = self.num_cpus.map_or_else(|| self.demand.amounts(), |cpus| self.with_cpus(cpus));
        let resources = self.with_cpus(self.num_cpus.unwrap_or(1.0));
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

    fn with_cpus(&self, cpus: f64) -> Vec<(&str, f64)> {
        let mut amounts = self.demand.amounts();
        amounts.push(("CPU", cpus));
        amounts
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

/// A handle, whatever the actor's type.
#[derive(Clone)]
pub struct RawHandle {
    // An actor that could not be made has a handle too: its calls say why.
    pub(crate) actor: Result<ActorRef, Error>,
    class: Arc<str>,
    pub(crate) language: Language,
    max_task_retries: u32,
    max_pending_calls: Option<usize>,
}

/// What of a handle is the same in each process. Python reads it too.
#[derive(Serialize, Deserialize)]
struct Description {
    language: String,
    class: String,
    max_task_retries: u32,
    max_pending_calls: Option<u64>,
}

impl RawHandle {
    /// The handle of an actor that could not be made.
    pub(crate) fn failed(error: Error, options: &RawOptions) -> Self {
        Self {
            actor: Err(error),
            class: options.class.as_ref().into(),
            language: options.language,
            max_task_retries: options.max_task_retries,
            max_pending_calls: options.max_pending_calls,
        }
    }

    pub(crate) fn of(actor: ActorRef, options: &RawOptions) -> Self {
        Self { actor: Ok(actor), ..Self::failed(Error::not_initialized(), options) }
    }

    /// A call of a method, to be sent.
    pub fn call<T>(&self, method: &'static str, group: u32, arguments: Vec<Arg>) -> Call<T> {
        let arguments = arguments.into_iter().map(|argument| (None, argument)).collect();
        Call::new(self, Cow::Borrowed(method), group, arguments)
    }

    fn description(&self) -> Vec<u8> {
        let description = Description {
            language: self.language.as_str().to_owned(),
            class: self.class.to_string(),
            max_task_retries: self.max_task_retries,
            max_pending_calls: self.max_pending_calls.map(|calls| calls as u64),
        };
        // Texts and numbers: nothing that MessagePack could not hold.
        tags::describe(&rmp_serde::to_vec_named(&description).unwrap_or_default())
    }

    fn described(actor: ActorRef, description: &[u8]) -> Result<Self, String> {
        let sentence = || "the actor's handle was made by another version of Manta, or by Python".to_owned();
        let bytes = tags::description(description).ok_or_else(sentence)?;
        let Description { language, class, max_task_retries, max_pending_calls } =
            rmp_serde::from_slice(bytes).map_err(|_| sentence())?;
        let language = if language == Language::Rust.as_str() { Language::Rust } else { Language::Python };
        let max_pending_calls = max_pending_calls.and_then(|calls| usize::try_from(calls).ok());
        Ok(Self { actor: Ok(actor), class: class.into(), language, max_task_retries, max_pending_calls })
    }

    /// A handle that was found by a name, whatever it says of itself.
    pub(crate) fn found(MadeActor { actor, found }: MadeActor) -> Self {
        let described = Self::described(actor.clone(), found.as_deref().unwrap_or_default());
        described.unwrap_or_else(|_| Self {
            actor: Ok(actor),
            class: "actor".into(),
            language: Language::Python,
            max_task_retries: 0,
            max_pending_calls: None,
        })
    }

    fn of_class<A: Actor>(self) -> Result<Self, Error> {
        if self.language == Language::Rust && *self.class == *A::CLASS.name {
            return Ok(self);
        }
        let (class, wanted) = (&self.class, A::CLASS.name);
        Err(Error::Value(format!("the actor is a {class} in {}, and no {wanted}", self.language.as_str())))
    }
}

impl Serialize for RawHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let actor = self.actor.as_ref().map_err(ser::Error::custom)?;
        let mut bytes = actor.to_wire().to_vec();
        bytes.extend(self.description());
        tags::serialize(tags::ACTOR, &bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for RawHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = tags::deserialize(tags::ACTOR, deserializer)?;
        let core = session::core().map_err(de::Error::custom)?;
        let (wire, description) = bytes.split_at_checked(ActorRef::WIRE_BYTES).unwrap_or_default();
        let actor =
            core.actor_from_wire(wire).ok_or_else(|| de::Error::custom("these bytes are no actor handle"))?;
        Self::described(actor, description).map_err(de::Error::custom)
    }
}

/// A running actor. Its methods are called as `handle.method(arguments).remote()`. Clones are the same actor; a handle may travel
/// inside arguments and results. When the last handle in the process that made the actor is gone, and none has left it, the actor ends.
pub struct ActorHandle<A: Actor> {
    methods: A::Methods,
}

impl<A: Actor> Deref for ActorHandle<A> {
    type Target = A::Methods;

    fn deref(&self) -> &A::Methods {
        &self.methods
    }
}

impl<A: Actor> From<RawHandle> for ActorHandle<A> {
    fn from(handle: RawHandle) -> Self {
        Self { methods: handle.into() }
    }
}

impl<A: Actor> ActorHandle<A> {
    fn raw(&self) -> &RawHandle {
        self.methods.as_ref()
    }
}

impl<A: Actor> Clone for ActorHandle<A> {
    fn clone(&self) -> Self {
        self.raw().clone().into()
    }
}

impl<A: Actor> fmt::Debug for ActorHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.raw().actor {
            Ok(actor) => write!(f, "Actor({}, {})", A::CLASS.name, actor.id()),
            Err(error) => write!(f, "Actor({}, {error})", A::CLASS.name),
        }
    }
}

impl<A: Actor> PartialEq for ActorHandle<A> {
    fn eq(&self, other: &Self) -> bool {
        matches!((&self.raw().actor, &other.raw().actor), (Ok(a), Ok(b)) if a.id() == b.id())
    }
}

impl<A: Actor> hash::Hash for ActorHandle<A> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.raw().actor.as_ref().ok().map(ActorRef::id).hash(state);
    }
}

impl<A: Actor> Serialize for ActorHandle<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw().serialize(serializer)
    }
}

impl<'de, A: Actor> Deserialize<'de> for ActorHandle<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = RawHandle::deserialize(deserializer)?;
        handle.of_class::<A>().map(Self::from).map_err(de::Error::custom)
    }
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
        };
        let refs = core.call(&actor, &task, group, handle.max_pending_calls)?;
        refs.into_iter().next().ok_or_else(Error::not_initialized)
    }
}

/// Any handle of an actor: of one in Rust, or in another language.
pub trait AnyActor {
    /// The handle without its type.
    #[doc(hidden)]
    fn raw_handle(&self) -> &RawHandle;
}

impl<A: Actor> AnyActor for ActorHandle<A> {
    fn raw_handle(&self) -> &RawHandle {
        self.raw()
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
    session::core()?.kill_actor(actor.raw_handle().actor.as_ref().map_err(Error::clone)?, no_restart);
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
