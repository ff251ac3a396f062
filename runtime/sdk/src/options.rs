//! Options of a submission.

use std::sync::Arc;

use manta_worker::{Argument, Core, Function, NewTask, Program};
use parking_lot::RwLock;

use crate::{
    Arg, Error, ObjectRef, arguments,
    demand::{self, Demand, demand_methods},
    session,
};

/// How a task is submitted. `task.options()` makes one with the task's own defaults.
#[derive(Debug, Clone)]
#[must_use = "the task is submitted by .remote(..)"]
pub struct TaskOptions {
    function: Function,
    name: String,
    demand: Demand,
    max_retries: u32,
    retry_errors: bool,
    program: Option<Arc<Program>>,
    pub(crate) backpressure: Option<u32>,
}

/// How often a task runs again after its worker died, unless it says otherwise.
const MAX_RETRIES: u32 = 3;

/// The defaults of a task.
pub fn task_options(path: &'static str, name: &str) -> TaskOptions {
    foreign_options(Function::Rust(path), name)
}

pub(crate) fn foreign_options(function: Function, name: &str) -> TaskOptions {
    let mut demand = Demand::default();
    demand.set("CPU", 1.0);
    TaskOptions {
        function,
        name: name.to_owned(),
        demand,
        max_retries: MAX_RETRIES,
        retry_errors: false,
        program: None,
        backpressure: None,
    }
}

impl TaskOptions {
    fn demand(&mut self) -> &mut Demand {
        &mut self.demand
    }

    pub(crate) fn with_program(mut self, program: Arc<Program>) -> Self {
        self.program = Some(program);
        self
    }

    fn task<'a>(
        &'a self,
        resources: &'a [(&'a str, f64)],
        args: &'a [(Option<&'a str>, Argument<'a>)],
    ) -> NewTask<'a> {
        NewTask {
            function: self.function.clone(),
            name: &self.name,
            args,
            num_returns: 1,
            resources,
            placement: &self.demand.placement,
            max_retries: self.max_retries,
            retry_exceptions: self.retry_errors,
            program: self.program.as_ref(),
            cross_language: self.program.is_some(),
            environment: None,
        }
    }

    demand_methods!();

    /// The name that people see.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// CPUs that the task takes while it runs.
    pub fn num_cpus(self, amount: f64) -> Self {
        self.resource("CPU", amount)
    }

    /// How often the task runs again after its worker died; `u32::MAX` is without limit.
    pub fn max_retries(mut self, times: u32) -> Self {
        self.max_retries = times;
        self
    }

    /// Whether panics and errors of the task are retried too.
    pub fn retry_errors(mut self, yes: bool) -> Self {
        self.retry_errors = yes;
        self
    }

    /// A task that gives its values one by one waits while so many of them were not taken.
    pub fn backpressure(mut self, values: u32) -> Self {
        self.backpressure = Some(values.max(1));
        self
    }
}

/// The methods of [`TaskOptions`] for a type that wraps it.
#[doc(hidden)]
#[macro_export]
macro_rules! option_methods {
    ($name:ident) => {
        impl $name {
            /// The name that people see.
            pub fn name(self, name: impl ::core::convert::Into<::std::string::String>) -> Self {
                Self(self.0.name(name))
            }
            /// CPUs that the task takes while it runs.
            pub fn num_cpus(self, amount: f64) -> Self {
                Self(self.0.num_cpus(amount))
            }
            /// GPUs that the task takes while it runs.
            pub fn num_gpus(self, amount: f64) -> Self {
                Self(self.0.num_gpus(amount))
            }
            /// Another resource that some nodes have.
            pub fn resource(
                self,
                name: impl ::core::convert::Into<::std::string::String>,
                amount: f64,
            ) -> Self {
                Self(self.0.resource(name, amount))
            }
            /// Bytes of memory that the task takes while it runs, for the scheduler's books.
            pub fn memory(self, bytes: f64) -> Self {
                Self(self.0.memory(bytes))
            }
            /// On the node with this id, in hex; with `soft`, elsewhere when that node is gone or can never run it.
            pub fn on_node(self, node: &str, soft: bool) -> Self {
                Self(self.0.on_node(node, soft))
            }
            /// Only nodes on which the label has none of the values, or is not there.
            pub fn label_not_in(self, key: &str, values: &[&str]) -> Self {
                Self(self.0.label_not_in(key, values))
            }
            /// Only nodes that have the label, whatever its value.
            pub fn label_exists(self, key: &str) -> Self {
                Self(self.0.label_exists(key))
            }
            /// Submissions go to the nodes in turn.
            pub fn spread(self) -> Self {
                Self(self.0.spread())
            }
            /// Only nodes with this label may run it.
            pub fn label(self, key: &str, value: impl ::core::convert::Into<::std::string::String>) -> Self {
                Self(self.0.label(key, value))
            }
            /// In a placement group, in whichever bundle has room.
            pub fn in_group(self, group: &$crate::PlacementGroup) -> Self {
                Self(self.0.in_group(group))
            }
            /// In this bundle of a placement group.
            pub fn in_bundle(self, group: &$crate::PlacementGroup, index: usize) -> Self {
                Self(self.0.in_bundle(group, index))
            }
            /// How often the task runs again after its worker died.
            pub fn max_retries(self, times: u32) -> Self {
                Self(self.0.max_retries(times))
            }
            /// Whether panics and errors of the task are retried too.
            pub fn retry_errors(self, yes: bool) -> Self {
                Self(self.0.retry_errors(yes))
            }
        }
    };
}

/// A task with its default options: what its submissions share is made once a connection.
pub struct Template {
    options: fn() -> TaskOptions,
    prepared: RwLock<Option<Arc<manta_worker::Template>>>,
}

impl Template {
    /// Of a task with these options.
    #[must_use]
    pub const fn new(options: fn() -> TaskOptions) -> Self {
        Self { options, prepared: RwLock::new(None) }
    }

    /// Submits the task. If that fails, `get` of the ref says why.
    pub fn submit<T, const COUNT: usize>(&self, arguments: [Arg; COUNT]) -> ObjectRef<T> {
        ObjectRef::new(self.try_submit(arguments))
    }

    fn try_submit<const COUNT: usize>(
        &self,
        arguments: [Arg; COUNT],
    ) -> Result<manta_worker::ObjectRef, Error> {
        let mut given = Vec::with_capacity(COUNT);
        for argument in arguments {
            given.push(argument.0?);
        }
        let args: Vec<_> = given.iter().map(|given| (None, given.argument())).collect();
        let mut made = None;
        let mut submit = |core: &Core, template: &manta_worker::Template| {
            Ok(core.submit_again(template, &args, None, |reference| made = Some(reference))?)
        };
        session::with_core(|core| {
            if let Some(template) = self.prepared.read().as_ref().filter(|template| template.is_of(core)) {
                return submit(core, template);
            }
            submit(core, &*self.prepare(core)?)
        })?;
        made.ok_or_else(Error::not_initialized)
    }

    fn prepare(&self, core: &Core) -> Result<Arc<manta_worker::Template>, Error> {
        let options = (self.options)();
        let made = Arc::new(with_task(&options, &[], |task| Ok(core.template(task)?))?);
        *self.prepared.write() = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// Submits a task. If that fails, `get` of the ref says why.
pub fn submit<T>(options: &TaskOptions, arguments: Vec<Arg>) -> ObjectRef<T> {
    ObjectRef::new(try_submit(options, arguments.into_iter().map(|argument| (None, argument)).collect()))
}

pub(crate) fn try_submit(
    options: &TaskOptions,
    arguments: Vec<(Option<String>, Arg)>,
) -> Result<manta_worker::ObjectRef, Error> {
    let core = session::core()?;
    let given = arguments::given(arguments)?;
    let args: Vec<_> = given.iter().map(|(name, given)| (name.as_deref(), given.argument())).collect();
    let refs = with_task(options, &args, |task| Ok(core.submit(task)?))?;
    refs.into_iter().next().ok_or_else(Error::not_initialized)
}

/// What to do with the task that has these options and arguments.
pub(crate) fn with_task<R>(
    options: &TaskOptions,
    args: &[(Option<&str>, Argument<'_>)],
    submit: impl FnOnce(&NewTask<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let amounts = options.demand.amounts(&[])?;
    submit(&options.task(&demand::borrowed(&amounts), args))
}
