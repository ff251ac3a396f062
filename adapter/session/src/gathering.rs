//! Requests that concern no task: several targets are asked, and what they answer is put together.

use std::collections::{BTreeMap, HashMap};

use dap::{
    BreakpointLocation, BreakpointLocationsResponseBody, ErrorMessage, LoadedSourcesResponseBody, Request,
    ResponseMessage, Seq, Source, requests as dap_requests,
};

use crate::{
    ids::TargetId,
    limits::{GATHER_TARGETS_MAX, GATHERED_MAX},
    pending::{Pending, Purpose},
    requests::{Handled, Refusal},
    session::Session,
    threads::Origin,
};

/// What is put together.
#[derive(Debug)]
pub(crate) enum Collection {
    /// Sources that processes have loaded, by path and reference.
    Sources(BTreeMap<(Option<String>, i32), Source>),
    /// Places of a file that can stop, by line and column.
    Places(BTreeMap<(i64, Option<i64>), BreakpointLocation>),
}

/// One request, while targets are asked.
#[derive(Debug)]
struct Gathering {
    origin: Origin,
    collection: Collection,
    waiting: usize,
    answered: usize,
    /// The first, which is told when there is nothing else.
    refusal: Option<ErrorMessage>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Gatherings {
    by_id: HashMap<u64, Gathering>,
    made: u64,
}

impl Gatherings {
    /// Takes the one that answers the client's `seq`.
    pub fn take_of_client(&mut self, seq: Seq) -> Option<Origin> {
        let id = self.by_id.iter().find(|(_, gathering)| gathering.origin.seq == seq).map(|(id, _)| *id)?;
        self.by_id.remove(&id).map(|gathering| gathering.origin)
    }

    /// Takes them all, for a session that ends.
    pub fn take_all(&mut self) -> Vec<Origin> {
        let mut taken: Vec<_> = self.by_id.drain().collect();
        taken.sort_by_key(|(id, _)| *id);
        taken.into_iter().map(|(_, gathering)| gathering.origin).collect()
    }
}

impl Session {
    /// Asks some targets: those with tasks that the client knows, then others.
    pub(crate) fn gather<R: Request>(
        &mut self,
        origin: Origin,
        collection: Collection,
        arguments: &R::Arguments,
    ) -> Handled {
        let mut targets: Vec<TargetId> = self.threads.iter().map(|thread| thread.target.clone()).collect();
        targets.sort();
        targets.dedup();
        let mut others: Vec<_> = self.targets.keys().filter(|id| !targets.contains(id)).cloned().collect();
        others.sort();
        targets.extend(others);
        targets.truncate(GATHER_TARGETS_MAX);
        self.gatherings.made += 1;
        let id = self.gatherings.made;
        let mut waiting = 0;
        for target in targets {
            let pending = Pending::new(None, target, None, Purpose::Gather(id));
            if self.ask::<R>(arguments, pending).is_ok() {
                waiting += 1;
            }
        }
        let gathering = Gathering { origin, collection, waiting, answered: 0, refusal: None };
        self.gatherings.by_id.insert(id, gathering);
        self.finish_gathering(id);
        Ok(None)
    }

    /// A target answered, or will not.
    pub(crate) fn on_gathered(
        &mut self,
        id: u64,
        target: &TargetId,
        answer: Result<&ResponseMessage, ErrorMessage>,
    ) {
        let added =
            answer.and_then(|response| self.add_gathered(id, target, response).map_err(|refusal| refusal.0));
        let Some(gathering) = self.gatherings.by_id.get_mut(&id) else { return };
        gathering.waiting = gathering.waiting.saturating_sub(1);
        match added {
            Ok(()) => gathering.answered += 1,
            Err(error) => {
                gathering.refusal.get_or_insert(error);
            }
        }
        self.finish_gathering(id);
    }

    fn add_gathered(
        &mut self,
        id: u64,
        target: &TargetId,
        response: &ResponseMessage,
    ) -> Result<(), Refusal> {
        // Cancelled, perhaps.
        let Some(mut gathering) = self.gatherings.by_id.remove(&id) else { return Ok(()) };
        let result = match &mut gathering.collection {
            Collection::Sources(sources) => response.body().map(|body: LoadedSourcesResponseBody| {
                for source in body.sources {
                    let shown = self.shown_source(source, target);
                    let key = (shown.path.clone(), shown.source_reference.map_or(0, i32::from));
                    if sources.len() < GATHERED_MAX {
                        sources.entry(key).or_insert(shown);
                    }
                }
            }),
            Collection::Places(places) => response.body().map(|body: BreakpointLocationsResponseBody| {
                for place in body.breakpoints.into_iter().take(GATHERED_MAX) {
                    places.entry((place.line, place.column)).or_insert(place);
                }
            }),
        };
        self.gatherings.by_id.insert(id, gathering);
        Ok(result?)
    }

    fn finish_gathering(&mut self, id: u64) {
        if self.gatherings.by_id.get(&id).is_none_or(|gathering| gathering.waiting > 0) {
            return;
        }
        let Some(Gathering { origin, collection, answered, refusal, .. }) = self.gatherings.by_id.remove(&id)
        else {
            return;
        };
        let answer = match (collection, refusal) {
            (_, Some(refusal)) if answered == 0 => ResponseMessage::err(origin.seq, origin.command, refusal),
            (Collection::Sources(sources), _) => {
                let body = LoadedSourcesResponseBody { sources: sources.into_values().collect() };
                ResponseMessage::ok::<dap_requests::LoadedSources>(origin.seq, &body)
            }
            (Collection::Places(places), _) => {
                let shown = |place: BreakpointLocation| BreakpointLocation {
                    line: self.shown_line(place.line),
                    column: place.column.map(|column| self.shown_column(column)),
                    end_line: place.end_line.map(|line| self.shown_line(line)),
                    end_column: place.end_column.map(|column| self.shown_column(column)),
                };
                let breakpoints = places.into_values().map(shown).collect();
                let body = BreakpointLocationsResponseBody { breakpoints };
                ResponseMessage::ok::<dap_requests::BreakpointLocations>(origin.seq, &body)
            }
        };
        self.reply(answer);
    }
}
