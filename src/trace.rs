//! Spans for a tracing collector: what a request led to, across the store and restarts of the server.
//!
//! A request's span is the current context while it is answered, the making of a task is a child of it, and the place of
//! that child stands with the task in the store. Whoever works on the task later, in whichever process, tells of the work
//! once it is over, as a child of the making. Turns of a workflow's run, of a proposal, and those that a team message asks for,
//! are children of the request that led to them, or of the making of the task. Spans name ids, closed words and models; never a
//! prompt, an answer or a key.

use crate::model::{
    id::{AgentId, TaskId},
    run::Provenance,
    task::Task,
};
use chrono::{DateTime, Utc};
use opentelemetry::{
    Context, KeyValue,
    global::{BoxedSpan, BoxedTracer},
    propagation::TextMapPropagator,
    trace::{FutureExt, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::{collections::HashMap, sync::OnceLock};

/// The header, and the key in the propagator's vocabulary.
pub const TRACEPARENT: &str = "traceparent";

/// None as long as nobody collects: then no span is made.
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// Makes spans from now on, until the process ends.
pub fn turn_on(tracer: BoxedTracer) {
    // A second call would be of a second server in the process, which there is not.
    let _ = TRACER.set(tracer);
}

/// Whether spans are made.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The place a W3C `traceparent` names; a trace of its own when it names none.
fn place(traceparent: Option<&str>) -> Context {
    let carrier: HashMap<_, _> = traceparent.map(|text| (TRACEPARENT.to_owned(), text.to_owned())).into_iter().collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

fn traceparent(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
}

/// The place of what is going on, for work that is begun now and done later. `None` while no span is made.
pub fn current() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    Some(span.span_context()).filter(|place| place.is_valid()).map(traceparent)
}

/// What is known of a request before it is answered.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Of a closed set.
    pub method: &'a str,
    /// The template of its route; a path may hold ids and secrets.
    pub route: Option<&'a str>,
    /// The operation's name.
    pub operation: Option<&'a str>,
    /// The id that log lines about it carry.
    pub id: Option<&'a str>,
    /// The caller's place in a trace.
    pub traceparent: Option<&'a str>,
}

/// The span of a request. Ends when it is answered, or dropped because nobody waits for the answer any more.
pub struct RequestSpan(Context);

impl RequestSpan {
    /// Begins the span of a request, if spans are made.
    pub fn begin(request: Request<'_>) -> Option<Self> {
        let tracer = TRACER.get()?;
        let name = request.route.map_or_else(|| request.method.to_owned(), |route| format!("{} {route}", request.method));
        let mut attributes = vec![KeyValue::new("http.request.method", request.method.to_owned())];
        for (key, value) in [("http.route", request.route), ("mas.operation", request.operation), ("mas.request.id", request.id)]
        {
            attributes.extend(value.map(|value| KeyValue::new(key, value.to_owned())));
        }
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let parent = place(request.traceparent);
        Some(Self(parent.with_span(tracer.build_with_context(builder, &parent))))
    }

    /// Answers the request: the span is what is going on meanwhile.
    pub async fn around<F: Future>(&self, answering: F) -> F::Output {
        answering.with_context(self.0.clone()).await
    }

    /// Ends the span with the status of the answer.
    pub fn answered(self, status: u16) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// The span of a task's making.
pub struct MakingSpan(BoxedSpan);

impl MakingSpan {
    /// Begins the making of a task within what is going on, if spans are made, and gives the task its place in the trace.
    pub fn begin(task: &mut Task) -> Option<Self> {
        let builder = SpanBuilder::from_name("create_task").with_attributes(of_task(task));
        let span = TRACER.get()?.build_with_context(builder, &Context::current());
        task.traceparent = Some(traceparent(span.span_context()));
        Some(Self(span))
    }

    /// Ends the span: the task that there is now, in most cases the one it began with, and a word for what came of it.
    pub fn end(mut self, task: Option<TaskId>, outcome: &'static str) {
        self.0.set_attributes(task.map(|task| KeyValue::new("mas.task.id", task.to_string())));
        self.0.set_attribute(KeyValue::new("mas.outcome", outcome));
        if task.is_none() {
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

/// Work on a task that is over.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// What kind of work.
    pub name: &'static str,
    /// The task.
    pub task: &'a Task,
    /// Who worked, if it came to that.
    pub agent: Option<AgentId>,
    /// The model that answered, if the CLI named one; else the one asked for is told.
    pub model: Option<&'a str>,
    /// When it began.
    pub begun: DateTime<Utc>,
    /// A word for what came of it.
    pub outcome: &'a str,
    /// Whether that is a failure.
    pub failed: bool,
}

impl Work<'_> {
    /// Tells of the work, which ends now, if spans are made.
    pub fn record(self) {
        let Some(tracer) = TRACER.get() else { return };
        let mut attributes = of_task(self.task);
        attributes.push(KeyValue::new("mas.task.id", self.task.id.to_string()));
        attributes.extend(self.agent.map(|agent| KeyValue::new("mas.agent.id", agent.to_string())));
        attributes.extend(self.model.map(|model| KeyValue::new("mas.model", model.to_owned())));
        attributes.push(KeyValue::new("mas.outcome", self.outcome.to_owned()));
        let builder = SpanBuilder::from_name(self.name).with_start_time(self.begun).with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, &place(self.task.traceparent.as_deref()));
        if self.failed {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// What does not change while a task is worked on.
fn of_task(task: &Task) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("mas.agent.type", task.agent_type.to_string())];
    attributes.extend(task.model.as_ref().map(|model| KeyValue::new("mas.model.requested", model.clone())));
    if task.provenance == Provenance::Rehearsal {
        attributes.push(KeyValue::new("mas.provenance", task.provenance.as_str()));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_place_is_kept_as_text_and_nonsense_is_none() {
        for text in [PLACE, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"] {
            assert_eq!(traceparent(place(Some(text)).span().span_context()), text);
        }
        for nonsense in [None, Some(""), Some("00-0-0-01"), Some(&PLACE[..50]), Some("ff-zz")] {
            assert!(!place(nonsense).span().span_context().is_valid(), "{nonsense:?}");
        }
    }

    #[test]
    fn nothing_is_made_when_nobody_collects() {
        let request = Request { method: "GET", route: None, operation: None, id: None, traceparent: Some(PLACE) };
        assert!(!is_on() && RequestSpan::begin(request).is_none());
    }
}
