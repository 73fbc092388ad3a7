//! Sends spans to a collector, in batches and beside all work: nothing waits for it, and what does not fit its queue is lost.
//!
//! The library reads the `OTEL_` variables itself; what is set here goes before them, so they add headers and little else.

use crate::trace;
use opentelemetry::{KeyValue, global::BoxedTracer, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    runtime::Tokio,
    trace::{
        BatchConfigBuilder, Sampler, SdkTracerProvider, SpanData, SpanExporter,
        span_processor_with_async_runtime::BatchSpanProcessor,
    },
};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longest time a span waits for others to be sent with.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);
/// How long the last spans may take at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);
/// Spans that wait at most.
const QUEUE: usize = 4096;
/// Between two words about a collector that takes nothing.
const SILENCE: Duration = Duration::from_mins(10);

/// The way to the collector.
pub struct Traces(SdkTracerProvider);

/// Makes spans from now on and sends them to the collector below `url`. Must be called inside a Tokio runtime.
pub fn start(url: &str, version: &'static str, instance: String) -> Result<Traces, String> {
    let failed = |error: &dyn std::error::Error| format!("telemetry.otlp_url: {error}");
    let client = reqwest::Client::builder().timeout(EXPORT_LIMIT).build().map_err(|error| failed(&error))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_LIMIT)
        .with_endpoint(endpoint(url))
        .build()
        .map_err(|error| failed(&error))?;
    let batches = BatchConfigBuilder::default()
        .with_scheduled_delay(DELAY)
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(512)
        .with_max_concurrent_exports(1)
        // The client's own limit comes first, so that the failure is told.
        .with_max_export_timeout(EXPORT_LIMIT * 2)
        .build();
    let telling = Telling { exporter, said: Mutex::new(None) };
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", "mas-gateway"),
        KeyValue::new("service.version", version),
        KeyValue::new("service.instance.id", instance),
    ]);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(telling, Tokio).with_batch_config(batches).build())
        .with_resource(resource.build())
        // Callers that do not want their trace kept say so in `traceparent`.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .build();
    trace::turn_on(BoxedTracer::new(Box::new(provider.tracer("mas-gateway"))));
    Ok(Traces(provider))
}

impl Traces {
    /// Sends what waits; what takes too long is lost.
    pub async fn finish(self) {
        let (done, flushed) = tokio::sync::oneshot::channel();
        // The call blocks until the runtime has done the work, and the runtime would wait for a blocking task of its own.
        std::thread::spawn(move || {
            let _ = done.send(self.0.shutdown());
        });
        if !matches!(tokio::time::timeout(FLUSH_LIMIT, flushed).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans did not reach the collector at telemetry.otlp_url");
        }
    }
}

/// The collector's address for traces below its base URL.
fn endpoint(url: &str) -> String {
    let base = url.trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

/// Tells of failures in the log, but not of each.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    /// When a failure was told, unless a batch was taken since.
    said: Mutex<Option<Instant>>,
}

impl<E> Telling<E> {
    fn tell(&self, spans: usize, result: &OTelSdkResult) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if said.take().is_some() {
                    tracing::info!("the collector at telemetry.otlp_url takes traces again");
                }
            }
            Err(error) if said.is_none_or(|at| at.elapsed() >= SILENCE) => {
                *said = Some(Instant::now());
                tracing::warn!(%error, spans, "the collector at telemetry.otlp_url takes no traces; these spans are lost");
            }
            Err(_) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.tell(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;

    #[test]
    fn the_path_is_added_once() {
        for (url, wanted) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otel.example.com/team/", "https://otel.example.com/team/v1/traces"),
            ("https://otel.example.com/v1/traces", "https://otel.example.com/v1/traces"),
        ] {
            assert_eq!(endpoint(url), wanted);
        }
    }

    #[test]
    fn a_failure_is_told_once_until_a_batch_is_taken() {
        let telling = Telling { exporter: (), said: Mutex::new(None) };
        let told = || *telling.said.lock().expect("not poisoned");
        let lost: OTelSdkResult = Err(OTelSdkError::Timeout(EXPORT_LIMIT));
        telling.tell(1, &lost);
        let first = told().expect("told");
        telling.tell(1, &lost);
        assert_eq!(told(), Some(first));
        telling.tell(1, &Ok(()));
        assert_eq!(told(), None);
    }
}
