//! Waiting for objects. Deadlines stand still while something awaited is paused by a debugger.

use std::{
    borrow::Borrow,
    time::{Duration, Instant},
};

use manta_proto::ids::ObjectId;
use parking_lot::MutexGuard;

use crate::{
    Core, FetchedValue, GetError, ObjectRef, SystemErrorKind, convert, current,
    idle::Idle,
    io::IoThread,
    parking::Parking,
    reactor::{Awaited, Known, Range, State, Unread, Wait, WaiterId},
};

/// Polled about every 100 ms on the waiting thread; `true` ends the wait.
pub type Interrupted<'a> = &'a mut dyn FnMut() -> bool;

/// What a look at many refs says of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Its value is known, and on this node if that is asked for.
    Ready,
    /// It is not.
    Pending,
    /// The same look had it before.
    Again,
    /// It is of an earlier connection.
    Stale,
}

/// What a fork of a driver or worker is told.
const FORKED: &str = "this process was forked from one that had joined a cluster, and is no part of it; shut down and join anew, or start \
                      new processes instead of forking";

const POLL: Duration = Duration::from_millis(100);

impl Core {
    /// Waits for all values. A failed task's value has an error format. While it waits inside a task, the task's lease is blocked.
    ///
    /// # Errors
    /// When the timeout passes, the caller is interrupted, or the cluster is gone.
    pub fn get<R: Borrow<ObjectRef>>(
        &self,
        refs: &[R],
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
    ) -> Result<Vec<FetchedValue>, GetError> {
        let values = self.get_repeated(refs, timeout, interrupted)?;
        Ok(values.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count)).collect())
    }

    /// As [`Core::get`], with so many refs in a row for each value that have the very same.
    ///
    /// # Errors
    /// As [`Core::get`].
    pub fn get_repeated<R: Borrow<ObjectRef>>(
        &self,
        refs: &[R],
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
    ) -> Result<Vec<(FetchedValue, usize)>, GetError> {
        let objects = self.awaited(refs)?;
        let start = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            if !self.wait_until(&objects, refs.len(), true, left, interrupted)? {
                return Err(GetError::Timeout(timeout.unwrap_or_default()));
            }
            if let Some(values) = self.open_all(&objects) {
                return Ok(values);
            }
        }
    }

    /// The values of ready objects; `None` when one of them turned out to be lost, and is made again or has failed by now.
    fn open_all(&self, objects: &[Awaited]) -> Option<Vec<(FetchedValue, usize)>> {
        let shared = &self.0;
        let values = shared.with(|state| {
            let values = state.known_values(objects)?;
            state.on_read_all(values.iter().map(|(id, _)| *id));
            let adopt = |(id, value): (ObjectId, Known)| {
                let contained = match &value {
                    Known::Value(value) => convert::adopt_contained(shared, state, value),
                    Known::OfSeries(..) => Vec::new(),
                };
                (id, value, contained)
            };
            Some(values.into_iter().map(adopt).collect::<Vec<_>>())
        })?;
        let mut opened = Vec::with_capacity(values.len());
        for (id, value, contained) in values {
            let value = match value {
                Known::Value(value) => value,
                Known::OfSeries(value, count) => {
                    opened.push((convert::open_inline(value.format, &value.data), count));
                    continue;
                }
            };
            match convert::open(shared, &value, contained) {
                Ok(value) => opened.push((value, 1)),
                Err(Unread { kind: SystemErrorKind::DiskFull, sentence }) => {
                    // The value is where it was, and for this node's want of room nobody else is to suffer.
                    let error = convert::system_error(SystemErrorKind::DiskFull, sentence);
                    opened.push((convert::open_inline(error.format, &error.data), 1));
                }
                Err(Unread { sentence, .. }) => {
                    let place = value.in_store.as_ref();
                    let nodes = place.map(|location| location.node_ids.clone()).unwrap_or_default();
                    shared.with(|state| state.on_value_lost(id, &nodes, &sentence));
                    return None;
                }
            }
        }
        Some(opened)
    }

    /// Waits until `num_returns` of the refs are ready; says for each whether it is. A timeout is no error here.
    ///
    /// # Errors
    /// When the caller is interrupted, or the cluster is gone.
    pub fn wait<R: Borrow<ObjectRef>>(
        &self,
        refs: &[R],
        num_returns: usize,
        timeout: Option<Duration>,
        fetch_local: bool,
        interrupted: Interrupted<'_>,
    ) -> Result<Vec<bool>, GetError> {
        let objects = self.awaited(refs)?;
        self.wait_until(&objects, num_returns.min(refs.len()), fetch_local, timeout, interrupted)?;
        let ids = objects.iter().flat_map(|awaited| awaited.objects());
        Ok(self.0.with(|state| ids.map(|id| state.is_ready(id, fetch_local)).collect()))
    }

    /// Says of refs, one by one, whether they are ready, without a wait. `look` runs under the reactor's lock: it must not call in again.
    pub fn look<R>(
        &self,
        fetch_local: bool,
        look: impl FnOnce(&mut dyn FnMut(&ObjectRef) -> Seen) -> R,
    ) -> R {
        self.0.with(|state| {
            state.begin_look();
            look(&mut |object| {
                if object.is_of(&self.0) { state.see(object.id(), fetch_local) } else { Seen::Stale }
            })
        })
    }

    /// Calls `done` once, from any thread, when the object is ready. `get` does not wait afterwards, except to fetch.
    pub fn on_ready(&self, object: &ObjectRef, done: Box<dyn FnOnce() + Send>) {
        self.0.with(|state| state.on_ready_call(object.id(), done));
    }

    fn awaited<R: Borrow<ObjectRef>>(&self, refs: &[R]) -> Result<Vec<Awaited>, GetError> {
        let mut awaited: Vec<Awaited> = Vec::new();
        for object in refs {
            let object = object.borrow();
            if !object.is_of(&self.0) {
                return Err(GetError::StaleRef);
            }
            match (object.place_in_series(), awaited.last_mut()) {
                (Some((series, index)), Some(Awaited::Range(range)))
                    if range.end == index && range.series == series =>
                {
                    range.end += 1;
                }
                (Some((series, index)), _) => {
                    awaited.push(Awaited::Range(Range { series, first: index, end: index + 1 }));
                }
                (None, _) => awaited.push(Awaited::One(object.id())),
            }
        }
        Ok(awaited)
    }

    /// Whether enough objects became ready in time.
    fn wait_until(
        &self,
        objects: &[Awaited],
        need: usize,
        fetch: bool,
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
    ) -> Result<bool, GetError> {
        let shared = &self.0;
        if shared.io.lock().as_ref().is_some_and(IoThread::is_inherited) {
            return Err(GetError::Disconnected(FORKED.to_owned()));
        }
        let task = current::get().map(|task| (task.slot, task.id));
        let mut idle = Idle::new(shared);
        let mut state = shared.lock();
        let deadline = timeout.and_then(|timeout| state.now.checked_add(timeout));
        let outcome = match state.wait_for(objects, need, fetch, task) {
            Wait::Done => Ok(true),
            Wait::Waiting(id, parking) => {
                // Who waits for an answer sends its question.
                if state.needs_wake() {
                    MutexGuard::unlocked(&mut state, || shared.send_now());
                }
                let outcome = block(&mut state, &mut idle, (id, &parking), deadline, interrupted);
                state.now = Instant::now();
                state.end_wait(id, objects);
                outcome
            }
        };
        shared.wake_if_needed(&mut state);
        outcome
    }
}

fn block(
    state: &mut MutexGuard<'_, State>,
    idle: &mut Idle<'_>,
    (id, parking): (WaiterId, &Parking),
    mut deadline: Option<Instant>,
    interrupted: Interrupted<'_>,
) -> Result<bool, GetError> {
    let mut paused_since: Option<Instant> = None;
    let mut poll = Instant::now() + POLL;
    loop {
        if state.is_satisfied(id) {
            return Ok(true);
        }
        if let Some(cause) = &state.gone {
            return Err(GetError::Disconnected(cause.clone()));
        }
        let now = Instant::now();
        if state.is_wait_paused(id) {
            paused_since.get_or_insert(now);
        } else if let Some(since) = paused_since.take() {
            deadline = deadline.map(|deadline| deadline + (now - since));
        }
        let limit = deadline.filter(|_| paused_since.is_none());
        if limit.is_some_and(|limit| now >= limit) {
            return Ok(false);
        }
        if now >= poll {
            idle.stop_reading();
            if MutexGuard::unlocked(state, &mut *interrupted) {
                return Err(GetError::Interrupted);
            }
            poll = Instant::now() + POLL;
            continue;
        }
        idle.park(state, parking, Some(limit.map_or(poll, |limit| limit.min(poll))));
    }
}
