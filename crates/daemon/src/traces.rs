//! Traces of requests for OpenTelemetry, told to a collector by OTLP over HTTP with JSON.
//!
//! Only with `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) in the environment, as in dockerd: without it there is
//! no exporter, no queue, and no cost. Each request is one span, the child of what the header `traceparent` names. Spans
//! wait in a bounded queue; a collector that does not answer costs spans, never requests.
//!
//! Source: the specifications of OTLP 1 and of the exporter's environment variables; W3C Trace Context.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Spans that may wait; more are lost.
const QUEUE: usize = 2048;
/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long spans wait for others.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to a collector.
pub(crate) struct Traces {
    spans: mpsc::Sender<Value>,
    exporter: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// Where and how spans are sent.
struct Collector {
    http: reqwest::Client,
    url: String,
    headers: Vec<(String, String)>,
    resource: Value,
}

impl Traces {
    /// What the environment asks for. Must be called in the runtime.
    ///
    /// # Errors
    /// A protocol that is not spoken, or an address that is none.
    pub(crate) fn from_environment() -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::from_variables(&variable)
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let of = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let url = match (whole, base) {
            (Some(url), _) => url,
            (None, Some(base)) => format!("{}/v1/traces", base.trim_end_matches('/')),
            (None, None) => return Ok(None),
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        // JSON is what collectors take at the same address as the default, http/protobuf.
        if let Some(other) = of("PROTOCOL").filter(|protocol| !protocol.starts_with("http/")) {
            return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL={other} is not supported: use http/json"));
        }
        // Somebody may have chosen it before; there is no other.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build();
        let http = http.map_err(|why| format!("OpenTelemetry exporter: {why}"))?;
        reqwest::Url::parse(&url).map_err(|why| format!("OpenTelemetry exporter: {url}: {why}"))?;
        let headers = pairs(&of("HEADERS").unwrap_or_default());
        let collector = Collector { http, url, headers, resource: resource(variable) };
        let (spans, waiting) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let exporter = tokio::spawn(collector.export(waiting, stopped));
        Ok(Some(Self { spans, exporter: Mutex::new(Some((stop, exporter))) }))
    }

    /// A request was answered, just now, after `took`.
    pub(crate) fn note(
        &self,
        parent: Option<&HeaderValue>,
        method: &Method,
        pattern: &str,
        path: &str,
        status: StatusCode,
        took: Duration,
    ) {
        // That a name may have slashes is of no interest to whoever reads a trace.
        let pattern = &pattern.replace("...", "");
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (trace, parent) = match parent.and_then(|value| lineage(value.to_str().ok()?)) {
            // Whoever began the trace does not want it recorded.
            Some((.., false)) => return,
            Some((trace, span, true)) => (trace, Some(span)),
            None => (random(16), None),
        };
        let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let mut span = json!({
            "traceId": trace,
            "spanId": random(8),
            "name": format!("{method} {}", if pattern.is_empty() { "unknown" } else { pattern }),
            "kind": 2,
            "startTimeUnixNano": end.saturating_sub(took).as_nanos().to_string(),
            "endTimeUnixNano": end.as_nanos().to_string(),
            "attributes": [
                attribute("http.request.method", method.as_str()),
                attribute("http.route", pattern),
                attribute("url.path", path),
                {"key": "http.response.status_code", "value": {"intValue": status.as_u16().to_string()}},
            ],
            "status": if status.is_server_error() { json!({"code": 2}) } else { json!({}) },
        });
        if let Some(parent) = parent {
            span["parentSpanId"] = parent.into();
        }
        // A full queue is the collector's failure, not the request's.
        let _ = self.spans.try_send(span);
    }

    /// Sends what waits.
    pub(crate) async fn finish(&self) {
        let exporter = self.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, exporter)) = exporter {
            let _ = stop.send(());
            let _ = exporter.await;
        }
    }
}

impl Collector {
    async fn export(self, mut waiting: mpsc::Receiver<Value>, mut stop: oneshot::Receiver<()>) {
        let mut complained = false;
        loop {
            let mut spans = Vec::new();
            let stopped = tokio::select! {
                _ = gather(&mut waiting, &mut spans) => false,
                _ = &mut stop => true,
            };
            while let Ok(span) = waiting.try_recv() {
                spans.push(span);
            }
            if !spans.is_empty() {
                match self.send(spans).await {
                    Err(why) if !complained => {
                        complained = true;
                        tracing::warn!("traces are lost: {why}");
                    }
                    Err(_) => {}
                    Ok(()) => complained = false,
                }
            }
            if stopped {
                return;
            }
        }
    }

    async fn send(&self, spans: Vec<Value>) -> Result<(), String> {
        let body = json!({"resourceSpans": [{
            "resource": self.resource,
            "scopeSpans": [{"scope": {"name": "hulld", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
        }]});
        let mut request = self.http.post(&self.url).header("Content-Type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = request.body(body.to_string()).send().await.map_err(|why| why.to_string())?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!("{} answers {}", self.url, answer.status())),
        }
    }
}

/// Takes spans until there are many, or the first has waited long.
async fn gather(waiting: &mut mpsc::Receiver<Value>, spans: &mut Vec<Value>) {
    let Some(first) = waiting.recv().await else { return std::future::pending().await };
    spans.push(first);
    let more = async {
        while spans.len() < BATCH {
            match waiting.recv().await {
                Some(span) => spans.push(span),
                None => return,
            }
        }
    };
    // The time being over is as good as the batch being full.
    let _ = tokio::time::timeout(PAUSE, more).await;
}

/// The trace, the span and whether it is recorded: "00-<trace>-<span>-<flags>".
fn lineage(text: &str) -> Option<(String, String, bool)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_right = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    is_right.then(|| (trace.to_owned(), span.to_owned(), sampled))
}

/// An id, in hexadecimal.
fn random(length: usize) -> String {
    let mut bytes = [0; 16];
    // An id that is not random spoils one trace.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// "a=b,c=d".
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Who tells.
fn resource(variable: &dyn Fn(&str) -> Option<String>) -> Value {
    let mut all = pairs(&variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
    let name = variable("OTEL_SERVICE_NAME");
    if name.is_some() || !all.iter().any(|(key, _)| key == "service.name") {
        all.retain(|(key, _)| key != "service.name");
        all.push(("service.name".to_owned(), name.unwrap_or_else(|| "hulld".to_owned())));
    }
    all.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    all.push(("host.name".to_owned(), rustix::system::uname().nodename().to_string_lossy().into_owned()));
    let attributes: Vec<Value> =
        all.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
    json!({"attributes": attributes})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_knows_its_trace() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let line = |flags: &str| lineage(&format!("00-{trace}-{span}-{flags}"));
        assert_eq!(line("01"), Some((trace.into(), span.into(), true)));
        assert_eq!(line("00").map(|(.., sampled)| sampled), Some(false));
        assert_eq!(lineage("00-short-b7ad6b7169203331-01"), None);
        assert_eq!(lineage(""), None);
        assert_eq!((random(8).len(), random(16).len()), (16, 32));
    }

    #[tokio::test]
    async fn the_environment_decides() {
        let traces = |pairs: &'static [(&str, &str)]| {
            let variable = move |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            Traces::from_variables(&variable).map(|traces| traces.is_some())
        };
        assert_eq!(traces(&[]), Ok(false));
        assert_eq!(traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")]), Ok(true));
        assert_eq!(
            traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_SDK_DISABLED", "true")]),
            Ok(false)
        );
        let grpc = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert!(traces(Box::leak(Box::new(grpc))).is_err());
        assert!(traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "nothing")]).is_err());
    }
}
