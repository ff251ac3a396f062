//! Packages, and calls of the head that have nothing to do with tasks.

use std::{path::PathBuf, sync::Arc, time::Duration};

use manta_packages::{Package, PackageSource};
use manta_worker::{Answer, HeadConnection, HeadError, StateQuery};
use pyo3::{
    exceptions::{PyConnectionError, PyFileNotFoundError, PyRuntimeError, PyValueError},
    prelude::*,
    types::PyBytes,
};

use crate::connection;

/// How often a wait for a log looks at signals.
const POLL: Duration = Duration::from_millis(100);

/// Files on their way to the nodes.
#[pyclass(frozen, module = "manta._manta", name = "Package")]
pub struct PyPackage(Arc<Package>);

impl PyPackage {
    /// For the core.
    pub fn shared(&self) -> Arc<Package> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl PyPackage {
    /// The SHA-256 of its content.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Bytes.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }
}

/// Makes a package of a folder, a file or an archive.
#[pyfunction]
pub fn make_package(
    py: Python<'_>,
    path: PathBuf,
    keep_name: bool,
    excludes: Vec<String>,
    gitignore: bool,
) -> PyResult<PyPackage> {
    let source = PackageSource { path, keep_name, excludes, gitignore };
    let made = py.detach(|| manta_packages::pack(&source));
    made.map(|package| PyPackage(Arc::new(package))).map_err(|error| match error {
        manta_packages::PackError::Missing(_) => PyFileNotFoundError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    })
}

fn failed(error: &HeadError) -> PyErr {
    match error {
        HeadError::Connect(_) | HeadError::Token(_) => PyConnectionError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

/// A connection to a head, for everything but tasks.
#[pyclass(frozen, module = "manta._manta", name = "Head")]
pub struct PyHead(HeadConnection);

/// The head of the cluster that this process is part of.
#[pyfunction]
pub fn current_head(py: Python<'_>) -> PyResult<PyHead> {
    let core = connection::core()?;
    py.detach(|| core.head()).map(PyHead).map_err(|error| failed(&error))
}

/// (rows as JSON, how many in all, next page, notes).
type StateAnswer = (Vec<String>, u64, String, Vec<String>);

#[pymethods]
impl PyHead {
    #[new]
    #[pyo3(signature = (address = None))]
    fn new(py: Python<'_>, address: Option<String>) -> PyResult<Self> {
        py.detach(|| HeadConnection::open(address)).map(Self).map_err(|error| failed(&error))
    }

    /// Where it is.
    #[getter]
    fn address(&self) -> &str {
        self.0.address()
    }

    #[expect(clippy::needless_pass_by_value, reason = "what is taken out of Python arguments is ours")]
    fn put_packages(&self, py: Python<'_>, packages: Vec<Py<PyPackage>>) -> PyResult<()> {
        let packages: Vec<_> = packages.iter().map(|package| package.get().shared()).collect();
        py.detach(|| self.0.put_packages(&packages)).map_err(|error| failed(&error))
    }

    #[expect(clippy::needless_pass_by_value, reason = "what is taken out of Python arguments is ours")]
    fn submit_job(
        &self,
        py: Python<'_>,
        submission_id: &str,
        entrypoint: &str,
        runtime_env: &str,
        metadata: Vec<(String, String)>,
        resources: Vec<(String, f64)>,
    ) -> PyResult<String> {
        let resources: Vec<_> = resources.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
        py.detach(|| self.0.submit_job(submission_id, entrypoint, runtime_env, metadata, &resources))
            .map_err(|error| failed(&error))
    }

    fn stop_job(&self, py: Python<'_>, submission_id: &str) -> PyResult<bool> {
        py.detach(|| self.0.stop_job(submission_id)).map_err(|error| failed(&error))
    }

    fn delete_job(&self, py: Python<'_>, submission_id: &str) -> PyResult<()> {
        py.detach(|| self.0.delete_job(submission_id)).map_err(|error| failed(&error))
    }

    #[pyo3(signature = (kind, filters, limit = 0, page = String::new(), summary = false))]
    fn list_state(
        &self,
        py: Python<'_>,
        kind: String,
        filters: Vec<(String, String, bool)>,
        limit: u32,
        page: String,
        summary: bool,
    ) -> PyResult<StateAnswer> {
        let query = StateQuery { kind, filters, limit, page, summary };
        py.detach(|| self.0.list_state(query)).map_err(|error| failed(&error))
    }

    /// (node's name, log's name) of each.
    fn list_logs(
        &self,
        py: Python<'_>,
        nodes: Vec<String>,
        pattern: &str,
    ) -> PyResult<Vec<(String, String)>> {
        py.detach(|| self.0.list_logs(nodes, pattern)).map_err(|error| failed(&error))
    }

    fn read_log(
        &self,
        py: Python<'_>,
        node: &str,
        name: &str,
        tail: i64,
        follow: bool,
    ) -> PyResult<PyAnswer> {
        py.detach(|| self.0.read_log(node, name, tail, follow)).map(PyAnswer).map_err(|error| failed(&error))
    }
}

/// An answer that comes in parts.
#[pyclass(frozen, module = "manta._manta", name = "Answer")]
pub struct PyAnswer(Answer);

#[pymethods]
impl PyAnswer {
    /// The next part, or `None` at the end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        loop {
            match py.detach(|| self.0.next(POLL)) {
                None => py.check_signals()?,
                Some(Err(error)) => return Err(failed(&error)),
                Some(Ok(None)) => return Ok(None),
                Some(Ok(Some(part))) if !part.error.is_empty() => {
                    return Err(PyRuntimeError::new_err(part.error));
                }
                Some(Ok(Some(part))) if part.data.is_empty() => {}
                Some(Ok(Some(part))) => return Ok(Some(PyBytes::new(py, &part.data))),
            }
        }
    }
}
