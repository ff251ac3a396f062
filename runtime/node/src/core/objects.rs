//! Which objects lie in this node's store, and the fetching of others.

use std::collections::{HashMap, HashSet};

use manta_proto::{
    ids::{JobId, NodeId, ObjectId, ProcessId},
    v1::{PullObject, Pulled, node_to_process},
};

use super::{Core, Effect};

struct Stored {
    job: Option<JobId>,
    size: u64,
}

#[derive(Default)]
pub(super) struct Objects {
    stored: HashMap<ObjectId, Stored>,
    /// Who waits for an object that is being fetched. Concurrent wishes share one transfer.
    pulls: HashMap<ObjectId, Vec<(ProcessId, u64)>>,
    /// Objects with a copy elsewhere.
    copied: HashSet<ObjectId>,
}

impl Core {
    fn job_of(&self, process: ProcessId) -> Option<JobId> {
        let driver =
            || self.drivers.get(&process).and_then(|driver| JobId::try_from(&driver.config.job_id).ok());
        self.workers.get(&process).map(super::workers::Worker::job).or_else(driver)
    }

    pub(super) fn on_sealed(&mut self, from: ProcessId, object: ObjectId, size: u64) {
        let job = self.job_of(from);
        if job.is_none_or(|job| self.job_ended(job)) {
            self.effects.push(Effect::DeleteObjects(vec![object]));
            return;
        }
        self.objects.stored.insert(object, Stored { job, size });
    }

    pub(super) fn on_pull(&mut self, from: ProcessId, pull: &PullObject) {
        let request_id = pull.request_id;
        let refused = |error: String| Pulled { request_id, error, size: 0 };
        let Ok(object) = ObjectId::try_from(&pull.object_id) else {
            let answer = refused("an object id has 20 bytes; this one has not".to_owned());
            return self.tell_process(from, node_to_process::Message::Pulled(answer));
        };
        if let Some(stored) = self.objects.stored.get(&object) {
            let answer = Pulled { request_id, error: String::new(), size: stored.size };
            return self.tell_process(from, node_to_process::Message::Pulled(answer));
        }
        let node = NodeId::try_from(&pull.node_id).unwrap_or(self.me.id);
        let Some(peer) = self.peers.get(&node) else {
            let at = self.node_name(node);
            let answer =
                refused(format!("object {object} is lost: it was on {at}, which does not have it any more"));
            return self.tell_process(from, node_to_process::Message::Pulled(answer));
        };
        let address = peer.address.clone();
        let waiting = self.objects.pulls.entry(object).or_default();
        waiting.push((from, request_id));
        if waiting.len() == 1 {
            self.effects.push(Effect::Pull { object, address });
        }
    }

    /// A fetched object is in the store, or could not be fetched.
    pub fn on_pulled(&mut self, object: ObjectId, result: &Result<u64, String>) {
        let waiting = self.objects.pulls.remove(&object).unwrap_or_default();
        let job = waiting.iter().find_map(|(process, _)| self.job_of(*process));
        match result {
            Ok(size) if job.is_some_and(|job| !self.job_ended(job)) => {
                self.objects.stored.insert(object, Stored { job, size: *size });
            }
            Ok(_) => self.effects.push(Effect::DeleteObjects(vec![object])),
            Err(_) => {}
        }
        for (process, request_id) in waiting {
            let (error, size) = match result {
                Ok(size) => (String::new(), *size),
                Err(sentence) => (sentence.clone(), 0),
            };
            self.tell_process(process, node_to_process::Message::Pulled(Pulled { request_id, error, size }));
        }
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
            if !self.objects.stored.contains_key(object) || self.objects.copied.contains(object) {
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
        self.free_here(&ids);
    }

    fn free_here(&mut self, ids: &[ObjectId]) {
        let mut gone = Vec::new();
        for object in ids {
            self.objects.copied.remove(object);
            if self.objects.stored.remove(object).is_some() {
                gone.push(*object);
            }
        }
        if !gone.is_empty() {
            self.effects.push(Effect::DeleteObjects(gone));
        }
    }

    pub(super) fn delete_objects_of_job(&mut self, job: JobId) {
        let of_job = self.objects.stored.iter().filter(|(_, stored)| stored.job == Some(job));
        let mut gone: Vec<_> = of_job.map(|(object, _)| *object).collect();
        gone.sort_unstable();
        self.free_here(&gone);
    }
}
