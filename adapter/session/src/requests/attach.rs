//! `attach`: to a cluster that runs already. Answered when the cluster is at hand.

use dap::RequestMessage;

use super::{Handled, Refusal};
use crate::{
    effect::Effect,
    options,
    paths::PathMap,
    session::{Phase, Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    check_unattached(session)?;
    let (common, attach) = options::attach(raw_arguments(request), &session.client.name)?;
    session.paths = PathMap::new(common.path_mappings.clone());
    session.options = common;
    session.phase = Phase::Connecting(origin(request));
    session.effects.push(Effect::Connect(attach));
    Ok(None)
}

pub(super) fn check_unattached(session: &Session) -> Result<(), Refusal> {
    if session.phase == Phase::Initialized {
        Ok(())
    } else {
        Err(Refusal::from("the session has its cluster already; start another session for another cluster"))
    }
}

pub(super) fn raw_arguments(request: &RequestMessage) -> &str {
    match request.arguments.as_deref().map(serde_json::value::RawValue::get) {
        None | Some("null") => "{}",
        Some(arguments) => arguments,
    }
}
