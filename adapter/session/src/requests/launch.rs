//! `launch`: a driver under a private cluster. Answered when the cluster is at hand; the driver starts after `configurationDone`.

use dap::RequestMessage;

use super::{
    Handled,
    attach::{check_unattached, raw_arguments},
};
use crate::{
    effect::Effect,
    launch::Launch,
    options,
    paths::PathMap,
    session::{Phase, Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    check_unattached(session)?;
    let (common, launch) = options::launch(raw_arguments(request), &session.client.name)?;
    session.paths = PathMap::new(common.path_mappings.clone());
    session.options = common;
    session.phase = Phase::Connecting(origin(request));
    session.launch = Some(Launch { options: launch.clone(), is_started: false });
    session.effects.push(Effect::StartCluster(launch));
    Ok(None)
}
