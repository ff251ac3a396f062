//! Functions and actors of other languages. Values go there as MessagePack, or as plain bytes.

use std::{borrow::Cow, path::Path, sync::Arc};

use manta_worker::{Function, Language, Program};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Arg, Call, Error, IntoArg, ObjectRef, TaskOptions,
    actor::{RawOptions, lookup},
    arguments,
    demand::{Demand, common_methods, demand_methods},
    handle::{AnyActor, RawHandle},
    object_ref::{self, Serialized},
    options, session,
};

/// The interpreter that [`Options::python`](crate::Options::python) was not told of.
const INTERPRETER: &str = "python3";

/// A Python function by its module and its name in it: `manta::python("math", "sqrt").arg(2.0).remote::<f64>()`.
///
/// It runs in a Python worker; [`Options::python`](crate::Options::python) says with which interpreter. What it is given and what it
/// returns must be what MessagePack knows: None, booleans, numbers, text, bytes, lists, dicts, object refs and handles of actors.
pub fn python(module: &str, function: &str) -> ForeignTask {
    let path = format!("{module}:{function}");
    let options = options::foreign_options(Function::Named(Language::Python, path.as_str().into()), &path);
    ForeignTask { options, arguments: Vec::new() }
}

/// A Python class as an actor, by its module and its name in it.
pub fn python_actor(module: &str, class: &str) -> ForeignActorOptions {
    let function = Function::Named(Language::Python, format!("{module}:{class}").into());
    let options = RawOptions::named(function, Cow::Owned(class.to_owned()), Language::Python);
    ForeignActorOptions { options, arguments: Vec::new() }
}

/// The living actor of a name, of any language, in the job's namespace.
///
/// # Errors
/// When there is none.
pub fn get_any_actor(name: &str) -> Result<ForeignActor, Error> {
    lookup(None, name).map(ForeignActor)
}

/// The program for workers of a language.
fn program(language: Language) -> Result<Arc<Program>, Error> {
    let job = session::core()?.job().ok_or_else(Error::not_initialized)?;
    if let Some(program) = job.programs.into_iter().find(|program| program.language == language) {
        return Ok(Arc::new(program));
    }
    let executable = std::env::var("MANTA_PYTHON").ok().filter(|path| !path.is_empty());
    let executable = executable.or_else(|| search(INTERPRETER)).ok_or_else(|| {
        Error::Value(format!(
            "there is no '{INTERPRETER}' on PATH for Python tasks; give Options::python an interpreter, or set MANTA_PYTHON"
        ))
    })?;
    Ok(Arc::new(Program { language, executable, sys_path: python_path() }))
}

fn search(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).map(display)
}

/// Where Python's own variable says that modules are, and the working directory.
fn python_path() -> Vec<String> {
    let given = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let given = std::env::split_paths(&given).filter(|folder| !folder.as_os_str().is_empty());
    std::env::current_dir().into_iter().chain(given).map(display).collect()
}

fn display(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

pub(crate) fn python_program(executable: &str) -> Program {
    let executable = if executable.contains('/') { Some(executable.to_owned()) } else { search(executable) }
        .unwrap_or_else(|| executable.to_owned());
    Program { language: Language::Python, executable, sys_path: python_path() }
}

fn value<V: Serialize>(value: &V) -> Arg {
    Arg(object_ref::serialize(value).map(arguments::Given::Value))
}

/// The methods that give arguments, for a type with a list of them.
macro_rules! argument_methods {
    () => {
        /// The next argument.
        pub fn arg<V: Serialize>(mut self, argument: V) -> Self {
            self.arguments.push((None, value(&argument)));
            self
        }

        /// The next argument: the value behind a ref, once it is ready.
        pub fn arg_ref<V>(mut self, argument: &ObjectRef<V>) -> Self {
            self.arguments.push((None, IntoArg::<V>::into_arg(argument)));
            self
        }

        /// The next argument: bytes as they are, such as an Arrow IPC stream.
        pub fn arg_bytes(mut self, bytes: &[u8]) -> Self {
            let raw = Serialized { bytes: bytes.to_vec(), contained: Vec::new(), raw: true };
            self.arguments.push((None, Arg(Ok(arguments::Given::Value(raw)))));
            self
        }

        /// An argument by its name.
        pub fn kwarg<V: Serialize>(mut self, name: &str, argument: V) -> Self {
            self.arguments.push((Some(name.to_owned()), value(&argument)));
            self
        }
    };
}

/// A task in another language, to be submitted by [`ForeignTask::remote`].
#[must_use = "the task is submitted by .remote()"]
pub struct ForeignTask {
    options: TaskOptions,
    arguments: Vec<(Option<String>, Arg)>,
}

impl ForeignTask {
    argument_methods!();

    /// Changes how it is submitted: `.options(|options| options.num_cpus(2.0))`.
    pub fn options(mut self, change: impl FnOnce(TaskOptions) -> TaskOptions) -> Self {
        self.options = change(self.options);
        self
    }

    /// Submits it; `get` of the ref says when that failed, or when the value is no `T`.
    pub fn remote<T>(self) -> ObjectRef<T> {
        let submitted = program(Language::Python)
            .and_then(|program| options::try_submit(&self.options.with_program(program), self.arguments));
        ObjectRef::new(submitted)
    }
}

/// An actor in another language, to be started by [`ForeignActorOptions::remote`].
#[must_use = "the actor is started by .remote()"]
pub struct ForeignActorOptions {
    options: RawOptions,
    arguments: Vec<(Option<String>, Arg)>,
}

impl ForeignActorOptions {
    argument_methods!();
    demand_methods!();
    common_methods!();

    fn raw(&mut self) -> &mut RawOptions {
        &mut self.options
    }

    fn demand(&mut self) -> &mut Demand {
        self.options.demand_mut()
    }

    /// Starts it. If that fails, its calls say why.
    pub fn remote(self) -> ForeignActor {
        let Self { options, arguments } = self;
        ForeignActor(match program(Language::Python) {
            Ok(program) => options.with_program(program).start_with(arguments),
            Err(error) => RawHandle::failed(error, &options),
        })
    }
}

/// A running actor whose type this program does not know: `handle.call("add").arg(1).remote::<i64>()`.
#[derive(Clone)]
pub struct ForeignActor(pub(crate) RawHandle);

impl ForeignActor {
    /// A call of a method.
    pub fn call(&self, method: &str) -> ForeignCall {
        ForeignCall { handle: self.0.clone(), method: method.to_owned(), arguments: Vec::new() }
    }
}

impl AnyActor for ForeignActor {
    fn raw_handle(&self) -> &RawHandle {
        &self.0
    }
}

impl Serialize for ForeignActor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ForeignActor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawHandle::deserialize(deserializer).map(Self)
    }
}

/// A call of an actor's method, to be sent by [`ForeignCall::remote`].
#[must_use = "the method is called by .remote()"]
pub struct ForeignCall {
    handle: RawHandle,
    method: String,
    arguments: Vec<(Option<String>, Arg)>,
}

impl ForeignCall {
    argument_methods!();

    /// Sends the call; the ref of its result is there at once.
    pub fn remote<T>(self) -> ObjectRef<T> {
        Call::new(&self.handle, Cow::Owned(self.method), 0, self.arguments).remote()
    }
}
