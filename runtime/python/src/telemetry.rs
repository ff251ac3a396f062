//! What the process tells about itself: its own measures, and where its threads are.

use std::sync::Arc;

use manta_worker::{Core, Measure, MeasureKind};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::connection;

/// (name, description, kind, tags, value, boundaries, counts).
type MeasureParts = (String, String, String, Vec<(String, String)>, f64, Vec<f64>, Vec<u64>);

/// Reports the newest values of the program's own measures.
#[pyfunction]
pub fn report_measures(measures: Vec<MeasureParts>) -> PyResult<()> {
    let measure = |(name, description, kind, tags, value, boundaries, counts): MeasureParts| {
        let kind = match &*kind {
            "counter" => MeasureKind::Counter,
            "gauge" => MeasureKind::Gauge,
            "histogram" => MeasureKind::Histogram,
            other => return Err(PyValueError::new_err(format!("'{other}' is no kind of measure"))),
        };
        Ok(Measure { name, description, kind, tags, value, boundaries, counts })
    };
    connection::core()?.report_measures(measures.into_iter().map(measure).collect::<PyResult<_>>()?);
    Ok(())
}

/// Has the package say where the threads are, on a thread that may wait for the interpreter's lock.
pub fn install_stacks(core: &Core) {
    core.set_stack_handler(Arc::new(|| {
        let stacks =
            Python::attach(|py| py.import("manta._stacks")?.call_method0("dump")?.extract::<String>());
        stacks.unwrap_or_else(|error| format!("{:?}", error.to_string()))
    }));
}
