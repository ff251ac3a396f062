//! Placement groups, as `manta.util.placement_group` uses them.

use manta_worker::{GroupDescription, GroupError, GroupStrategy, NewGroup};
use pyo3::{
    exceptions::{PyConnectionError, PyValueError},
    prelude::*,
    types::PyDict,
};

use crate::{
    connection,
    prepared::{LabelWish, labels},
};

fn group_error(error: &GroupError) -> PyErr {
    match error {
        GroupError::Connect(_) | GroupError::Local(_) => PyConnectionError::new_err(error.to_string()),
        GroupError::Amount(_) | GroupError::Refused(_) => PyValueError::new_err(error.to_string()),
    }
}

/// Makes a group; its id in hex.
#[pyfunction]
pub fn create_placement_group(
    py: Python<'_>,
    name: String,
    strategy: &str,
    bundles: Vec<Vec<(String, f64)>>,
    detached: bool,
    bundle_labels: Vec<Vec<LabelWish>>,
) -> PyResult<String> {
    let strategy = match strategy {
        "PACK" => GroupStrategy::Pack,
        "SPREAD" => GroupStrategy::Spread,
        "STRICT_PACK" => GroupStrategy::StrictPack,
        "STRICT_SPREAD" => GroupStrategy::StrictSpread,
        other => return Err(PyValueError::new_err(format!("'{other}' is no strategy of placement groups"))),
    };
    let labels = bundle_labels.into_iter().map(labels).collect::<PyResult<_>>()?;
    let group = NewGroup { name, strategy, bundles, labels, detached };
    let core = connection::core()?;
    py.detach(|| core.create_placement_group(&group)).map_err(|error| group_error(&error))
}

/// Removes a group by its id in hex.
#[pyfunction]
pub fn remove_placement_group(py: Python<'_>, id: &str) -> PyResult<()> {
    let core = connection::core()?;
    py.detach(|| core.remove_placement_group(id)).map_err(|error| group_error(&error))
}

/// All groups of the cluster.
#[pyfunction]
pub fn placement_groups(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let core = connection::core()?;
    let groups = py.detach(|| core.placement_groups()).map_err(|error| group_error(&error))?;
    let describe = |group: GroupDescription| {
        let described = PyDict::new(py);
        described.set_item("id", group.id)?;
        described.set_item("name", group.name)?;
        described.set_item("strategy", group.strategy)?;
        described.set_item("state", group.state)?;
        described.set_item("bundles", group.bundles)?;
        described.set_item("waits_for", group.waits_for)?;
        Ok(described)
    };
    groups.into_iter().map(describe).collect()
}
