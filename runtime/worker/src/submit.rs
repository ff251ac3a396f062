//! Submitting tasks and putting values.

use std::sync::Arc;

use bytes::Bytes;
use manta_proto::{
    ids::{NodeId, ObjectId, TaskId},
    limits::INLINE_BYTES_MAX,
    v1::{TaskArgument, TaskSpec, Value, task_argument},
};
use prost::Message;

use crate::{
    Argument, Core, Function, NewTask, NewValue, ObjectRef, SubmitError, convert, current,
    object_ref::RefAddress,
    reactor::{ClassOf, EncodedTask, NewArgument, State, Submission},
    shared::Shared,
};

/// Inline arguments of one task together; what is above lies in the object store.
const INLINE_ARGUMENTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A task's arguments while they are being encoded.
struct Arguments<'a> {
    shared: &'a Shared,
    node: NodeId,
    inline_bytes: usize,
    stored: Vec<(ObjectId, Value)>,
    contained: Vec<ObjectId>,
}

/// Arguments as a submission has them.
#[derive(Default)]
pub(crate) struct EncodedArguments {
    /// All of them, when none is a ref.
    pub fixed: Vec<TaskArgument>,
    /// All of them, when one is.
    pub with_refs: Vec<NewArgument>,
    pub stored: Vec<(ObjectId, Value)>,
    pub contained: Vec<ObjectId>,
}

impl Arguments<'_> {
    fn value(&mut self, value: &NewValue<'_>) -> Result<Value, SubmitError> {
        self.contained.extend(value.contained.iter().map(ObjectRef::id));
        let length = value.stored_len();
        if length <= INLINE_BYTES_MAX && self.inline_bytes + length <= INLINE_ARGUMENTS_BYTES_MAX {
            self.inline_bytes += length;
            return Ok(convert::inline(value));
        }
        let id = self.shared.put_ids.lock().next();
        let stored = convert::store(self.shared, self.node, id, value, convert::Keep::Nothing)?;
        self.stored.push((id, stored.clone()));
        Ok(stored)
    }
}

impl Core {
    /// Submits a task; its refs come back at once.
    ///
    /// # Errors
    /// When an argument cannot be stored, an amount of a resource is no amount, or the process has left its cluster.
    pub fn submit(&self, task: &NewTask<'_>) -> Result<Vec<ObjectRef>, SubmitError> {
        let id = self.0.task_ids.lock().next();
        let submission = self.submission(id, task, |_| {})?;
        let mut refs = Vec::with_capacity(task.num_returns as usize);
        let submit = |state: &mut State| {
            state.on_submit(submission);
            Ok(())
        };
        self.take_in(id, task.num_returns, submit, |made| refs.push(made))?;
        Ok(refs)
    }

    /// Gives a submission to the reactor, and makes the refs of its results.
    pub(crate) fn take_in(
        &self,
        id: TaskId,
        num_returns: u32,
        submit: impl FnOnce(&mut State) -> Result<(), SubmitError>,
        each: impl FnMut(ObjectRef),
    ) -> Result<(), SubmitError> {
        let shared = &self.0;
        let me = shared.with_lazily(|state| match &state.gone {
            Some(cause) => Err(SubmitError::Disconnected(cause.clone())),
            None => submit(state).map(|()| state.me.process),
        })?;
        let address =
            |index| RefAddress { object: ObjectId::of(id, index), owner: me, owner_node: self.node_id() };
        (0..num_returns).map(|index| ObjectRef::counted(shared, address(index))).for_each(each);
        Ok(())
    }

    /// Encodes a task; `complete` adds to its fixed part what this knows nothing of.
    pub(crate) fn submission(
        &self,
        id: TaskId,
        task: &NewTask<'_>,
        complete: impl FnOnce(&mut TaskSpec),
    ) -> Result<Submission, SubmitError> {
        let language = task.function.language();
        let mut key = convert::class_key(language, task.program, task.resources, task.placement)?;
        key.environment = task.environment.cloned();
        let EncodedArguments { fixed, with_refs, stored, contained } = self.arguments(task.args)?;
        let mut spec = TaskSpec { arguments: fixed, ..self.fixed_spec(task) };
        complete(&mut spec);
        Ok(Submission {
            id,
            class: ClassOf::New(key),
            function: match task.function {
                Function::Python(function) => Some(function),
                Function::Rust(_) | Function::Named(..) | Function::Method(_) => None,
            },
            name: task.name.into(),
            encoded: EncodedTask {
                shared: spec.encode_to_vec().into(),
                arguments: Bytes::new(),
                parent: current::id(),
            },
            arguments: with_refs,
            stored,
            contained,
            num_returns: task.num_returns,
            max_retries: task.max_retries,
            retry_exceptions: task.retry_exceptions,
        })
    }

    /// Encodes arguments, and stores the large ones.
    pub(crate) fn arguments(
        &self,
        args: &[(Option<&str>, Argument<'_>)],
    ) -> Result<EncodedArguments, SubmitError> {
        let shared = &self.0;
        let mut arguments = Arguments {
            shared,
            node: self.node_id(),
            inline_bytes: 0,
            stored: Vec::new(),
            contained: Vec::new(),
        };
        let has_refs = args.iter().any(|(_, argument)| matches!(argument, Argument::Ref(_)));
        let (mut fixed, mut with_refs) = (Vec::new(), Vec::new());
        for (keyword, argument) in args {
            let keyword = keyword.unwrap_or_default().to_owned();
            match argument {
                Argument::Value(value) => {
                    let value = Some(task_argument::Value::Inline(arguments.value(value)?));
                    let argument = TaskArgument { keyword, value };
                    if has_refs { with_refs.push(NewArgument::Value(argument)) } else { fixed.push(argument) }
                }
                Argument::Ref(object) if object.is_of(shared) => {
                    with_refs.push(NewArgument::Ref { keyword, address: object.address() });
                }
                Argument::Ref(_) => return Err(SubmitError::StaleRef),
            }
        }
        let Arguments { stored, contained, .. } = arguments;
        Ok(EncodedArguments { fixed, with_refs, stored, contained })
    }

    /// The part of the message that is the same for every submission of the task.
    pub(crate) fn fixed_spec(&self, task: &NewTask<'_>) -> TaskSpec {
        let (function_id, function_name) = match &task.function {
            Function::Python(function) => (Bytes::copy_from_slice(&function.0), String::new()),
            Function::Rust(path) => (Bytes::new(), (*path).to_owned()),
            Function::Named(_, name) | Function::Method(name) => (Bytes::new(), name.to_string()),
        };
        TaskSpec {
            function_id,
            function_name,
            name: task.name.to_owned(),
            num_returns: task.num_returns,
            cross_language: task.cross_language,
            job_id: self.job_bytes(),
            ..TaskSpec::default()
        }
    }

    /// Stores a value.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn put(&self, value: &NewValue<'_>) -> Result<ObjectRef, SubmitError> {
        let shared = &self.0;
        let id = shared.put_ids.lock().next();
        let stored = convert::inline_or_stored(shared, self.node_id(), id, value, convert::Keep::File)?;
        let address = shared.with(|state| match &state.gone {
            Some(cause) => Err(SubmitError::Disconnected(cause.clone())),
            None => {
                state.on_put_kept(id, stored);
                Ok(state.own_address(id))
            }
        })?;
        Ok(ObjectRef::counted(shared, address))
    }

    /// The ref whose wire form [`ObjectRef::to_wire`] made, here or in another process; `None` if the bytes are no ref.
    #[must_use]
    pub fn ref_from_wire(&self, wire: &[u8]) -> Option<ObjectRef> {
        Some(self.adopt_ref(RefAddress::from_bytes(wire)?))
    }

    /// A ref that nobody has sent to this process.
    pub(crate) fn adopt_ref(&self, address: RefAddress) -> ObjectRef {
        let shared: &Arc<Shared> = &self.0;
        shared.with(|state| {
            let object_ref = ObjectRef::adopt(shared, state, address);
            state.borrow_if_uncounted(address);
            object_ref
        })
    }

    /// A ref leaves this process in a way that nobody counts, for instance in a file: its object lives as long as its owner's job.
    pub fn leak(&self, object: &ObjectRef) {
        if object.is_of(&self.0) {
            self.0.with(|state| state.mark_escaped(object.id()));
        }
    }

    /// Makes a Python function known by the hash of its name and pickle.
    pub fn register_function(&self, name: &str, code: Bytes) -> crate::FunctionId {
        let id = convert::function_id(name, &code);
        self.0.with(|state| {
            state.functions.entry(id).or_insert_with(|| (name.to_owned(), code));
        });
        id
    }

    /// The name and pickle of a function that this process or a task's owner registered.
    #[must_use]
    pub fn function(&self, id: &crate::FunctionId) -> Option<(String, Bytes)> {
        self.0.with(|state| state.functions.get(id).cloned())
    }
}
