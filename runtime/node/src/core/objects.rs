//! Which objects lie in this node's store or on its disk, and the fetching of others.

use std::collections::{HashMap, HashSet, VecDeque};

use manta_proto::{
    ids::{JobId, NodeId, ObjectId, ProcessId},
    v1::{ObjectSealed, PullObject, Pulled, node_to_process},
};

use super::{Core, Effect};

/// Nodes that left whose heirs are remembered.
const HEIRS_MAX: usize = 1024;

/// Where an object's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the store.
    Memory,
    /// In the store, and being written to disk.
    Spilling,
    /// On disk.
    Disk,
    /// On disk, and being read into the store.
    Restoring,
}

/// Why an object did not come to this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotHere {
    /// For people.
    pub sentence: String,
    /// It is where it was, but there is no room for it here.
    pub disk_full: bool,
}

impl From<String> for NotHere {
    fn from(sentence: String) -> Self {
        Self { sentence, disk_full: false }
    }
}

pub(super) struct Stored {
    pub job: Option<JobId>,
    pub size: u64,
    /// It was made here; else it is a copy of what another node has.
    pub primary: bool,
    pub place: Place,
    /// Rises with each use.
    pub used: u64,
}

#[derive(Default)]
pub(super) struct Objects {
    pub stored: HashMap<ObjectId, Stored>,
    /// Who waits for an object that is being fetched or restored. Concurrent wishes share one transfer.
    pulls: HashMap<ObjectId, Vec<(ProcessId, u64)>>,
    /// Objects with a copy elsewhere.
    copied: HashSet<ObjectId>,
    /// Who has the objects of nodes that left, the latest last.
    heirs: VecDeque<(NodeId, NodeId)>,
    /// Workers that have ended, while what they had said before is still to be read.
    pub departed: HashMap<ProcessId, JobId>,
    pub uses: u64,
}

impl Core {
    fn job_of(&self, process: ProcessId) -> Option<JobId> {
        let driver =
            || self.drivers.get(&process).and_then(|driver| JobId::try_from(&driver.config.job_id).ok());
        let departed = || self.objects.departed.get(&process).copied();
        self.workers.get(&process).map(super::workers::Worker::job).or_else(driver).or_else(departed)
    }

    fn next_use(&mut self) -> u64 {
        self.objects.uses += 1;
        self.objects.uses
    }

    pub(super) fn on_sealed(&mut self, from: ProcessId, object: ObjectId, sealed: &ObjectSealed) {
        let job = self.job_of(from);
        let place = if sealed.spilled { Place::Disk } else { Place::Memory };
        let used = self.next_use();
        let stored = Stored { job, size: sealed.size, primary: true, place, used };
        if job.is_none_or(|job| self.job_ended(job)) {
            return self.delete(object, stored.place);
        }
        // The same task ran here before: the file is the new one.
        if let Some(before) = self.objects.stored.insert(object, stored)
            && before.place != place
        {
            let other = if sealed.spilled { Place::Memory } else { Place::Disk };
            self.delete(object, other);
        }
    }

    /// A process writes an object's file again: nobody else ever saw it.
    pub(super) fn on_recycled(&mut self, ids: &[bytes::Bytes]) {
        for object in ids.iter().filter_map(|id| ObjectId::try_from(id).ok()) {
            if let Some(stored) = self.objects.stored.remove(&object)
                && stored.place != Place::Memory
            {
                self.effects.push(Effect::DeleteSpilled(vec![object]));
            }
        }
    }

    pub(super) fn on_pull(&mut self, from: ProcessId, pull: &PullObject) {
        let request_id = pull.request_id;
        let refused = |error: String| Pulled { request_id, error, ..Pulled::default() };
        let Ok(object) = ObjectId::try_from(&pull.object_id) else {
            let answer = refused("an object id has 20 bytes; this one has not".to_owned());
            return self.tell_process(from, node_to_process::Message::Pulled(answer));
        };
        let used = self.next_use();
        if let Some(stored) = self.objects.stored.get_mut(&object) {
            stored.used = used;
            let size = stored.size;
            match stored.place {
                // What is being spilled stays.
                Place::Memory | Place::Spilling => {
                    stored.place = Place::Memory;
                    let answer = Pulled { request_id, size, ..Pulled::default() };
                    return self.tell_process(from, node_to_process::Message::Pulled(answer));
                }
                Place::Disk => {
                    stored.place = Place::Restoring;
                    self.objects.pulls.entry(object).or_default().push((from, request_id));
                    return self.effects.push(Effect::Restore { object, size });
                }
                Place::Restoring => {
                    return self.objects.pulls.entry(object).or_default().push((from, request_id));
                }
            }
        }
        let node = NodeId::try_from(&pull.node_id).unwrap_or(self.me.id);
        let addresses = self.addresses_of(node);
        if addresses.is_empty() {
            let at = self.node_name(node);
            let answer =
                refused(format!("object {object} is lost: it was on {at}, which does not have it any more"));
            return self.tell_process(from, node_to_process::Message::Pulled(answer));
        }
        let waiting = self.objects.pulls.entry(object).or_default();
        waiting.push((from, request_id));
        if waiting.len() == 1 {
            self.effects.push(Effect::Pull { object, addresses });
        }
    }

    /// Where the objects of a node can be had: from who took them over, and from itself.
    fn addresses_of(&self, node: NodeId) -> Vec<String> {
        let mut nodes = vec![node];
        while let Some((_, heir)) = self.objects.heirs.iter().rev().find(|(from, _)| *from == nodes[0])
            && !nodes.contains(heir)
        {
            nodes.insert(0, *heir);
        }
        nodes.iter().filter_map(|id| self.peers.get(id)).map(|peer| peer.address.clone()).collect()
    }

    /// A node that leaves has left its objects to another.
    pub fn on_peer_moved(&mut self, from: NodeId, to: NodeId) {
        if self.objects.heirs.contains(&(from, to)) {
            return;
        }
        self.objects.heirs.push_back((from, to));
        if self.objects.heirs.len() > HEIRS_MAX {
            self.objects.heirs.pop_front();
        }
        if to == self.me.id {
            // Who leaves tells those that it knows of. Who joins at that moment may be known here only.
            self.tell_peers_of_move(from);
        }
    }

    /// Who left objects to this node, or to one that left them to it.
    pub(super) fn moves_that_end_here(&self) -> Vec<(NodeId, NodeId)> {
        let mut moves = Vec::new();
        let mut heirs = vec![self.me.id];
        // Newest first: who left to an heir of ours did so before that one left.
        for (from, to) in self.objects.heirs.iter().rev() {
            if heirs.contains(to) && !heirs.contains(from) {
                heirs.push(*from);
                moves.push((*from, *to));
            }
        }
        moves.reverse();
        moves
    }

    /// What lies on this node alone, as far as it knows.
    pub(super) fn objects_to_move(&self) -> Vec<(ObjectId, JobId)> {
        let primary = self.objects.stored.iter().filter(|(_, stored)| stored.primary);
        let mut objects: Vec<_> =
            primary.filter_map(|(object, stored)| Some((*object, stored.job?))).collect();
        objects.sort_unstable();
        objects
    }

    /// Makes an object that a leaving node has this node's own, if it is here already.
    pub fn adopt_object(&mut self, object: ObjectId, job: JobId) -> bool {
        let Some(stored) = self.objects.stored.get_mut(&object) else { return false };
        stored.primary = true;
        stored.job = Some(job);
        true
    }

    /// An object of a node that leaves was fetched.
    pub fn on_taken_over(&mut self, object: ObjectId, job: JobId, size: u64, spilled: bool) {
        let place = if spilled { Place::Disk } else { Place::Memory };
        if self.job_ended(job) {
            return self.delete(object, place);
        }
        let used = self.next_use();
        let stored = Stored { job: Some(job), size, primary: true, place, used };
        self.objects.stored.insert(object, stored);
    }

    /// A fetched object is in the store, or on disk when the store had no room, or could not be fetched.
    pub fn on_pulled(&mut self, object: ObjectId, result: &Result<(u64, bool), NotHere>) {
        let waiting = self.objects.pulls.remove(&object).unwrap_or_default();
        let job = waiting.iter().find_map(|(process, _)| self.job_of(*process));
        let used = self.next_use();
        if let Ok((size, spilled)) = result {
            let place = if *spilled { Place::Disk } else { Place::Memory };
            if job.is_some_and(|job| !self.job_ended(job)) {
                // It may have been taken over at the same time.
                let primary = self.objects.stored.get(&object).is_some_and(|stored| stored.primary);
                let stored = Stored { job, size: *size, primary, place, used };
                self.objects.stored.insert(object, stored);
            } else {
                self.delete(object, place);
            }
        }
        self.answer_pulls(waiting, result);
    }

    fn answer_pulls(&mut self, waiting: Vec<(ProcessId, u64)>, result: &Result<(u64, bool), NotHere>) {
        for (process, request_id) in waiting {
            let answer = match result {
                Ok((size, spilled)) => {
                    Pulled { request_id, size: *size, spilled: *spilled, ..Pulled::default() }
                }
                Err(NotHere { sentence, disk_full }) => {
                    let (error, disk_full) = (sentence.clone(), *disk_full);
                    Pulled { request_id, error, disk_full, ..Pulled::default() }
                }
            };
            self.tell_process(process, node_to_process::Message::Pulled(answer));
        }
    }

    /// An object of ours was read into the store, or has to be read from disk, or its file is no longer good.
    pub fn on_restored(&mut self, object: ObjectId, result: &Result<bool, String>) {
        let waiting = self.objects.pulls.remove(&object).unwrap_or_default();
        let Some(stored) = self.objects.stored.get_mut(&object) else {
            // It was freed meanwhile.
            let freed = Err(format!("object {object} was freed").into());
            self.delete(object, Place::Restoring);
            return self.answer_pulls(waiting, &freed);
        };
        let size = stored.size;
        let answer = match result {
            Ok(true) => {
                stored.place = Place::Memory;
                self.effects.push(Effect::DeleteSpilled(vec![object]));
                Ok((size, false))
            }
            Ok(false) => {
                stored.place = Place::Disk;
                Ok((size, true))
            }
            Err(cause) => {
                self.objects.stored.remove(&object);
                self.effects.push(Effect::DeleteSpilled(vec![object]));
                let sentence = format!(
                    "object {object} is lost: it was spilled to disk, and cannot be read back: {cause}"
                );
                Err(sentence.into())
            }
        };
        self.answer_pulls(waiting, &answer);
    }

    /// A peer copies an object of ours.
    pub fn on_copied(&mut self, object: ObjectId) {
        if self.objects.stored.contains_key(&object) {
            self.objects.copied.insert(object);
        }
    }

    /// An owner here needs these no more.
    pub(super) fn on_free(&mut self, ids: &[bytes::Bytes]) {
        let ids: Vec<_> = ids.iter().filter_map(|id| ObjectId::try_from(id).ok()).collect();
        let mut elsewhere = Vec::new();
        for object in &ids {
            let stored = self.objects.stored.get(object);
            // Where an object is that another node took over, its owner does not know.
            let is_moved = stored.is_some_and(|stored| !stored.primary) && !self.objects.heirs.is_empty();
            if stored.is_none() || is_moved || self.objects.copied.contains(object) {
                elsewhere.push(*object);
            }
        }
        if !elsewhere.is_empty() && !self.peers.is_empty() {
            let addresses = self.peers.values().map(|peer| peer.address.clone()).collect();
            self.effects.push(Effect::FreeOnPeers { addresses, objects: elsewhere });
        }
        self.free_here(&ids);
    }

    /// A peer's owner needs these no more.
    pub fn on_peer_free(&mut self, ids: &[bytes::Bytes]) {
        let ids: Vec<_> = ids.iter().filter_map(|id| ObjectId::try_from(id).ok()).collect();
        if let Some(heir) = self.heir_address() {
            let addresses = vec![heir.clone()];
            self.effects.push(Effect::FreeOnPeers { addresses, objects: ids.clone() });
        }
        self.free_here(&ids);
    }

    fn free_here(&mut self, ids: &[ObjectId]) {
        let (mut in_memory, mut on_disk) = (Vec::new(), Vec::new());
        for object in ids {
            self.objects.copied.remove(object);
            match self.objects.stored.remove(object).map(|stored| stored.place) {
                // What is on its way is removed when it has arrived.
                Some(Place::Memory | Place::Spilling) => in_memory.push(*object),
                Some(Place::Disk) => on_disk.push(*object),
                Some(Place::Restoring) | None => {}
            }
        }
        if !in_memory.is_empty() {
            self.effects.push(Effect::DeleteObjects(in_memory));
            self.serve_rooms();
        }
        if !on_disk.is_empty() {
            self.effects.push(Effect::DeleteSpilled(on_disk));
        }
    }

    /// Removes an object's files wherever they may be.
    pub(super) fn delete(&mut self, object: ObjectId, place: Place) {
        if place != Place::Disk {
            self.effects.push(Effect::DeleteObjects(vec![object]));
        }
        if place != Place::Memory {
            self.effects.push(Effect::DeleteSpilled(vec![object]));
        }
    }

    /// How many objects lie here, and their bytes.
    pub(super) fn stored_objects(&self) -> (u64, u64) {
        let bytes = self.objects.stored.values().map(|stored| stored.size).sum();
        (self.objects.stored.len() as u64, bytes)
    }

    pub(super) fn delete_objects_of_job(&mut self, job: JobId) {
        let of_job = self.objects.stored.iter().filter(|(_, stored)| stored.job == Some(job));
        let mut gone: Vec<_> = of_job.map(|(object, _)| *object).collect();
        gone.sort_unstable();
        self.free_here(&gone);
    }
}
