//! Placement groups: calls of the head, which are rare, so that each makes its own connection.

use std::time::Duration;

use manta_proto::{
    PROTOCOL_VERSION,
    connect::{self, AuthorizedChannel, ConnectError},
    ids::NodeId,
    v1::{
        Bundle, CreatePlacementGroupRequest, ListPlacementGroupsRequest, PlacementGroup,
        RemovePlacementGroupRequest, Resources,
        head_client::HeadClient,
        placement_group::{State, Strategy},
    },
};
use tonic::Status;

use crate::{Core, LabelOperator, Language, Placement, SubmitError, convert};

/// How long the head may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How the bundles of a group lie on the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStrategy {
    /// On as few nodes as possible.
    Pack,
    /// On as many as possible.
    Spread,
    /// On one.
    StrictPack,
    /// On one each.
    StrictSpread,
}

/// A group to make. Amounts are whole units by resource name.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Unique in the cluster, or empty.
    pub name: String,
    /// Where the bundles go.
    pub strategy: GroupStrategy,
    /// What each asks for.
    pub bundles: Vec<Vec<(String, f64)>>,
    /// The labels that each bundle's node must have, as key, operator and values; fewer than bundles where the last ones need none.
    pub labels: Vec<Vec<(String, LabelOperator, Vec<String>)>>,
    /// Whether it stays when its job ends.
    pub detached: bool,
}

/// A group as the head knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDescription {
    /// Its id in hex.
    pub id: String,
    /// Its name, or empty.
    pub name: String,
    /// The strategy's name, as Ray writes it.
    pub strategy: &'static str,
    /// The state's name, as Ray writes it.
    pub state: &'static str,
    /// What each bundle asks for, and the node that has it, in hex; empty while it has none.
    pub bundles: Vec<(Vec<(String, f64)>, String)>,
    /// While it is not placed: why.
    pub waits_for: String,
}

/// Why the head did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// An amount is none.
    #[error(transparent)]
    Amount(#[from] SubmitError),
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// The connection could not be made ready.
    #[error("the head cannot be asked: {0}")]
    Local(#[from] std::io::Error),
}

impl Core {
    /// Makes a placement group and answers with its id in hex; it is placed when there is room.
    ///
    /// # Errors
    /// When an amount is none, or the head cannot be reached or refuses.
    pub fn create_placement_group(&self, group: &NewGroup) -> Result<String, GroupError> {
        // A group's id is as random as a node's.
        let id = NodeId::random();
        let mut bundles = Vec::new();
        for (index, bundle) in group.bundles.iter().enumerate() {
            let labels = group.labels.get(index).into_iter().flatten();
            let labels = labels.map(|(key, operator, values)| operator.rule(key, values.clone())).collect();
            let amounts: Vec<_> = bundle.iter().map(|(name, amount)| (&**name, *amount)).collect();
            let key = convert::class_key(Language::Rust, None, &amounts, &Placement::default())?;
            let amounts = key.resources.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
            bundles.push(Bundle { resources: Some(Resources { amounts }), labels, ..Bundle::default() });
        }
        let mut wire = PlacementGroup {
            group_id: id.to_bytes(),
            name: group.name.clone(),
            bundles,
            job_id: self.job_id().map(|job| job.to_bytes()).unwrap_or_default(),
            detached: group.detached,
            infeasible_ms: self.infeasible_ms(),
            ..PlacementGroup::default()
        };
        wire.set_strategy(match group.strategy {
            GroupStrategy::Pack => Strategy::Pack,
            GroupStrategy::Spread => Strategy::Spread,
            GroupStrategy::StrictPack => Strategy::StrictPack,
            GroupStrategy::StrictSpread => Strategy::StrictSpread,
        });
        let request = CreatePlacementGroupRequest { protocol_version: PROTOCOL_VERSION, group: Some(wire) };
        self.ask_head(async |mut head| head.create_placement_group(request).await)?;
        Ok(id.to_string())
    }

    /// Removes a group; what runs in it ends. One that is not there is none to remove.
    ///
    /// # Errors
    /// When the id is none, or the head cannot be reached.
    pub fn remove_placement_group(&self, id: &str) -> Result<(), GroupError> {
        let id = NodeId::from_hex(id)
            .ok_or_else(|| GroupError::Refused(format!("'{id}' is not the id of a placement group")))?;
        let request =
            RemovePlacementGroupRequest { protocol_version: PROTOCOL_VERSION, group_id: id.to_bytes() };
        self.ask_head(async |mut head| head.remove_placement_group(request).await).map(drop)
    }

    /// All groups of the cluster, those that were removed last.
    ///
    /// # Errors
    /// When the head cannot be reached.
    pub fn placement_groups(&self) -> Result<Vec<GroupDescription>, GroupError> {
        let request = ListPlacementGroupsRequest { protocol_version: PROTOCOL_VERSION };
        let answer = self.ask_head(async |mut head| head.list_placement_groups(request).await)?;
        Ok(answer.groups.iter().map(described).collect())
    }

    fn ask_head<T>(
        &self,
        call: impl AsyncFnOnce(HeadClient<AuthorizedChannel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, GroupError> {
        let (address, token) = self.0.with(|state| (state.me.head_address.clone(), state.me.token.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = connect::tcp(&address, &token, ANSWER_LIMIT).await?;
            let answer = tokio::time::timeout(ANSWER_LIMIT, call(HeadClient::new(channel))).await;
            let late = |_| GroupError::Refused(format!("the head at {address} does not answer"));
            let answer = answer.map_err(late)?;
            answer
                .map(tonic::Response::into_inner)
                .map_err(|status| GroupError::Refused(status.message().to_owned()))
        })
    }
}

fn described(group: &PlacementGroup) -> GroupDescription {
    let bundle = |bundle: &Bundle| {
        let amounts = bundle.resources.iter().flat_map(|resources| &resources.amounts);
        let mut amounts: Vec<_> =
            amounts.map(|(name, amount)| (name.clone(), convert::units(*amount))).collect();
        amounts.sort_by(|a, b| a.0.cmp(&b.0));
        (amounts, NodeId::try_from(&bundle.node_id).map(|node| node.to_string()).unwrap_or_default())
    };
    GroupDescription {
        id: NodeId::try_from(&group.group_id).map(|id| id.to_string()).unwrap_or_default(),
        name: group.name.clone(),
        strategy: match group.strategy() {
            Strategy::Pack => "PACK",
            Strategy::Spread => "SPREAD",
            Strategy::StrictPack => "STRICT_PACK",
            Strategy::StrictSpread => "STRICT_SPREAD",
        },
        state: match group.state() {
            State::Pending => "PENDING",
            State::Created => "CREATED",
            State::Removed => "REMOVED",
            State::Rescheduling => "RESCHEDULING",
        },
        bundles: group.bundles.iter().map(bundle).collect(),
        waits_for: group.waits_for.clone(),
    }
}
