//! `loadedSources`: what the processes of some targets have loaded.

use std::collections::BTreeMap;

use dap::{RequestMessage, requests as dap_requests};

use super::Handled;
use crate::{
    gathering::Collection,
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments = request.arguments()?;
    let collection = Collection::Sources(BTreeMap::new());
    session.gather::<dap_requests::LoadedSources>(origin(request), collection, &arguments)
}
