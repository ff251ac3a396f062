//! What the head knows, in the text form that Prometheus reads, and the little HTTP server for it.
//!
//! The server answers `GET /metrics` and nothing else. It must never change anything.

use std::{convert::Infallible, fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use manta_proto::{token::Token, v1::Resources};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::core::Core;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send its question.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// Serves until it is dropped. On addresses that other machines reach, the cluster's token is needed.
pub(crate) async fn serve(
    listener: TcpListener,
    token: Token,
    render: Arc<dyn Fn() -> String + Send + Sync>,
) {
    let open = listener.local_addr().is_ok_and(|address: SocketAddr| address.ip().is_loopback());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // For instance too many open files: the next moment may be better.
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (render, token) = (Arc::clone(&render), (!open).then(|| token.clone()));
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, token.as_ref(), &*render);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection for metrics ended");
            }
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, token: Option<&Token>, render: &dyn Fn() -> String) -> Response<String> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let given = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    if request.headers().contains_key(ORIGIN) {
        return refusal(StatusCode::FORBIDDEN, "web pages may not read the metrics of a cluster");
    }
    if token.is_some_and(|token| !given.is_some_and(|given| token.matches(given))) {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "the cluster's token is needed: Authorization: Bearer TOKEN (in Prometheus: authorization.credentials_file)",
        );
    }
    if request.uri().path() != "/metrics" {
        return refusal(StatusCode::NOT_FOUND, "there is only /metrics here");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "metrics are only read: GET /metrics");
    }
    let mut response = Response::new(render());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}

fn refusal(status: StatusCode, sentence: &str) -> Response<String> {
    let mut response = Response::new(format!("{sentence}\n"));
    *response.status_mut() = status;
    response
}

/// Metrics while they are written.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _written = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _written = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The page.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn render(core: &Core, uptime: Duration) -> String {
    let mut page = Page(String::new());
    let totals = core.tasks.totals;
    page.one("manta_head_uptime_seconds", "gauge", "Seconds since the head started.", uptime.as_secs_f64());
    page.one("manta_nodes", "gauge", "Nodes that are connected.", core.nodes.len() as f64);
    page.one("manta_jobs_running", "gauge", "Jobs whose driver runs.", core.running_jobs().len() as f64);
    page.one("manta_debug_sessions", "gauge", "Debug sessions.", core.session_status().len() as f64);
    page.one("manta_tasks_submitted_total", "counter", "Tasks that were submitted.", totals.submitted as f64);
    page.one("manta_tasks_live", "gauge", "Tasks that have not ended.", core.tasks.live_count() as f64);
    let help = "Attempts of tasks that ended, by how.";
    page.family("manta_task_attempts_ended_total", "counter", help);
    page.sample("manta_task_attempts_ended_total", &[("state", "FINISHED")], totals.finished as f64);
    page.sample("manta_task_attempts_ended_total", &[("state", "FAILED")], totals.failed as f64);
    let help = "Attempts of tasks that are not listed, because there were too many.";
    page.one(
        "manta_task_attempts_not_listed_total",
        "counter",
        help,
        (totals.not_recorded + totals.evicted) as f64,
    );
    nodes(&mut page, core);
    measures(&mut page, core);
    of_programs(&mut page, core);
    page.0
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn nodes(page: &mut Page, core: &Core) {
    let name = |node: &crate::core::Node| node.info.name.clone();
    for (metric, help, total) in [
        ("manta_node_resource_total", "What a node has, by resource.", true),
        ("manta_node_resource_available", "What a node has free, by resource.", false),
    ] {
        page.family(metric, "gauge", help);
        for node in core.nodes.values() {
            let resources = if total { &node.info.total } else { &node.load.available };
            for (resource, amount) in sorted(resources.as_ref()) {
                page.sample(
                    metric,
                    &[("node", &name(node)), ("resource", resource)],
                    amount as f64 / 10_000.0,
                );
            }
        }
    }
    type Count = fn(&manta_proto::v1::NodeLoad) -> u32;
    let counts: [(&str, &str, Count); 3] = [
        ("manta_node_workers", "Worker processes of a node.", |load| load.workers),
        ("manta_node_leases", "Leases of workers that owners hold at a node.", |load| load.running_tasks),
        ("manta_node_leases_pending", "Requests for leases that wait at a node.", |load| load.pending_leases),
    ];
    for (metric, help, count) in counts {
        page.family(metric, "gauge", help);
        for node in core.nodes.values() {
            page.sample(metric, &[("node", &name(node))], count(&node.load).into());
        }
    }
}

/// What machines and workers use, as their nodes say it once a second: one address to scrape for the whole cluster.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn measures(page: &mut Page, core: &Core) {
    type Measure = fn(&manta_proto::v1::NodeMeasures) -> u64;
    let measures: [(&str, &str, &str, Measure); 6] = [
        ("manta_node_memory_used_bytes", "gauge", "Memory of a node's machine that is in use.", |m| {
            m.memory_used_bytes
        }),
        ("manta_node_memory_total_bytes", "gauge", "Memory of a node's machine.", |m| m.memory_total_bytes),
        ("manta_node_workers_resident_bytes", "gauge", "Resident memory of a node's workers.", |m| {
            m.workers_rss_bytes
        }),
        ("manta_node_object_store_bytes", "gauge", "Bytes of the objects in a node's store.", |m| {
            m.store_bytes
        }),
        ("manta_node_objects", "gauge", "Objects in a node's store.", |m| m.objects),
        (
            "manta_node_workers_killed_for_memory_total",
            "counter",
            "Workers that a node killed because its machine ran out of memory.",
            |m| m.workers_killed_for_memory,
        ),
    ];
    for (metric, kind, help, measure) in measures {
        page.family(metric, kind, help);
        for node in core.nodes.values() {
            let value = node.load.measures.as_ref().map_or(0, measure);
            page.sample(metric, &[("node", &node.info.name)], value as f64);
        }
    }
    page.family("manta_node_draining", "gauge", "1 for a node that takes nothing new.");
    for node in core.nodes.values() {
        page.sample(
            "manta_node_draining",
            &[("node", &node.info.name)],
            u32::from(node.load.draining).into(),
        );
    }
}

/// What programs measure themselves. Their names get a prefix, as Ray's do, so that they cannot be taken for the cluster's own.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn of_programs(page: &mut Page, core: &Core) {
    use manta_proto::v1::user_metric::Kind;
    for (name, all) in core.user_metrics.by_name() {
        let name = format!("ray_{name}");
        let Some(first) = all.first() else { continue };
        let (kind, name) = match first.kind {
            Kind::Counter => ("counter", format!("{name}_total")),
            Kind::Gauge => ("gauge", name),
            Kind::Histogram => ("histogram", name),
        };
        page.family(&name, kind, &first.description.replace(['\n', '\r'], " "));
        for series in &all {
            let labels: Vec<(&str, &str)> =
                series.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
            if series.kind != Kind::Histogram {
                page.sample(&name, &labels, series.value);
                continue;
            }
            let mut sum = 0;
            let ends = series.boundaries.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(&series.counts) {
                sum += count;
                let labels: Vec<_> = labels.iter().copied().chain([("le", &*end)]).collect();
                page.sample(&format!("{name}_bucket"), &labels, sum as f64);
            }
            page.sample(&format!("{name}_sum"), &labels, series.value);
            page.sample(&format!("{name}_count"), &labels, sum as f64);
        }
    }
}

fn sorted(resources: Option<&Resources>) -> Vec<(&str, u64)> {
    let mut amounts: Vec<_> = resources
        .into_iter()
        .flat_map(|resources| &resources.amounts)
        .map(|(name, amount)| (&**name, *amount))
        .collect();
    amounts.sort_unstable();
    amounts
}

#[cfg(test)]
mod tests {
    use manta_proto::{PROTOCOL_VERSION, v1};

    use super::*;
    use crate::core::LinkId;

    #[test]
    fn the_page_has_each_node_and_escapes_its_labels() {
        let mut core = Core::new("cluster".into());
        let info = v1::NodeInfo {
            node_id: vec![1; 16].into(),
            name: "a\"b\\c".into(),
            total: Some(Resources { amounts: [("CPU".to_owned(), 15_000)].into() }),
            ..v1::NodeInfo::default()
        };
        let register = v1::NodeRegister {
            protocol_version: PROTOCOL_VERSION,
            info: Some(info),
            ..v1::NodeRegister::default()
        };
        core.on_node_register(LinkId(1), register).unwrap();
        let page = render(&core, Duration::from_secs(2));
        for line in [
            "# TYPE manta_nodes gauge",
            "manta_nodes 1",
            "manta_head_uptime_seconds 2",
            "manta_node_resource_total{node=\"a\\\"b\\\\c\",resource=\"CPU\"} 1.5",
            "manta_task_attempts_ended_total{state=\"FAILED\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "no '{line}' in\n{page}");
        }
    }

    #[test]
    fn only_those_may_read_who_have_the_token_and_no_web_page() {
        let token = Token::new("secret", "the test").unwrap();
        let ask = |path: &str, headers: &[(&'static str, &str)]| {
            let mut request = Request::builder().uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            answer(&request.body(()).unwrap(), Some(&token), &|| "page".to_owned()).status().as_u16()
        };
        assert_eq!(ask("/metrics", &[("authorization", "Bearer secret")]), 200);
        assert_eq!(ask("/metrics", &[]), 401);
        assert_eq!(ask("/metrics", &[("authorization", "Bearer wrong")]), 401);
        assert_eq!(ask("/", &[("authorization", "Bearer secret")]), 404);
        assert_eq!(ask("/metrics", &[("authorization", "Bearer secret"), ("origin", "http://x")]), 403);
    }
}
