//! Submission of tasks: the path that runs once a task.

use std::sync::{Arc, OnceLock};

use manta_proto::ids::NodeId;
use manta_worker::{
    ActorRef, Argument, Core, Function, FunctionId, LabelOperator, Language, NewTask, Placement, Program,
    Stream, SubmitError, Template,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyDict, PyList, PyString, PyTuple},
};

use crate::{
    connection,
    encode::{Encoded, encode},
    msgpack,
    object_ref::PyObjectRef,
    objects::{DETACH_BYTES, submit_error},
    stream::PyStream,
};

/// A remote function with its options, ready to be submitted any number of times under the connection that it was made for.
#[pyclass(frozen, module = "manta._manta")]
pub struct PreparedTask {
    generation: u64,
    function: Function,
    /// The actor whose method it calls.
    call: Option<Call>,
    name: String,
    resources: Vec<(String, f64)>,
    placement: Placement,
    num_returns: u32,
    max_retries: u32,
    retry_exceptions: bool,
    /// What runs it, when it is of another language.
    program: Option<Arc<Program>>,
    cross_language: bool,
    /// What its submissions share, made with the first.
    template: OnceLock<Template>,
    environment: Option<Arc<str>>,
}

/// What a call needs beside what a task needs.
pub struct Call {
    pub actor: ActorRef,
    pub group: u32,
    pub pending_max: Option<usize>,
}

/// A label as (key, operator, values).
pub type LabelWish = (String, String, Vec<String>);

/// Where a task may run: whether it is spread; the node's id in hex, whether that is soft, and whether it is only while there is room;
/// the labels that a node must have, those that it should have, and lists of labels that may take the place of the first.
#[derive(FromPyObject)]
pub struct PlacementWish(
    bool,
    Option<(String, bool, bool)>,
    Vec<LabelWish>,
    Vec<LabelWish>,
    Vec<Vec<LabelWish>>,
);

/// A label's operator by its name.
pub fn operator(name: &str) -> PyResult<LabelOperator> {
    match name {
        "in" => Ok(LabelOperator::In),
        "not in" => Ok(LabelOperator::NotIn),
        "exists" => Ok(LabelOperator::Exists),
        "does not exist" => Ok(LabelOperator::DoesNotExist),
        other => Err(PyValueError::new_err(format!("'{other}' is no operator on labels"))),
    }
}

/// Labels for the core.
pub fn labels(wished: Vec<LabelWish>) -> PyResult<Vec<(String, LabelOperator, Vec<String>)>> {
    wished.into_iter().map(|(key, name, values)| Ok((key, operator(&name)?, values))).collect()
}

impl PlacementWish {
    /// For the core.
    pub fn placement(self) -> PyResult<Placement> {
        let Self(spread, node, hard, soft, fallbacks) = self;
        let mut placement = Placement::default();
        if spread {
            placement = placement.spread();
        }
        if let Some((node, soft, only_with_room)) = node {
            let node = NodeId::from_hex(&node)
                .ok_or_else(|| PyValueError::new_err(format!("'{node}' is not the id of a node")))?;
            placement = placement.on_node(node, soft, only_with_room);
        }
        for (wished, is_soft) in [(hard, false), (soft, true)] {
            for (key, operator, values) in labels(wished)? {
                placement = placement.with_label(&key, operator, values, is_soft);
            }
        }
        for fallback in fallbacks {
            placement = placement.or_with_labels(labels(fallback)?);
        }
        Ok(placement)
    }
}

/// An argument before the core takes it: a ref as it is, everything else as bytes.
enum Prepared<'py> {
    Ref(Bound<'py, PyObjectRef>),
    Value(Encoded<'py>),
}

#[pymethods]
impl PreparedTask {
    #[new]
    #[pyo3(signature = (function_id, name, resources, num_returns, max_retries, retry_exceptions, placement, environment = None))]
    #[expect(clippy::too_many_arguments, reason = "arguments of a Python constructor")]
    fn new(
        function_id: &[u8],
        name: String,
        resources: Vec<(String, f64)>,
        num_returns: u32,
        max_retries: u32,
        retry_exceptions: bool,
        placement: Option<PlacementWish>,
        environment: Option<String>,
    ) -> PyResult<Self> {
        let function = function_id.try_into().map(|id| Function::Python(FunctionId(id)));
        let function = function.map_err(|_| PyValueError::new_err("a function id has 16 bytes"))?;
        let generation = connection::generation();
        let placement = placement.map_or_else(|| Ok(Placement::default()), PlacementWish::placement)?;
        Ok(Self {
            generation,
            function,
            call: None,
            name,
            resources,
            placement,
            num_returns,
            max_retries,
            retry_exceptions,
            program: None,
            cross_language: false,
            template: OnceLock::new(),
            environment: environment.map(Arc::from),
        })
    }

    /// A Rust function or actor class by its path, in a binary.
    #[staticmethod]
    #[expect(clippy::too_many_arguments, reason = "called from one place in Python")]
    fn foreign(
        path: &str,
        binary: String,
        name: String,
        resources: Vec<(String, f64)>,
        num_returns: u32,
        max_retries: u32,
        retry_exceptions: bool,
        placement: Option<PlacementWish>,
    ) -> PyResult<Self> {
        let program = Program { language: Language::Rust, executable: binary, sys_path: Vec::new() };
        Ok(Self {
            function: Function::Named(Language::Rust, path.into()),
            program: Some(Arc::new(program)),
            cross_language: true,
            ..Self::new(
                &[0; 16],
                name,
                resources,
                num_returns,
                max_retries,
                retry_exceptions,
                placement,
                None,
            )?
        })
    }

    /// Whether the connection that it was made for is the present one.
    fn is_current(&self) -> bool {
        self.generation == connection::generation()
    }

    /// Submits one task: answers with a ref, a list of them, or `None` when the task returns nothing.
    fn submit<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let core = connection::core()?;
        let template = self.template(&core).map_err(|error| submit_error(py, &error))?;
        let pending_max = self.call.as_ref().and_then(|call| call.pending_max);
        let (mut first, mut more) = (None, Vec::new());
        let mut each = |object_ref| {
            if first.is_none() {
                first = Some(object_ref);
            } else {
                more.push(object_ref);
            }
        };
        let submitted = self.with_args(args, kwargs, |bytes, args| {
            let mut submit = || core.submit_again(template, args, pending_max, &mut each);
            if bytes > DETACH_BYTES { py.detach(submit) } else { submit() }
        })?;
        submitted.map_err(|error| submit_error(py, &error))?;
        match (self.num_returns, first) {
            (0, _) => Ok(py.None().into_bound(py)),
            (1, Some(object_ref)) => Ok(Bound::new(py, PyObjectRef::new(object_ref))?.into_any()),
            (_, first) => {
                let refs = first.into_iter().chain(more).map(PyObjectRef::new);
                let refs: Vec<_> =
                    refs.map(|object_ref| Bound::new(py, object_ref)).collect::<PyResult<_>>()?;
                Ok(PyList::new(py, refs)?.into_any())
            }
        }
    }

    /// Submits one streaming task whose result has refs of all its values: answers with the ref of that.
    fn submit_dynamic(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<PyObjectRef> {
        self.stream(py, args, kwargs, None).map(|stream| PyObjectRef::new(stream.into_result()))
    }

    /// Submits one streaming task, which waits while `backpressure` values were not taken.
    fn submit_stream(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        backpressure: Option<u32>,
    ) -> PyResult<PyStream> {
        self.stream(py, args, kwargs, backpressure).map(PyStream::new)
    }
}

impl PreparedTask {
    fn stream(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        backpressure: Option<u32>,
    ) -> PyResult<Stream> {
        let core = connection::core()?;
        let stream = self.with_task(args, kwargs, |bytes, task| {
            let submit = || match &self.call {
                None => core.submit_stream(task, backpressure),
                Some(call) => core.call_stream(&call.actor, task, call.group, call.pending_max, backpressure),
            };
            if bytes > DETACH_BYTES { py.detach(submit) } else { submit() }
        })?;
        stream.map_err(|error| submit_error(py, &error))
    }

    /// A call of an actor's method, ready to be submitted.
    pub fn of_call(
        method: &str,
        name: String,
        num_returns: u32,
        (max_retries, retry_exceptions): (u32, bool),
        call: Call,
    ) -> Self {
        Self {
            generation: connection::generation(),
            function: Function::Method(method.into()),
            call: Some(call),
            name,
            resources: Vec::new(),
            placement: Placement::default(),
            num_returns,
            max_retries,
            retry_exceptions,
            program: None,
            cross_language: false,
            template: OnceLock::new(),
            environment: None,
        }
    }

    /// The same for an actor of another language.
    pub fn across_languages(self, cross_language: bool) -> Self {
        Self { cross_language, ..self }
    }

    fn prepare<'py>(&self, value: &Bound<'py, PyAny>, what: &dyn Fn() -> String) -> PyResult<Prepared<'py>> {
        match value.cast_exact::<PyObjectRef>() {
            Ok(object_ref) => Ok(Prepared::Ref(object_ref.clone())),
            Err(_) if self.cross_language => msgpack::encode(value, what).map(Prepared::Value),
            Err(_) => encode(value, what).map(Prepared::Value),
        }
    }

    /// What its submissions share.
    fn template(&self, core: &Core) -> Result<&Template, SubmitError> {
        if let Some(template) = self.template.get() {
            return Ok(template);
        }
        let resources = self.resources();
        let task = self.task(&resources, &[]);
        let made = match &self.call {
            None => core.template(&task)?,
            Some(call) => core.call_template(&call.actor, &task, call.group)?,
        };
        Ok(self.template.get_or_init(|| made))
    }

    fn resources(&self) -> Vec<(&str, f64)> {
        self.resources.iter().map(|(name, amount)| (name.as_str(), *amount)).collect()
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
            num_returns: self.num_returns,
            resources,
            placement: &self.placement,
            max_retries: self.max_retries,
            retry_exceptions: self.retry_exceptions,
            program: self.program.as_ref(),
            cross_language: self.cross_language,
            environment: self.environment.as_ref(),
        }
    }

    /// Encodes the arguments, and gives the task with them and their size to `submit`.
    pub fn with_task<R>(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        submit: impl FnOnce(usize, &NewTask<'_>) -> R,
    ) -> PyResult<R> {
        self.with_args(args, kwargs, |bytes, args| submit(bytes, &self.task(&self.resources(), args)))
    }

    /// Encodes the arguments, and gives them and their size to `submit`.
    fn with_args<R>(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        submit: impl FnOnce(usize, &[(Option<&str>, Argument<'_>)]) -> R,
    ) -> PyResult<R> {
        let mut prepared = Vec::with_capacity(args.len() + kwargs.len());
        for (index, value) in args.iter_borrowed().enumerate() {
            let what = || format!("argument {} of the task '{}'", index + 1, self.name);
            prepared.push((None, self.prepare(&value, &what)?));
        }
        for (keyword, value) in kwargs.iter() {
            let keyword = keyword.cast_into::<PyString>()?;
            let what = || format!("the argument '{}' of the task '{}'", keyword, self.name);
            let value = self.prepare(&value, &what)?;
            prepared.push((Some(keyword.to_str()?.to_owned()), value));
        }
        let buffers: Vec<Vec<&[u8]>> = prepared
            .iter()
            .map(|(_, argument)| match argument {
                Prepared::Value(encoded) => encoded.buffers(),
                Prepared::Ref(_) => Vec::new(),
            })
            .collect();
        let mut bytes = 0;
        let mut args = Vec::with_capacity(prepared.len());
        for ((keyword, argument), buffers) in prepared.iter().zip(&buffers) {
            let argument = match argument {
                Prepared::Ref(object_ref) => Argument::Ref(object_ref.get().inner().clone()),
                Prepared::Value(encoded) => {
                    bytes += encoded.len();
                    Argument::Value(encoded.value(buffers))
                }
            };
            args.push((keyword.as_deref(), argument));
        }
        Ok(submit(bytes, &args))
    }
}
