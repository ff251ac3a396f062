//! Options of a submission.

use manta_worker::{Argument, Function, LabelOperator, NewTask, Placement};

use crate::{Arg, Error, ObjectRef, arguments::Given, session};

/// How a task is submitted. `task.options()` makes one with the task's own defaults.
#[derive(Debug, Clone)]
#[must_use = "the task is submitted by .remote(..)"]
pub struct TaskOptions {
    path: &'static str,
    name: String,
    resources: Vec<(String, f64)>,
    placement: Placement,
    max_retries: u32,
    retry_errors: bool,
}

/// How often a task runs again after its worker died, unless it says otherwise.
const MAX_RETRIES: u32 = 3;

/// The defaults of a task.
pub fn task_options(path: &'static str, name: &str) -> TaskOptions {
    TaskOptions {
        path,
        name: name.to_owned(),
        resources: vec![("CPU".to_owned(), 1.0)],
        placement: Placement::default(),
        max_retries: MAX_RETRIES,
        retry_errors: false,
    }
}

impl TaskOptions {
    /// The name that people see.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// CPUs that the task takes while it runs.
    pub fn num_cpus(self, amount: f64) -> Self {
        self.resource("CPU", amount)
    }

    /// GPUs that the task takes while it runs.
    pub fn num_gpus(self, amount: f64) -> Self {
        self.resource("GPU", amount)
    }

    /// Another resource that some nodes have.
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        let name = name.into();
        self.resources.retain(|(other, _)| *other != name);
        self.resources.push((name, amount));
        self
    }

    /// Submissions go to the nodes in turn.
    pub fn spread(mut self) -> Self {
        self.placement = self.placement.spread();
        self
    }

    /// Only nodes with this label may run it.
    pub fn label(mut self, key: &str, value: impl Into<String>) -> Self {
        self.placement = self.placement.with_label(key, LabelOperator::In, vec![value.into()], false);
        self
    }

    /// How often the task runs again after its worker died.
    pub fn max_retries(mut self, times: u32) -> Self {
        self.max_retries = times;
        self
    }

    /// Whether panics and errors of the task are retried too.
    pub fn retry_errors(mut self, yes: bool) -> Self {
        self.retry_errors = yes;
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
            /// Submissions go to the nodes in turn.
            pub fn spread(self) -> Self {
                Self(self.0.spread())
            }
            /// Only nodes with this label may run it.
            pub fn label(self, key: &str, value: impl ::core::convert::Into<::std::string::String>) -> Self {
                Self(self.0.label(key, value))
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

/// Submits a task. If that fails, `get` of the ref says why.
pub fn submit<T>(options: &TaskOptions, arguments: Vec<Arg>) -> ObjectRef<T> {
    ObjectRef::new(try_submit(options, arguments))
}

fn try_submit(options: &TaskOptions, arguments: Vec<Arg>) -> Result<manta_worker::ObjectRef, Error> {
    let core = session::core()?;
    let given = arguments.into_iter().map(|argument| argument.0).collect::<Result<Vec<_>, _>>()?;
    let args: Vec<(Option<&str>, Argument<'_>)> = given
        .iter()
        .map(|given| match given {
            Given::Value(value) => (None, Argument::Value(value.as_new_value())),
            Given::Ref(reference) => (None, Argument::Ref(reference.clone())),
        })
        .collect();
    let resources: Vec<(&str, f64)> =
        options.resources.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
    let task = NewTask {
        function: Function::Rust(options.path),
        name: &options.name,
        args: &args,
        num_returns: 1,
        resources: &resources,
        placement: &options.placement,
        max_retries: options.max_retries,
        retry_exceptions: options.retry_errors,
    };
    let refs = core.submit(&task)?;
    refs.into_iter().next().ok_or_else(Error::not_initialized)
}
