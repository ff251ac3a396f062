//! Handles of actors: what they hold, and how they travel.

use std::{borrow::Cow, fmt, hash, ops::Deref, sync::Arc};

use manta_worker::{ActorRef, Language, MadeActor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::{Actor, Arg, Call, Error, actor::RawOptions, session, tags};

/// A handle, whatever the actor's type.
#[derive(Clone)]
pub struct RawHandle {
    // An actor that could not be made has a handle too: its calls say why.
    pub(crate) actor: Result<ActorRef, Error>,
    pub(crate) class: Arc<str>,
    pub(crate) language: Language,
    pub(crate) max_task_retries: u32,
    pub(crate) max_pending_calls: Option<usize>,
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

    pub(crate) fn description(&self) -> Vec<u8> {
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

    pub(crate) fn of_class<A: Actor>(self) -> Result<Self, Error> {
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
