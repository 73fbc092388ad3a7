//! Agents that stay: turn after turn, steering, retries, budgets, ends.

use super::{super::*, INTERRUPTED, MESSAGE, READY, RESULT, Stage};
use crate::{
    model::{
        agent::AgentStatus,
        id::{RunId, TaskId},
        quota::{Cap, CapUnit, LimitReached, SetBy},
        task::{OnLost, TaskStatus},
    },
    process::ExitReason,
};
use serde_json::json;

/// A durable agent in the middle of its first turn.
fn working() -> Stage {
    let mut stage = Stage::new(None);
    stage.brief.keep = true;
    stage.line(READY);
    stage.line(r#"{"type":"system","subtype":"init"}"#);
    stage
}

/// What the actor does once a turn is stored.
fn forget(stage: &mut Stage) {
    stage.machine.turn = None;
}

fn replay(task: TaskId) -> String {
    json!({"type": "user", "isReplay": true, "uuid": task.uuid(), "message": {"content": "x"}}).to_string()
}

fn steer(stage: &mut Stage) -> TaskId {
    let task_id = TaskId::generate();
    let sent = stage.input(Input::Steer { task_id, text: "look there" });
    assert!(sent.send[0].line.contains("look there") && sent.send[0].id == task_id.uuid().to_string());
    task_id
}

#[test]
fn a_turn_ends_without_the_process_and_another_begins() {
    let mut stage = working();
    let end = stage.line(RESULT);
    assert_eq!((end.task, end.agent, end.turn_over), (Some(TaskStatus::Complete), Some(AgentStatus::Idle), true));
    assert!(!end.effects.contains(&Effect::CloseInput) && stage.machine.phase == Phase::Idle);
    forget(&mut stage);
    let order = stage.brief.order.as_mut().expect("an order");
    (order.task_id, order.run_id, order.prompt) = (TaskId::generate(), RunId::generate(), "and now this".into());
    let begun = stage.input(Input::Begin);
    assert!(begun.send[0].line.contains("and now this"));
    assert_eq!((begun.task, begun.agent), (Some(TaskStatus::InProgress), Some(AgentStatus::Busy)));
    assert!(stage.line(&RESULT.replace("0.1", "0.4")).turn_over);
    let cost = stage.turn().outcome.cost_usd.expect("a cost");
    assert!((cost - 0.3).abs() < 1e-9, "the turn's own: {cost}");
}

#[test]
fn an_idle_agent_is_parked_in_time_or_when_its_place_is_needed() {
    for input in [Input::Time, Input::Park] {
        let mut stage = working();
        stage.line(RESULT);
        forget(&mut stage);
        stage.now += TimeDelta::seconds(300);
        assert_eq!(stage.input(input).effects, [Effect::CloseInput]);
        assert_eq!(stage.exit(ExitReason::Exited, Some(0)).agent, Some(AgentStatus::Parked));
    }
}

#[test]
fn a_process_that_has_written_much_makes_room_for_a_new_log() {
    let mut stage = working();
    stage.brief.rotate_bytes = 10;
    let end = stage.line(RESULT);
    assert!(end.turn_over && end.effects.contains(&Effect::CloseInput), "{end:?}");
    forget(&mut stage);
    assert_eq!(stage.exit(ExitReason::Exited, Some(0)).agent, Some(AgentStatus::Parked));
}

#[test]
fn a_process_with_limits_of_its_task_takes_no_other_turn() {
    let mut stage = working();
    stage.brief.max_processes = Some((2, SetBy::Task));
    let end = stage.line(RESULT);
    assert!(end.turn_over && end.effects.contains(&Effect::CloseInput), "{end:?}");
    forget(&mut stage);
    assert_eq!(stage.exit(ExitReason::Exited, Some(0)).agent, Some(AgentStatus::Parked));
}

#[test]
fn an_interrupt_leaves_the_agent_idle() {
    let mut stage = working();
    stage.line(MESSAGE);
    assert_eq!(stage.input(Input::Cancel).agent, Some(AgentStatus::Interrupting));
    let end = stage.line(INTERRUPTED);
    assert_eq!((end.task, end.agent), (Some(TaskStatus::Cancelled), Some(AgentStatus::Idle)));
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("half done"));
}

#[test]
fn a_cli_that_ignores_an_interrupt_is_ended_but_its_agent_only_rests() {
    let mut stage = working();
    stage.input(Input::Cancel);
    assert_eq!(stage.wait().effects, [Effect::Stop]);
    let exit = stage.exit(ExitReason::Stopped, None);
    assert_eq!((exit.task, exit.agent), (Some(TaskStatus::Cancelled), Some(AgentStatus::Parked)));
}

#[test]
fn steering_joins_the_turn_once_the_cli_has_taken_it_up() {
    let mut stage = working();
    let task = steer(&mut stage);
    assert!(!stage.machine.may_be_steered(), "one at a time");
    assert_eq!(stage.line(&replay(TaskId::generate())).joined, None, "some other message");
    assert_eq!(stage.line(&replay(task)).joined, Some(task));
    assert!(stage.machine.may_be_steered());
    assert_eq!(stage.line(RESULT).agent, Some(AgentStatus::Idle));
}

#[test]
fn steering_that_comes_too_late_becomes_the_next_turn() {
    let mut stage = working();
    let task = steer(&mut stage);
    let end = stage.line(RESULT);
    assert!(end.turn_over && end.agent.is_none() && end.released.is_none(), "{end:?}");
    forget(&mut stage);
    assert_eq!(stage.machine.follows_up(), Some(task));
    stage.brief.order.as_mut().expect("an order").task_id = task;
    let begun = stage.input(Input::FollowUp);
    assert!(begun.send.is_empty(), "the CLI has the prompt already");
    assert_eq!(begun.task, Some(TaskStatus::InProgress));
    stage.line(&replay(task));
    assert_eq!(stage.line(RESULT).agent, Some(AgentStatus::Idle));
}

#[test]
fn steering_that_was_not_taken_up_before_the_process_was_lost_waits_again() {
    let mut stage = working();
    stage.brief.order.as_mut().expect("an order").on_lost = OnLost::Resume;
    let task = steer(&mut stage);
    let lost = stage.input(Input::Vanished { conversation: Conversation::HoldsPrompt });
    assert_eq!((lost.released, lost.next), (Some(task), Some(Beginning::ResumeTurn)));
}

#[test]
fn an_agent_is_ended_gracefully_then_firmly() {
    let mut stage = working();
    stage.line(RESULT);
    forget(&mut stage);
    assert_eq!(stage.input(Input::Terminate).effects, [Effect::CloseInput]);
    assert_eq!(stage.exit(ExitReason::Exited, Some(0)).agent, Some(AgentStatus::Terminated));

    let mut stage = working();
    assert!(stage.input(Input::Terminate).send[0].line.contains("interrupt"));
    let end = stage.line(INTERRUPTED);
    assert_eq!((end.effects, end.turn_over), (vec![Effect::CloseInput], false), "not idle again");
    assert_eq!(stage.wait().effects, [Effect::Stop]);
    let exit = stage.exit(ExitReason::Stopped, None);
    assert_eq!((exit.task, exit.agent), (Some(TaskStatus::Cancelled), Some(AgentStatus::Terminated)));
}

#[test]
fn a_lost_turn_goes_on_as_far_as_the_cli_had_kept_it() {
    for (conversation, opened, next) in [
        (Conversation::HoldsPrompt, true, Beginning::ResumeTurn),
        (Conversation::LacksPrompt, true, Beginning::New),
        (Conversation::LacksPrompt, false, Beginning::Resume),
    ] {
        let mut stage = working();
        stage.brief.order.as_mut().expect("an order").on_lost = OnLost::Resume;
        stage.machine.turn.as_mut().expect("a turn").opened_session = opened;
        assert_eq!(stage.input(Input::Vanished { conversation }).next, Some(next), "{conversation:?} {opened}");
    }
}

#[test]
fn a_turn_whose_answer_is_in_the_conversation_of_the_lost_cli_is_done() {
    for (on_lost, status) in [(OnLost::Resume, Some(TaskStatus::Complete)), (OnLost::Fail, Some(TaskStatus::Failed))] {
        let mut stage = working();
        stage.brief.order.as_mut().expect("an order").on_lost = on_lost;
        stage.machine.turn.as_mut().expect("a turn").kept_answer = Some("all done".into());
        let lost = stage.input(Input::Vanished { conversation: Conversation::HoldsPrompt });
        assert_eq!((lost.task, lost.next), (status, None));
        assert_eq!(stage.turn().outcome.result.as_deref() == Some("all done"), on_lost == OnLost::Resume);
    }
}

#[test]
fn a_message_that_the_lost_cli_had_kept_is_not_sent_again() {
    for (is_kept, on_lost, has_joined) in
        [(true, OnLost::Resume, true), (false, OnLost::Resume, false), (true, OnLost::Retry, false)]
    {
        let mut stage = working();
        stage.brief.order.as_mut().expect("an order").on_lost = on_lost;
        let sent = steer(&mut stage);
        stage.machine.joining.as_mut().expect("on its way").is_kept = is_kept;
        let lost = stage.input(Input::Vanished { conversation: Conversation::HoldsPrompt });
        let (joined, released) = if has_joined { (Some(sent), None) } else { (None, Some(sent)) };
        assert_eq!((lost.joined, lost.released), (joined, released), "{is_kept} {on_lost}");
    }
}

#[test]
fn an_idle_agent_whose_process_is_lost_only_rests() {
    let mut stage = working();
    stage.line(RESULT);
    forget(&mut stage);
    let lost = stage.input(Input::Vanished { conversation: Conversation::LacksPrompt });
    assert_eq!((lost.agent, lost.task, lost.next), (Some(AgentStatus::Parked), None, None));
}

const OVERLOADED: [&str; 2] = [
    r#"{"type":"assistant","error":"server_error","message":{"model":"<synthetic>","content":[{"type":"text","text":"529"}]}}"#,
    r#"{"type":"result","subtype":"success","is_error":true,"result":"API Error: 529 Overloaded","total_cost_usd":0.0}"#,
];

#[test]
fn a_fault_of_the_provider_is_tried_again_later_and_not_for_ever() {
    let mut stage = working();
    let mut pauses = vec![];
    for attempt in 0..2 {
        stage.line(OVERLOADED[0]);
        let failed = stage.line(OVERLOADED[1]);
        assert!(failed.retry.is_some() && failed.task.is_none(), "attempt {attempt}: {failed:?}");
        let exit = stage.exit(ExitReason::Exited, Some(1));
        assert_eq!((exit.next, exit.agent), (Some(Beginning::ResumeTurn), Some(AgentStatus::Starting)));
        stage.machine = stage.machine.successor(&stage.brief, Beginning::ResumeTurn, stage.now);
        pauses.push((stage.machine.not_before.expect("a time").at - stage.now).num_milliseconds());
        stage.input(Input::Started);
        stage.line(r#"{"type":"system","subtype":"init"}"#);
    }
    assert!(
        (4_000..=12_000).contains(&pauses[0]) && (8_000..=24_000).contains(&pauses[1]),
        "8 s, then 16 s, give or take: {pauses:?}"
    );
    stage.line(OVERLOADED[0]);
    let failed = stage.line(OVERLOADED[1]);
    assert_eq!((failed.task, stage.turn().outcome.retries), (Some(TaskStatus::Failed), 2));
    assert_eq!(stage.failure().0, FailureCode::ProviderUnavailable);
}

#[test]
fn a_limit_of_the_provider_is_waited_for_and_a_cancel_ends_the_wait() {
    let mut stage = working();
    let resets = stage.now + TimeDelta::hours(5);
    let limit = json!({"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": resets.timestamp()}});
    stage.line(&limit.to_string());
    stage.line(&OVERLOADED[0].replace("server_error", "rate_limit"));
    let failed = stage.line(OVERLOADED[1]);
    assert_eq!(failed.retry.expect("another try").resets_at, Some(resets));
    let Some(Fate::Retry(at)) = stage.machine.fate else { panic!("no retry") };
    assert!(at >= resets && at < resets + TimeDelta::seconds(3), "{at}");
    stage.input(Input::Cancel);
    let exit = stage.exit(ExitReason::Exited, Some(1));
    assert_eq!((exit.task, exit.agent, exit.next), (Some(TaskStatus::Cancelled), Some(AgentStatus::Parked), None));
}

fn spent(usd: f64) -> String {
    let session = json!({"total_cost_usd": usd, "model_usage": {"m": {"inputTokens": 7, "outputTokens": 3}}});
    json!({"type": "control_response", "response": {"subtype": "success", "request_id": "u", "response": {"session": session}}})
        .to_string()
}

#[test]
fn a_budget_is_asked_after_and_binds_in_the_middle_of_a_turn() {
    let usage = r#"{"type":"stream_event","event":{"type":"message_delta","usage":{"output_tokens":5}}}"#;
    let mut stage = working();
    assert!(stage.line(usage).send.is_empty(), "nobody set a budget");
    let limit = LimitReached { name: "usd_per_day".into(), set_by: SetBy::Key, value: 1.0 };
    stage.brief.order.as_mut().expect("an order").caps = vec![Cap { unit: CapUnit::Usd, left: 0.5, limit: limit.clone() }];
    assert!(stage.line(usage).send[0].line.contains("get_usage"));
    assert!(stage.line(&spent(0.4)).send.is_empty());
    assert_eq!((stage.turn().outcome.cost_usd, stage.turn().outcome.tokens), (Some(0.4), Some(10)));
    assert!(stage.line(&spent(0.6)).send[0].line.contains("interrupt"));
    assert_eq!(stage.failure().0, FailureCode::BudgetExceeded);
    assert!(stage.failure().1.contains("usd_per_day") && stage.failure().1.contains("key"), "{}", stage.failure().1);
    stage.line(INTERRUPTED);
    let Some(Verdict::Failed(failure)) = &stage.turn().verdict else { panic!("not failed") };
    assert_eq!(failure.limit, Some(limit));
}

#[test]
fn unknown_usage_does_not_pass_a_budget() {
    let mut stage = working();
    let limit = LimitReached { name: "budget_tokens".into(), set_by: SetBy::Task, value: 9.0 };
    stage.brief.order.as_mut().expect("an order").caps = vec![Cap { unit: CapUnit::Tokens, left: 9.0, limit }];
    assert_eq!(stage.line(RESULT).task, Some(TaskStatus::Failed));
    assert_eq!(stage.failure().0, FailureCode::UsageUnknown);
    assert_eq!(stage.turn().outcome.result.as_deref(), Some("done"), "the result is kept");
}
