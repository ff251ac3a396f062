//! What this node knows of the others.

use std::collections::HashMap;

use manta_proto::{ids::NodeId, v1};

use super::Core;
use crate::resources::Resources;

/// Another node, as the head last described it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub name: String,
    pub address: String,
    pub total: Resources,
    pub labels: HashMap<String, String>,
    /// What it had free when the head last spoke of it.
    pub free: Resources,
    /// That, less what was asked of it since.
    pub available: Resources,
    /// It said `busy` since the last view.
    pub busy: bool,
}

impl Core {
    /// The head's newest picture of the cluster.
    pub(super) fn on_view(&mut self, view: v1::ClusterView) {
        let before: Vec<NodeId> = self.peers.keys().copied().collect();
        let members_before = members(&self.view);
        self.peers.clear();
        for node in &view.nodes {
            let Some(info) = &node.info else { continue };
            let Ok(id) = NodeId::try_from(&info.node_id) else { continue };
            if id == self.me.id {
                continue;
            }
            let free = Resources::from_wire(node.available.as_ref());
            let peer = Peer {
                name: info.name.clone(),
                address: info.peer_address.clone(),
                total: Resources::from_wire(info.total.as_ref()),
                labels: info.labels.clone(),
                available: free.clone(),
                free,
                busy: false,
            };
            self.peers.insert(id, peer);
        }
        let changed = members_before != members(&view);
        self.view = view;
        for lost in before.iter().copied().filter(|id| !self.peers.contains_key(id)).collect::<Vec<_>>() {
            self.on_peer_lost(lost);
        }
        let mut joined: Vec<_> = self.peers.keys().copied().filter(|id| !before.contains(id)).collect();
        joined.sort_unstable();
        for peer in joined {
            self.tell_what_moved_here(peer);
        }
        if changed {
            self.tell_view();
            self.review_hopeless();
        }
        self.dispatch();
    }

    fn tell_view(&mut self) {
        let mut processes: Vec<_> = self.drivers.keys().copied().collect();
        processes.extend(self.workers.iter().filter(|(_, worker)| worker.is_attached()).map(|(id, _)| *id));
        processes.sort_unstable();
        for process in processes {
            self.tell_process(process, v1::node_to_process::Message::View(self.view.clone()));
        }
    }

    /// `HOST:PORT` of another node.
    #[must_use]
    pub fn peer_address(&self, id: NodeId) -> Option<String> {
        self.peers.get(&id).map(|peer| peer.address.clone())
    }

    /// Names of all other nodes, with their `HOST:PORT`.
    #[must_use]
    pub fn peers(&self) -> Vec<(String, String)> {
        self.peers.values().map(|peer| (peer.name.clone(), peer.address.clone())).collect()
    }

    /// What people call a node.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> String {
        if id == self.me.id {
            return self.me.name.clone();
        }
        self.peers.get(&id).map_or_else(|| format!("node {}", id.short()), |peer| peer.name.clone())
    }
}

fn members(view: &v1::ClusterView) -> Vec<&[u8]> {
    view.nodes.iter().filter_map(|node| node.info.as_ref()).map(|info| &info.node_id[..]).collect()
}
