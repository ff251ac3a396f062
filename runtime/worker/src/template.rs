//! Tasks that are submitted again and again: what their submissions share is checked, hashed and encoded once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use manta_proto::{
    ids::{ActorId, TaskId},
    v1::{TaskArgument, TaskSpec},
};
use parking_lot::{Mutex, MutexGuard};
use prost::{Message, encoding};

use crate::{
    ActorRef, Argument, Core, Function, FunctionId, NewTask, ObjectRef, SubmitError, convert, current,
    object_ref::SeriesRefs,
    reactor::{
        Appended, ClassId, ClassKey, ClassOf, EncodedTask, SERIES_ARGUMENTS_BYTES_MAX, SeriesId,
        SeriesTemplate, State, Submission,
    },
    shared::{SeriesChange, Shared},
    submit::EncodedArguments,
};

/// Arguments in a `TaskSpec`.
const ARGUMENTS_FIELD: u32 = 7;
/// A template that was used so often is used again: its tasks are worth a series.
const USES_BEFORE_SERIES: usize = 4;
/// So many tasks that were appended to a series wait for the I/O thread to look by itself before it is woken.
const WAITING_MAX: usize = 128;

/// A task without its arguments, for one connection to a cluster.
pub struct Template {
    shared: Arc<Shared>,
    key: ClassKey,
    /// The number of the class, once it has one.
    class: AtomicUsize,
    function: Option<FunctionId>,
    name: Arc<str>,
    fixed: Bytes,
    num_returns: u32,
    max_retries: u32,
    retry_exceptions: bool,
    actor: Option<ActorId>,
    uses: Mutex<Uses>,
}

/// How a template is used.
#[derive(Default)]
struct Uses {
    /// The task that used it last, or none.
    parent: Option<TaskId>,
    /// How often in a row, as far as that counts.
    count: usize,
    /// The series that the next task joins.
    series: Option<Arc<SeriesRefs>>,
}

impl Drop for Template {
    fn drop(&mut self) {
        if let Some(series) = self.uses.get_mut().series.take() {
            self.shared.series_changed(series.id, SeriesChange::Closed);
        }
    }
}

impl Template {
    /// Whether it belongs to this connection.
    #[must_use]
    pub fn is_of(&self, core: &Core) -> bool {
        Arc::ptr_eq(&self.shared, &core.0)
    }

    /// The name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn class(&self, state: &mut State) -> ClassId {
        match self.class.load(Ordering::Relaxed) {
            usize::MAX => {
                let class = state.class(self.key.clone());
                self.class.store(class.0, Ordering::Relaxed);
                class
            }
            known => ClassId(known),
        }
    }

    /// Its uses, if the task that submits has used it so often in a row that a series is worth its while.
    fn used_again(&self, parent: Option<TaskId>) -> Option<MutexGuard<'_, Uses>> {
        let mut uses = self.uses.lock();
        if uses.parent == parent && uses.count >= USES_BEFORE_SERIES {
            return Some(uses);
        }
        uses.count = if uses.parent == parent { uses.count + 1 } else { 1 };
        uses.parent = parent;
        if let Some(series) = uses.series.take() {
            self.shared.series_changed(series.id, SeriesChange::Closed);
        }
        None
    }

    fn of_series(&self, state: &mut State) -> SeriesTemplate {
        SeriesTemplate {
            class: self.class(state),
            function: self.function,
            name: Arc::clone(&self.name),
            shared: self.fixed.clone(),
            max_retries: self.max_retries,
            retry_exceptions: self.retry_exceptions,
        }
    }
}

impl Core {
    /// What submissions of this task share; its arguments do not count.
    ///
    /// # Errors
    /// When an amount of a resource is no amount.
    pub fn template(&self, task: &NewTask<'_>) -> Result<Template, SubmitError> {
        self.template_with(task, None, |_| {})
    }

    /// What calls of this method share.
    ///
    /// # Errors
    /// When the handle is of an earlier connection.
    pub fn call_template(
        &self,
        actor: &ActorRef,
        task: &NewTask<'_>,
        group: u32,
    ) -> Result<Template, SubmitError> {
        if !actor.is_of(self) {
            return Err(SubmitError::StaleRef);
        }
        self.template_with(task, Some(actor.id()), |spec| {
            spec.actor_id = actor.id().to_bytes();
            spec.concurrency_group = group;
        })
    }

    fn template_with(
        &self,
        task: &NewTask<'_>,
        actor: Option<ActorId>,
        complete: impl FnOnce(&mut TaskSpec),
    ) -> Result<Template, SubmitError> {
        let language = task.function.language();
        let mut spec = self.fixed_spec(task);
        complete(&mut spec);
        Ok(Template {
            shared: Arc::clone(&self.0),
            key: ClassKey {
                environment: task.environment.cloned(),
                ..convert::class_key(language, task.program, task.resources, task.placement)?
            },
            class: AtomicUsize::new(usize::MAX),
            function: match task.function {
                Function::Python(function) => Some(function),
                _ => None,
            },
            name: task.name.into(),
            fixed: spec.encode_to_vec().into(),
            num_returns: task.num_returns,
            max_retries: task.max_retries,
            retry_exceptions: task.retry_exceptions,
            actor,
            uses: Mutex::default(),
        })
    }

    /// Submits the template's task, or sends its call; `each` gets the refs of its results.
    ///
    /// # Errors
    /// When an argument cannot be stored, too many calls are pending, or the process has left its cluster.
    pub fn submit_again(
        &self,
        template: &Template,
        args: &[(Option<&str>, Argument<'_>)],
        pending_max: Option<usize>,
        mut each: impl FnMut(ObjectRef),
    ) -> Result<(), SubmitError> {
        if !template.is_of(self) {
            return Err(SubmitError::StaleRef);
        }
        let arguments = if args.is_empty() { EncodedArguments::default() } else { self.arguments(args)? };
        let own = encode_arguments(&arguments.fixed);
        let is_plain = template.actor.is_none()
            && template.num_returns == 1
            && arguments.with_refs.is_empty()
            && arguments.stored.is_empty()
            && arguments.contained.is_empty();
        let parent = current::id();
        // A worker that dies may take results of a series along that it has not sent yet, and their tasks run again. Those that may
        // not are sent and answered one by one.
        let may_run_again = template.max_retries > 0;
        if is_plain
            && may_run_again
            && own.len() <= SERIES_ARGUMENTS_BYTES_MAX
            && let Some(mut uses) = template.used_again(parent)
        {
            each(self.submit_in_series(template, &mut uses, &own)?);
            return Ok(());
        }
        let id = self.0.task_ids.lock().next();
        let encoded = EncodedTask { shared: template.fixed.clone(), arguments: Bytes::from(own), parent };
        let make = |state: &mut State| Submission {
            id,
            class: ClassOf::Known(template.class(state)),
            function: template.function,
            name: Arc::clone(&template.name),
            encoded,
            arguments: arguments.with_refs,
            stored: arguments.stored,
            contained: arguments.contained,
            num_returns: template.num_returns,
            max_retries: template.max_retries,
            retry_exceptions: template.retry_exceptions,
        };
        self.take_in(
            id,
            template.num_returns,
            |state| {
                let submission = make(state);
                match template.actor {
                    None => {
                        state.on_submit(submission);
                        Ok(())
                    }
                    Some(actor) => state
                        .on_call(actor, submission, pending_max)
                        .map_err(|pending| SubmitError::PendingCalls { pending }),
                }
            },
            each,
        )
    }
}

impl Core {
    /// Submits a task as the next of its template's series.
    fn submit_in_series(
        &self,
        template: &Template,
        uses: &mut Uses,
        arguments: &[u8],
    ) -> Result<ObjectRef, SubmitError> {
        let shared = &self.0;
        let Uses { parent, series, .. } = uses;
        // The I/O thread looks in a moment for what was appended. Nobody else appends to the series meanwhile.
        if shared.is_polling()
            && let Some(series) = &*series
            && let Some(Appended { index, waiting }) = series.front.append(arguments)
        {
            match waiting {
                1 => shared.series_changed(series.id, SeriesChange::Grown),
                WAITING_MAX => shared.wake.notify_one(),
                _ => {}
            }
            return Ok(ObjectRef::of_series(Arc::clone(series), index));
        }
        shared.with_lazily(|state| {
            if let Some(cause) = &state.gone {
                return Err(SubmitError::Disconnected(cause.clone()));
            }
            loop {
                if let Some(series) = &*series
                    && let Some(Appended { index, .. }) = series.front.append(arguments)
                {
                    state.grow_series(series.id);
                    return Ok(ObjectRef::of_series(Arc::clone(series), index));
                }
                let id = SeriesId::new(shared.task_ids.lock().next());
                let common = template.of_series(state);
                let front = state.begin_series(id, common, *parent);
                let (owner, owner_node) = (state.me.process, state.me.node);
                let shared = Arc::clone(shared);
                *series = Some(Arc::new(SeriesRefs { id, owner, owner_node, front, shared }));
            }
        })
    }
}

fn encode_arguments(arguments: &[TaskArgument]) -> Vec<u8> {
    if arguments.is_empty() {
        return Vec::new();
    }
    let length =
        arguments.iter().map(|argument| encoding::message::encoded_len(ARGUMENTS_FIELD, argument)).sum();
    let mut bytes = Vec::with_capacity(length);
    for argument in arguments {
        encoding::message::encode(ARGUMENTS_FIELD, argument, &mut bytes);
    }
    bytes
}
