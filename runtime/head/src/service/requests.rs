//! The gRPC service: each request is taken apart here, and answered by the core or by who keeps what it is about.

use std::sync::Arc;

use manta_proto::{
    ids::NodeId,
    v1::{
        self, GetStatusRequest, GetStatusResponse, HeadToNode, HeadToSession, ListStateRequest,
        ListStateResponse, NodeToHead, SessionToHead, ShutdownRequest, ShutdownResponse, head_server,
        node_to_head, session_to_head,
    },
};
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use super::{SessionEdge, Shared, ask_nodes, check_version};
use crate::{
    environments, objects,
    outbox::{Outbox, Outgoing},
};

pub(super) struct Service {
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl head_server::Head for Service {
    type NodeLinkStream = Outgoing<HeadToNode>;
    type DebugSessionStream = Outgoing<HeadToSession>;
    type GetPackageStream = Outgoing<v1::PackageChunk>;
    type QueryNodesStream =
        std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::NodeAnswer, Status>> + Send>>;

    async fn node_link(
        &self,
        request: Request<Streaming<NodeToHead>>,
    ) -> Result<Response<Self::NodeLinkStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.message);
        let Some(node_to_head::Message::Register(register)) = first else {
            return Err(Status::invalid_argument("a node's first message is its registration"));
        };
        // A connection that breaks ends like one that is closed.
        let messages = messages.map_while(Result::ok);
        let outgoing = self.shared.link_node(register, messages).map_err(Status::failed_precondition)?;
        Ok(Response::new(outgoing))
    }

    async fn debug_session(
        &self,
        request: Request<Streaming<SessionToHead>>,
    ) -> Result<Response<Self::DebugSessionStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.message);
        let Some(session_to_head::Message::Open(open)) = first else {
            return Err(Status::invalid_argument("a session's first message is its opening"));
        };
        let link = self.shared.new_link();
        let (outbox, outgoing) = Outbox::new();
        self.shared.lock().sessions.insert(link, SessionEdge { outbox, outputs_lost: 0 });
        if let Err(sentence) = self.shared.with(|core| core.on_session_open(link, open)) {
            self.shared.lock().sessions.remove(&link);
            return Err(Status::failed_precondition(sentence));
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if !shared.with(|core| core.on_session_message(link, message)) {
                    break;
                }
            }
            shared.lock().sessions.remove(&link);
            shared.with(|core| core.on_session_lost(link));
        });
        Ok(Response::new(outgoing))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        check_version(request.get_ref().protocol_version)?;
        let mut status = self.shared.lock().core.status();
        status.uptime_seconds = self.shared.started.elapsed().as_secs();
        Ok(Response::new(status))
    }

    async fn list_state(
        &self,
        request: Request<ListStateRequest>,
    ) -> Result<Response<ListStateResponse>, Status> {
        let answer = match request.get_ref().kind() {
            v1::StateKind::StateObjects => objects::list(&self.shared, request.get_ref()).await?,
            v1::StateKind::StateRuntimeEnvs => environments::list(&self.shared, request.get_ref()).await?,
            _ => self.shared.lock().core.list_state(request.get_ref()),
        };
        answer.map(Response::new).map_err(Status::failed_precondition)
    }

    async fn missing_packages(
        &self,
        request: Request<v1::MissingPackagesRequest>,
    ) -> Result<Response<v1::MissingPackagesResponse>, Status> {
        let request = request.into_inner();
        check_version(request.protocol_version)?;
        Ok(Response::new(v1::MissingPackagesResponse { ids: self.shared.packages.missing(request.ids) }))
    }

    async fn put_package(
        &self,
        request: Request<Streaming<v1::PackageChunk>>,
    ) -> Result<Response<v1::PutPackageResponse>, Status> {
        let in_use = self.shared.lock().core.packages_in_use();
        self.shared.packages.put(request.into_inner(), in_use).await?;
        Ok(Response::new(v1::PutPackageResponse {}))
    }

    async fn get_package(
        &self,
        request: Request<v1::GetPackageRequest>,
    ) -> Result<Response<Self::GetPackageStream>, Status> {
        check_version(request.get_ref().protocol_version)?;
        let pieces = self.shared.packages.get(&request.get_ref().id).await?;
        Ok(Response::new(pieces.into()))
    }

    async fn submit_job(
        &self,
        request: Request<v1::SubmitJobRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        let request = request.into_inner();
        check_version(request.protocol_version)?;
        let job = request.job.ok_or_else(|| Status::invalid_argument("the request has no job"))?;
        // Sixteen digits are as good as new.
        let made_up = format!("job-{}", &NodeId::random().to_string()[..16]);
        let id =
            self.shared.with(|core| core.on_submit_job(job, made_up)).map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::SubmitJobResponse { submission_id: id }))
    }

    async fn stop_job(
        &self,
        request: Request<v1::StopJobRequest>,
    ) -> Result<Response<v1::StopJobResponse>, Status> {
        check_version(request.get_ref().protocol_version)?;
        let stopped = self.shared.with(|core| core.on_stop_job(&request.get_ref().submission_id));
        let stopped = stopped.map_err(Status::not_found)?;
        Ok(Response::new(v1::StopJobResponse { stopped }))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        check_version(request.get_ref().protocol_version)?;
        let deleted = self.shared.with(|core| core.on_delete_job(&request.get_ref().submission_id));
        deleted.map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::DeleteJobResponse {}))
    }

    async fn query_nodes(
        &self,
        request: Request<v1::QueryNodesRequest>,
    ) -> Result<Response<Self::QueryNodesStream>, Status> {
        let request = request.into_inner();
        check_version(request.protocol_version)?;
        let question =
            request.question.ok_or_else(|| Status::invalid_argument("the request asks nothing"))?;
        Ok(Response::new(Box::pin(ask_nodes(&self.shared, &request.nodes, &question)?)))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let request = request.into_inner();
        check_version(request.protocol_version)?;
        let sentence =
            self.shared.with(|core| core.on_drain_node(&request)).map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::DrainNodeResponse { accepted: true, sentence }))
    }

    async fn create_placement_group(
        &self,
        request: Request<v1::CreatePlacementGroupRequest>,
    ) -> Result<Response<v1::CreatePlacementGroupResponse>, Status> {
        let request = request.into_inner();
        check_version(request.protocol_version)?;
        let group = request.group.ok_or_else(|| Status::invalid_argument("the request names no group"))?;
        let created = self.shared.with(|core| core.on_create_group(group));
        created
            .map(|()| Response::new(v1::CreatePlacementGroupResponse {}))
            .map_err(Status::failed_precondition)
    }

    async fn remove_placement_group(
        &self,
        request: Request<v1::RemovePlacementGroupRequest>,
    ) -> Result<Response<v1::RemovePlacementGroupResponse>, Status> {
        check_version(request.get_ref().protocol_version)?;
        self.shared.with(|core| core.on_remove_group(&request.get_ref().group_id));
        Ok(Response::new(v1::RemovePlacementGroupResponse {}))
    }

    async fn list_placement_groups(
        &self,
        request: Request<v1::ListPlacementGroupsRequest>,
    ) -> Result<Response<v1::ListPlacementGroupsResponse>, Status> {
        check_version(request.get_ref().protocol_version)?;
        let groups = self.shared.lock().core.list_groups();
        Ok(Response::new(v1::ListPlacementGroupsResponse { groups }))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        check_version(request.get_ref().protocol_version)?;
        let nodes = self.shared.with(|core| core.on_shutdown("the cluster was told to stop"));
        self.shared.end_sessions();
        Ok(Response::new(ShutdownResponse { nodes }))
    }
}
