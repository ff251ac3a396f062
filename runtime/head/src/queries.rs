//! Questions to nodes that only they can answer (logs, what waits, stacks), passed on and back. The head does not understand them.

use std::collections::{HashMap, HashSet};

use manta_proto::{
    ids::NodeId,
    v1::{AskNode, HeadToNode, MoreOfAnswer, NodeAnswer, NodeQuestion, head_to_node},
};
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::LinkId;

/// Questions that are open at one time.
const OPEN_MAX: usize = 1000;
/// Parts of an answer that a node sends before it waits for the asker; both ends agree on it.
pub(crate) const PARTS_AHEAD: usize = manta_proto::limits::ANSWER_PARTS_AHEAD;

type Sender = mpsc::Sender<Result<NodeAnswer, Status>>;

/// The open questions.
#[derive(Default)]
pub(crate) struct Queries {
    open: HashMap<u64, Query>,
    asked: u64,
}

struct Query {
    sender: Sender,
    waiting: HashMap<NodeId, (LinkId, String)>,
}

/// A question's number, where its answers come, and what the nodes are to be told.
pub(crate) type Asked = (u64, mpsc::Receiver<Result<NodeAnswer, Status>>, ToNodes);

/// What goes to nodes.
pub(crate) type ToNodes = Vec<(LinkId, HeadToNode)>;

impl Queries {
    /// Asks nodes.
    pub fn ask(
        &mut self,
        nodes: Vec<(NodeId, LinkId, String)>,
        question: &NodeQuestion,
    ) -> Result<Asked, Status> {
        if self.open.len() >= OPEN_MAX {
            return Err(Status::resource_exhausted(format!(
                "{OPEN_MAX} questions to nodes are open already; try again later"
            )));
        }
        self.asked += 1;
        let query_id = self.asked;
        // Each node sends so many parts ahead, and a last word.
        let (sender, receiver) = mpsc::channel((PARTS_AHEAD + 2) * nodes.len().max(1));
        let ask = AskNode { query_id, question: Some(question.clone()) };
        let message = HeadToNode { message: Some(head_to_node::Message::Ask(ask)) };
        let told = nodes.iter().map(|(_, link, _)| (*link, message.clone())).collect();
        let waiting: HashMap<_, _> =
            nodes.into_iter().map(|(node, link, name)| (node, (link, name))).collect();
        // Without nodes the answer is over at once: the sender goes with this function.
        if !waiting.is_empty() {
            self.open.insert(query_id, Query { sender, waiting });
        }
        Ok((query_id, receiver, told))
    }

    /// A node answers. What comes back tells nodes that nobody listens any more.
    pub fn on_answer(&mut self, from: NodeId, mut answer: NodeAnswer) -> ToNodes {
        let query_id = answer.query_id;
        let Some(query) = self.open.get_mut(&query_id) else { return Vec::new() };
        let Some((_, name)) = query.waiting.get(&from) else { return Vec::new() };
        answer.node_name.clone_from(name);
        answer.node_id = from.to_bytes();
        if answer.last {
            query.waiting.remove(&from);
        }
        let over = query.waiting.is_empty();
        match query.sender.try_send(Ok(answer)) {
            Ok(()) if over => drop(self.open.remove(&query_id)),
            Ok(()) => {}
            // The asker is gone, or a node sends more than was agreed.
            Err(_) => return self.cancel(query_id),
        }
        Vec::new()
    }

    /// The asker has taken a part.
    pub fn on_taken(&self, query_id: u64, node: &[u8]) -> Option<(LinkId, HeadToNode)> {
        let node = NodeId::try_from(node).ok()?;
        let (link, _) = self.open.get(&query_id)?.waiting.get(&node)?;
        Some((*link, more(query_id, false)))
    }

    /// Nobody waits for the answer any more.
    pub fn cancel(&mut self, query_id: u64) -> ToNodes {
        let Some(query) = self.open.remove(&query_id) else { return Vec::new() };
        query.waiting.into_values().map(|(link, _)| (link, more(query_id, true))).collect()
    }

    /// A node is gone, and answers nothing any more.
    pub fn on_node_lost(&mut self, node: NodeId) {
        let asked: HashSet<u64> = self
            .open
            .iter()
            .filter(|(_, query)| query.waiting.contains_key(&node))
            .map(|(id, _)| *id)
            .collect();
        for query_id in asked {
            let error = "the node left the cluster before it had answered".to_owned();
            self.on_answer(node, NodeAnswer { query_id, last: true, error, ..NodeAnswer::default() });
        }
    }
}

fn more(query_id: u64, cancel: bool) -> HeadToNode {
    HeadToNode { message: Some(head_to_node::Message::More(MoreOfAnswer { query_id, cancel })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> (NodeId, LinkId, String) {
        (NodeId([byte; 16]), LinkId(byte.into()), format!("node-{byte}"))
    }

    fn answer(query_id: u64, last: bool) -> NodeAnswer {
        NodeAnswer { query_id, last, data: "x".into(), ..NodeAnswer::default() }
    }

    #[test]
    fn an_answer_is_over_when_every_node_has_answered_or_is_gone() {
        let mut queries = Queries::default();
        let (id, mut receiver, told) = queries.ask(vec![node(1), node(2)], &NodeQuestion::default()).unwrap();
        assert_eq!(told.len(), 2);
        assert!(queries.on_answer(NodeId([1; 16]), answer(id, false)).is_empty());
        assert_eq!(receiver.try_recv().unwrap().unwrap().node_name, "node-1");
        assert_eq!(queries.on_taken(id, &[1; 16]).unwrap().0, LinkId(1));
        queries.on_answer(NodeId([1; 16]), answer(id, true));
        queries.on_node_lost(NodeId([2; 16]));
        assert!(receiver.try_recv().unwrap().unwrap().last);
        assert!(receiver.try_recv().unwrap().unwrap().error.contains("left the cluster"));
        assert!(matches!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }

    #[test]
    fn nodes_are_told_when_nobody_listens() {
        let mut queries = Queries::default();
        let (id, receiver, _) = queries.ask(vec![node(1)], &NodeQuestion::default()).unwrap();
        drop(receiver);
        let told = queries.on_answer(NodeId([1; 16]), answer(id, false));
        assert!(matches!(&told[0].1.message, Some(head_to_node::Message::More(more)) if more.cancel));
        assert!(queries.cancel(id).is_empty());
    }
}
