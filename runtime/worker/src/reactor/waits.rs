//! Threads that wait for objects in `get` and `wait`.

use std::sync::Arc;

use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::Value,
};

use super::{Range, State, WaiterId, Watcher, series::SeriesValue};
use crate::{Seen, parking::Parking};

/// A waiting thread.
pub(crate) struct Waiter {
    need: usize,
    ready: usize,
    /// Whether stored values must be on this node too.
    fetch: bool,
    /// Awaited objects whose task is paused by a debugger.
    pub paused: u32,
    pub parking: Arc<Parking>,
    /// The task that the thread runs.
    pub task: Option<(u32, TaskId)>,
}

/// What a thread waits for: an object, or results of a series that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    One(ObjectId),
    Range(Range),
}

impl Awaited {
    pub fn len(self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Range(range) => range.len(),
        }
    }

    pub fn objects(self) -> impl Iterator<Item = ObjectId> {
        let (one, range) = match self {
            Self::One(object) => (Some(object), None),
            Self::Range(range) => (None, Some(range)),
        };
        one.into_iter().chain(range.into_iter().flat_map(Range::results))
    }

    /// How many objects these are.
    pub fn count(all: &[Self]) -> usize {
        all.iter().map(|awaited| awaited.len()).sum()
    }
}

/// The value of a ready object.
pub(crate) enum Known {
    Value(Arc<Value>),
    /// A small one, without refs inside, of so many results that follow each other.
    OfSeries(SeriesValue, usize),
}

/// The outcome of [`State::wait_for`].
pub(crate) enum Wait {
    /// Enough objects are ready.
    Done,
    /// The thread has to wait there.
    Waiting(WaiterId, Arc<Parking>),
}

impl State {
    /// Begins to wait until `need` of the objects are ready, and on this node if `fetch`.
    pub fn wait_for(
        &mut self,
        objects: &[Awaited],
        need: usize,
        fetch: bool,
        task: Option<(u32, TaskId)>,
    ) -> Wait {
        let ready = objects.iter().map(|awaited| self.count_ready(*awaited, fetch)).sum();
        if ready >= need {
            return Wait::Done;
        }
        let id = WaiterId(self.number());
        let parking = Arc::<Parking>::default();
        let waiter = Waiter { need, ready, fetch, paused: 0, parking: Arc::clone(&parking), task };
        self.waiters.insert(id, waiter);
        for awaited in objects {
            match awaited {
                Awaited::One(object) => self.begin_wait(*object, id, fetch),
                Awaited::Range(range) => {
                    let left = self.wait_for_series(*range, id);
                    left.into_iter().for_each(|object| self.begin_wait(object, id, fetch));
                }
            }
        }
        if self.is_satisfied(id) {
            self.stop_waiting(id, objects);
            return Wait::Done;
        }
        if let Some((slot, task)) = task {
            self.on_blocked(slot, task, true);
        }
        self.is_quiet = true;
        Wait::Waiting(id, parking)
    }

    fn begin_wait(&mut self, object: ObjectId, id: WaiterId, fetch: bool) {
        if self.is_ready(object, fetch) {
            return;
        }
        self.unfold_result(object);
        if self.objects.get(&object).is_some_and(|object| object.paused) {
            self.change_waiter_pause(id, true);
        }
        self.add_watcher(object, Watcher::Wait(id));
    }

    fn count_ready(&self, awaited: Awaited, fetch: bool) -> usize {
        match awaited {
            Awaited::One(object) => usize::from(self.is_ready(object, fetch)),
            Awaited::Range(range) => {
                let (ready, left) = self.series.count_ready(range);
                ready + left.iter().filter(|object| self.is_ready(**object, fetch)).count()
            }
        }
    }

    /// Whether the thread has what it waits for.
    pub fn is_satisfied(&self, id: WaiterId) -> bool {
        self.waiters.get(&id).is_none_or(|waiter| waiter.ready >= waiter.need)
    }

    /// Whether a debugger holds something that the thread waits for.
    pub fn is_wait_paused(&self, id: WaiterId) -> bool {
        self.waiters.get(&id).is_some_and(|waiter| waiter.paused > 0)
    }

    /// The thread waits no more.
    pub fn end_wait(&mut self, id: WaiterId, objects: &[Awaited]) {
        let task = self.waiters.get(&id).and_then(|waiter| waiter.task);
        self.stop_waiting(id, objects);
        if let Some((slot, task)) = task {
            self.on_blocked(slot, task, false);
        }
    }

    fn stop_waiting(&mut self, id: WaiterId, objects: &[Awaited]) {
        while self.waiters.get(&id).is_some_and(|waiter| waiter.paused > 0) {
            self.change_waiter_pause(id, false);
        }
        if self.waiters.remove(&id).is_none_or(|waiter| waiter.ready >= Awaited::count(objects)) {
            return;
        }
        for awaited in objects {
            if let Awaited::Range(range) = awaited {
                self.stop_waiting_for_series(range.series, id);
            }
        }
        for object in objects.iter().flat_map(|awaited| awaited.objects()) {
            if let Some(object) = self.objects.get_mut(&object) {
                object.watchers.retain(|watcher| !matches!(watcher, Watcher::Wait(waiter) if *waiter == id));
            }
        }
    }

    /// Counts an object that became ready for a waiter; `false` if it still has to come to this node.
    pub(super) fn on_waited(&mut self, id: WaiterId, here: bool) -> bool {
        let Some(waiter) = self.waiters.get_mut(&id) else { return true };
        if waiter.fetch && !here {
            return false;
        }
        waiter.ready += 1;
        if waiter.ready >= waiter.need {
            waiter.parking.notify_one();
        }
        true
    }

    /// Counts results that became ready for a waiter, with their values in memory.
    pub(super) fn on_waited_for(&mut self, id: WaiterId, count: usize) {
        let Some(waiter) = self.waiters.get_mut(&id).filter(|_| count > 0) else { return };
        waiter.ready += count;
        if waiter.ready >= waiter.need {
            waiter.parking.notify_one();
        }
    }

    /// Begins a look at many objects, of each of which [`State::see`] says whether it was seen in it before.
    pub fn begin_look(&mut self) {
        self.looks += 1;
    }

    /// The object's state, without a wait.
    pub fn see(&mut self, id: ObjectId, fetch: bool) -> Seen {
        if let Some((is_ready, again)) = self.look_at_series(id, self.looks) {
            return match (again, is_ready) {
                (true, _) => Seen::Again,
                (false, true) => Seen::Ready,
                (false, false) => Seen::Pending,
            };
        }
        let Some(object) = self.objects.get_mut(&id) else { return Seen::Pending };
        if std::mem::replace(&mut object.looked, self.looks) == self.looks {
            return Seen::Again;
        }
        if object.value.is_some() && (!fetch || object.here) { Seen::Ready } else { Seen::Pending }
    }

    /// Whether the object's value is known, and on this node if `fetch`.
    pub fn is_ready(&self, id: ObjectId, fetch: bool) -> bool {
        if let Some(value) = self.series.value(id) {
            return value.is_some();
        }
        self.objects.get(&id).is_some_and(|object| object.value.is_some() && (!fetch || object.here))
    }

    /// The value of a ready object.
    pub fn value(&self, id: ObjectId) -> Option<Arc<Value>> {
        match self.known_value(id)? {
            Known::Value(value) => Some(value),
            Known::OfSeries(value, _) => Some(Arc::new(value.into_value())),
        }
    }

    /// The values of ready objects as they are kept, each with the first object that has it; `None` when one is not ready.
    pub fn known_values(&self, objects: &[Awaited]) -> Option<Vec<(ObjectId, Known)>> {
        let mut known = Vec::with_capacity(objects.len());
        let mut are_all_ready = true;
        let mut add_one = |object: ObjectId, known: &mut Vec<_>| match self.known_value(object) {
            Some(value) => known.push((object, value)),
            None => are_all_ready = false,
        };
        for awaited in objects {
            match awaited {
                Awaited::One(object) => add_one(*object, &mut known),
                Awaited::Range(range) => self.series.values_of(*range, |object, value, count| match value {
                    Some(value) => known.push((object, Known::OfSeries(value.clone(), count))),
                    None => add_one(object, &mut known),
                }),
            }
        }
        are_all_ready.then_some(known)
    }

    fn known_value(&self, id: ObjectId) -> Option<Known> {
        if let Some(value) = self.series.value(id) {
            return value.map(|value| Known::OfSeries(value.clone(), 1));
        }
        self.objects.get(&id).and_then(|object| object.value.clone()).map(Known::Value)
    }

    /// Calls `done` when the object's value is known.
    pub fn on_ready_call(&mut self, id: ObjectId, done: Box<dyn FnOnce() + Send>) {
        self.add_watcher(id, Watcher::Callback(done));
    }
}
