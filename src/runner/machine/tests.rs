//! Every path of the machine, without a process.

mod durable;
mod tools;

use super::*;
use crate::{
    model::{
        agent::AgentStatus,
        id::{RunId, TaskId},
        limits::LATEST_OUTPUT_CHARS,
        quota::LimitReached,
        quota::SetBy,
        task::{OnLost, TaskStatus},
    },
    process::{ExitReason, ExitRecord},
};
use serde_json::{Value, json};

pub(super) const READY: &str = r#"{"type":"control_response","response":{"subtype":"success","request_id":"i","response":{"account":{"apiKeySource":"ANTHROPIC_API_KEY"}}}}"#;
const LOGGED_OUT: &str = r#"{"type":"control_response","response":{"subtype":"success","request_id":"i","response":{"account":{"tokenSource":"none","apiProvider":"firstParty"}}}}"#;
pub(super) const MESSAGE: &str = r#"{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"half done"}]}}"#;
pub(super) const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"done","total_cost_usd":0.1,"usage":{"input_tokens":3,"output_tokens":4}}"#;
pub(super) const INTERRUPTED: &str =
    r#"{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["x"],"total_cost_usd":0.0}"#;

pub(super) struct Stage {
    pub(super) brief: Brief,
    pub(super) machine: Machine,
    pub(super) now: DateTime<Utc>,
}

impl Stage {
    pub(super) fn new(output_schema: Option<Value>) -> Self {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("valid");
        let order = Order {
            task_id: TaskId::generate(),
            run_id: RunId::generate(),
            prompt: "build it".into(),
            output_schema,
            on_lost: OnLost::Fail,
            timeout: TimeDelta::seconds(100),
            timeout_set_by: SetBy::Task,
            watch: WatchLimits {
                first_event: TimeDelta::seconds(20),
                stall: TimeDelta::seconds(30),
                stall_set_by: SetBy::Gateway,
                retries: 2,
                garbage_lines: 3,
            },
            output_bytes: None,
            caps: vec![],
        };
        let brief = Brief {
            backend: Backend::ClaudeCode,
            role: "a coder".into(),
            project: "shop".into(),
            inbox: "/data/inbox/ann".into(),
            keep: false,
            team: false,
            max_recoveries: 2,
            max_retries: 2,
            retry_delay: TimeDelta::seconds(8),
            park_after: TimeDelta::seconds(300),
            rotate_bytes: 1_000_000,
            ready_timeout: TimeDelta::seconds(10),
            interrupt_timeout: TimeDelta::seconds(2),
            exit_timeout: TimeDelta::seconds(5),
            max_memory_bytes: Some((300_000_000, SetBy::Agent)),
            max_processes: Some((2, SetBy::Gateway)),
            order: Some(order),
        };
        let mut machine = Machine::new(now, brief.ready_timeout, Beginning::New);
        machine.turn = brief.order.as_ref().map(|order| Turn::new(order.task_id, order.run_id, true));
        let mut stage = Self { brief, machine, now };
        stage.input(Input::Started);
        stage
    }

    pub(super) fn input(&mut self, input: Input<'_>) -> Reaction {
        self.machine.handle(&self.brief, self.now, input)
    }

    pub(super) fn line(&mut self, line: &str) -> Reaction {
        self.input(Input::Line(line))
    }

    /// Lets time pass until the machine wants to be woken.
    pub(super) fn wait(&mut self) -> Reaction {
        self.now = self.machine.wakes_at().expect("waits for something");
        self.input(Input::Time)
    }

    pub(super) fn exit(&mut self, reason: ExitReason, code: Option<i32>) -> Reaction {
        let exit = ExitRecord { code, signal: None, reason, detail: None, ended_at: self.now, stdout_bytes: 0 };
        let conversation = Conversation::LacksPrompt;
        self.input(Input::Exited { exit: &exit, partial_tail: None, stderr: "it said why", conversation })
    }

    pub(super) fn turn(&self) -> &Turn {
        self.machine.turn.as_ref().expect("a turn")
    }

    pub(super) fn failure(&self) -> (FailureCode, &str) {
        match &self.turn().verdict {
            Some(Verdict::Failed(failure)) => (failure.code, &failure.detail),
            other => panic!("not failed: {other:?}"),
        }
    }
}

#[test]
fn a_task_runs_from_handshake_to_exit() {
    let mut stage = Stage::new(None);
    let ready = stage.line(READY);
    assert_eq!((ready.task, ready.agent), (Some(TaskStatus::InProgress), Some(AgentStatus::Busy)));
    assert!(ready.send[0].line.contains("build it"));
    let end = stage.line(RESULT);
    assert_eq!((end.effects, end.task), (vec![Effect::CloseInput], None), "complete only once the process is gone");
    let exit = stage.exit(ExitReason::Exited, Some(0));
    assert_eq!((exit.task, exit.agent), (Some(TaskStatus::Complete), Some(AgentStatus::Parked)));
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("done"));
    assert_eq!(stage.turn().outcome.cost_usd, Some(0.1));
}

#[test]
fn the_stored_state_goes_on_where_it_was() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    let stored = serde_json::to_value(&stage.machine).expect("serialises");
    stage.machine = serde_json::from_value(stored).expect("deserialises");
    stage.line(RESULT);
    assert_eq!(stage.exit(ExitReason::Exited, Some(0)).task, Some(TaskStatus::Complete));
}

#[test]
fn without_credentials_no_prompt_is_sent() {
    let mut stage = Stage::new(None);
    let reaction = stage.line(LOGGED_OUT);
    assert!(reaction.send.is_empty() && reaction.effects == [Effect::CloseInput]);
    assert_eq!(stage.failure().0, FailureCode::AgentUnavailable);
    assert!(stage.failure().1.contains("ANTHROPIC_API_KEY"));
}

#[test]
fn an_exit_before_readiness_tells_what_the_cli_wrote() {
    let mut stage = Stage::new(None);
    stage.exit(ExitReason::Exited, Some(1));
    assert_eq!(stage.failure().0, FailureCode::StartFailed);
    assert!(stage.failure().1.contains("code 1") && stage.failure().1.contains("it said why"));
}

#[test]
fn a_cli_that_never_answers_is_ended() {
    let mut stage = Stage::new(None);
    assert_eq!(stage.wait().effects, [Effect::Kill]);
    stage.exit(ExitReason::Killed, None);
    assert_eq!(stage.failure().0, FailureCode::NotReady);
}

#[test]
fn cancelling_interrupts_then_stops_then_kills() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.line(MESSAGE);
    let cancel = stage.input(Input::Cancel);
    assert!(cancel.send[0].line.contains("interrupt") && cancel.effects.is_empty());
    assert!(stage.input(Input::Cancel).send.is_empty(), "a second request changes nothing");
    assert_eq!(stage.wait().effects, [Effect::Stop], "no result within the interrupt time");
    assert_eq!(stage.wait().effects, [Effect::Kill], "still there");
    assert_eq!(stage.wait().effects, [Effect::KillShim], "the shim hangs");
    let exit = stage.exit(ExitReason::Stopped, None);
    assert_eq!((exit.task, exit.agent), (Some(TaskStatus::Cancelled), Some(AgentStatus::Terminated)));
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("half done"), "the partial result is kept");
}

#[test]
fn an_obeyed_interrupt_ends_the_task_as_cancelled() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.input(Input::Cancel);
    assert_eq!(stage.line(INTERRUPTED).effects, [Effect::CloseInput]);
    assert_eq!(stage.exit(ExitReason::Exited, Some(1)).task, Some(TaskStatus::Cancelled));
}

#[test]
fn a_cancel_after_the_result_keeps_the_result() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.line(RESULT);
    stage.input(Input::Cancel);
    assert_eq!(stage.exit(ExitReason::Exited, Some(0)).task, Some(TaskStatus::Complete));
}

#[test]
fn silence_is_noticed_and_told_apart() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    assert!(stage.wait().send[0].line.contains("interrupt"));
    assert_eq!(stage.failure().0, FailureCode::NoFirstEvent);

    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.now += TimeDelta::seconds(19);
    stage.line(MESSAGE);
    stage.now += TimeDelta::seconds(29);
    assert!(stage.input(Input::Time).send.is_empty(), "29 s are not too long");
    assert!(stage.wait().send[0].line.contains("interrupt"));
    assert_eq!(stage.failure().0, FailureCode::Stalled);
    stage.line(INTERRUPTED);
    stage.exit(ExitReason::Exited, Some(1));
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("half done"));
}

#[test]
fn endless_retries_and_garbage_are_ended() {
    let retry = r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":1,"error_status":529,"error":"overloaded"}"#;
    for (line, times, code) in [(retry, 3, FailureCode::TooManyRetries), ("not the protocol", 4, FailureCode::GarbageOutput)] {
        let mut stage = Stage::new(None);
        stage.line(READY);
        for _ in 1..times {
            assert!(stage.line(line).send.is_empty());
        }
        assert!(stage.line(line).send[0].line.contains("interrupt"));
        assert_eq!(stage.failure().0, code);
    }
}

#[test]
fn a_restart_reads_before_it_judges_by_the_clock() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.now += TimeDelta::hours(2);
    stage.machine.reread(stage.now);
    assert!(stage.input(Input::Time).send.is_empty());
    stage.line(RESULT);
    assert_eq!(stage.exit(ExitReason::Exited, Some(0)).task, Some(TaskStatus::Complete));
}

#[test]
fn time_is_up_keeps_the_partial_result_and_names_the_setting() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.line(MESSAGE);
    stage.now += TimeDelta::seconds(100);
    assert!(stage.input(Input::Time).send[0].line.contains("interrupt"));
    stage.line(INTERRUPTED);
    stage.exit(ExitReason::Exited, Some(1));
    assert_eq!(stage.failure().0, FailureCode::Timeout);
    assert!(stage.failure().1.contains("timeout_seconds"));
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("half done"));
}

#[test]
fn an_exit_without_result_fails_the_task_with_its_reason() {
    for (reason, code) in [
        (ExitReason::Exited, FailureCode::AgentExited),
        (ExitReason::OutputLimit, FailureCode::OutputLimit),
        (ExitReason::MemoryLimit, FailureCode::MemoryLimit),
        (ExitReason::ProcessLimit, FailureCode::ProcessLimit),
        (ExitReason::Deadline, FailureCode::Timeout),
        (ExitReason::SpawnFailed, FailureCode::AgentUnavailable),
        (ExitReason::DiskFull, FailureCode::DiskFull),
        (ExitReason::OutputClosed, FailureCode::OutputClosed),
    ] {
        let mut stage = Stage::new(None);
        stage.line(READY);
        stage.exit(reason, Some(0));
        assert_eq!(stage.failure().0, code, "{reason:?}");
    }
}

#[test]
fn a_limit_that_ended_the_agent_is_named_with_the_setting_that_moves_it() {
    for (reason, setting, limit) in [
        (ExitReason::MemoryLimit, "`max_memory_bytes`", ("max_memory_bytes", SetBy::Agent, 300_000_000.0)),
        (ExitReason::ProcessLimit, "`runner.max_processes`", ("runner.max_processes", SetBy::Gateway, 2.0)),
        (ExitReason::OutputLimit, "`runner.max_output_bytes`", ("runner.max_output_bytes", SetBy::Gateway, 5000.0)),
        (ExitReason::Deadline, "time was up", ("timeout_seconds", SetBy::Task, 100.0)),
    ] {
        let mut stage = Stage::new(None);
        stage.line(READY);
        let detail = Some("there were 3; the limit is 2".to_owned());
        let exit = ExitRecord { code: None, signal: Some(9), reason, detail, ended_at: stage.now, stdout_bytes: 5000 };
        stage.input(Input::Exited { exit: &exit, partial_tail: None, stderr: "", conversation: Conversation::LacksPrompt });
        let Some(Verdict::Failed(failure)) = &stage.turn().verdict else { panic!("not failed") };
        assert!(failure.detail.contains(setting), "{}", failure.detail);
        let (name, set_by, value) = limit;
        assert_eq!(failure.limit, Some(LimitReached { name: name.into(), set_by, value }));
    }
}

#[test]
fn a_vanished_process_is_lost_not_failed() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    let reaction = stage.input(Input::Vanished { conversation: Conversation::HoldsPrompt });
    assert_eq!(reaction.agent, Some(AgentStatus::Lost));
    assert_eq!(stage.failure().0, FailureCode::AgentLost);
}

#[test]
fn other_permissions_are_denied_in_words_and_on_record() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    let asked = stage.line(
        r#"{"type":"control_request","request_id":"r-9","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{}}}"#,
    );
    assert!(asked.send[0].line.contains("deny") && asked.send[0].line.contains("shop") && asked.send[0].id == "r-9");
    assert!(matches!(&asked.events[0], EventKind::Status { state, .. } if state == "permission_denied"));
    assert_eq!(stage.machine.phase, Phase::Working);
}

#[test]
fn structured_answers_are_validated_here_too() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let result = |output: Value| {
        json!({"type": "result", "subtype": "success", "is_error": false, "result": "r", "structured_output": output}).to_string()
    };
    for (output, valid) in [(json!({"n": 5}), true), (json!({"n": "five"}), false), (Value::Null, false)] {
        let mut stage = Stage::new(Some(schema.clone()));
        stage.line(READY);
        stage.line(&result(output.clone()));
        stage.exit(ExitReason::Exited, Some(0));
        assert_eq!(stage.turn().verdict == Some(Verdict::Complete), valid, "{output}");
        if !valid {
            assert_eq!(stage.failure().0, FailureCode::InvalidStructuredOutput);
        }
    }
}

#[test]
fn shutting_down_after_the_result_keeps_the_result() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.line(MESSAGE);
    stage.line(RESULT);
    assert_eq!(stage.input(Input::Shutdown).effects, [Effect::Kill]);
    assert_eq!(stage.exit(ExitReason::Killed, None).task, Some(TaskStatus::Complete));
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("done"));
}

#[test]
fn a_crash_during_a_cancel_keeps_the_partial_result() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    stage.line(MESSAGE);
    stage.input(Input::Cancel);
    stage.exit(ExitReason::Exited, None);
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("half done"));
}

#[test]
fn shutting_down_ends_the_agent_and_says_so() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    assert_eq!(stage.input(Input::Shutdown).effects, [Effect::Kill]);
    assert_eq!(stage.exit(ExitReason::Killed, None).task, Some(TaskStatus::Failed));
    assert!(stage.failure().1.contains("shut down"));
}

#[test]
fn latest_output_is_bounded() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    let long = "ä".repeat(3 * LATEST_OUTPUT_CHARS);
    let delta =
        json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": long}}});
    stage.line(&delta.to_string());
    assert_eq!(stage.turn().latest_output.chars().count(), LATEST_OUTPUT_CHARS);
}
