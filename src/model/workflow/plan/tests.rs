//! Games of whole runs: every turn is answered by a function, nothing else happens.

use super::*;
use crate::model::workflow::file;

fn workflow(stages: &str) -> Workflow {
    let text = format!("name: test\ndescription: a test\nstages:\n{stages}");
    file::parse(&text, &|_| true).unwrap_or_else(|flaws| panic!("{flaws:?}\n{text}"))
}

/// Plays a run: every turn is answered by a function of its key and prompt; gives the keys in the order of starting.
struct Game {
    workflow: Workflow,
    input: RunInput,
    turns: BTreeMap<TurnKey, TurnState>,
    answers: BTreeMap<String, Answer>,
    started: Vec<String>,
    most_at_once: usize,
}

fn done(output: &Value) -> TurnState {
    match output {
        Value::String(text) => TurnState::Done { text: text.clone(), output: None },
        output => TurnState::Done { text: output.to_string(), output: Some(output.clone()) },
    }
}

fn failed() -> TurnState {
    TurnState::Failed(Failure::new(FailureCode::AgentError, "broke"))
}

fn verdict(word: &str) -> TurnState {
    done(&json!({"verdict": word, "issues": ["mend it"]}))
}

impl Game {
    fn new(stages: &str) -> Self {
        let input = RunInput { task: "the task".into(), timeout_seconds: 60, ..RunInput::default() };
        Self {
            workflow: workflow(stages),
            input,
            turns: BTreeMap::new(),
            answers: BTreeMap::new(),
            started: vec![],
            most_at_once: 0,
        }
    }

    fn look(&self) -> Plan {
        plan(&Known { workflow: &self.workflow, input: &self.input, turns: &self.turns, answers: &self.answers })
    }

    fn name(key: &TurnKey) -> String {
        let part = if key.part == Part::Review { "?" } else { "" };
        let round = if key.round > 0 { format!("+{}", key.round) } else { String::new() };
        let attempt = if key.attempt > 0 { format!("#{}", key.attempt) } else { String::new() };
        format!("{}{round}{part}{attempt}", key.path)
    }

    /// Until nothing more can be started. One turn ends at a time; a look in between must change nothing.
    fn run(&mut self, mut answer: impl FnMut(&str, &TurnSpec) -> TurnState) -> Plan {
        let mut open: Vec<TurnSpec> = vec![];
        loop {
            let plan = self.look();
            for spec in &plan.start {
                assert!(self.turns.insert(spec.key.clone(), TurnState::Running).is_none(), "{:?} twice", spec.key);
                self.started.push(Self::name(&spec.key));
            }
            open.extend(plan.start.iter().cloned());
            self.most_at_once = self.most_at_once.max(open.len());
            assert!(self.look().start.is_empty(), "a second look starts nothing");
            let Some(spec) = open.pop() else { return self.look() };
            let state = answer(&Self::name(&spec.key), &spec);
            self.turns.insert(spec.key, state);
        }
    }
}

#[test]
fn stages_follow_each_other_with_what_came_before() {
    let mut game = Game::new(
        "  - {name: a, role: coder, prompt: First}\n  - {name: b, role: tester, prompt: \"Then {{ stages.a.text }}\"}\n",
    );
    let plan = game.run(|name, spec| {
        assert!(spec.prompt.contains("the task"), "{}", spec.prompt);
        if name == "b" {
            assert!(
                spec.prompt.contains("# From the stage a\nmade by a") && spec.prompt.contains("Then made by a"),
                "{}",
                spec.prompt
            );
        }
        done(&json!(format!("made by {name}")))
    });
    assert_eq!(game.started, ["a", "b"]);
    assert_eq!(plan.state, RunState::Complete(json!("made by b")));
}

#[test]
fn stages_without_a_need_of_each_other_work_at_once() {
    let mut game = Game::new(
        "  - {name: a, role: coder, prompt: x}\n  - {name: b, role: coder, prompt: x, inputs: []}\n  - {name: c, role: coder, prompt: x, inputs: [a, b]}\n",
    );
    game.run(|name, _| done(&json!(name)));
    assert_eq!((game.started.join(" "), game.most_at_once), ("a b c".to_owned(), 2));
}

#[test]
fn conditions_skip_and_lists_fan_out_within_their_limit() {
    let mut game = Game::new(
        "  - {name: split, role: planner, prompt: x, output_schema: {type: object}}\n\
         \x20 - {name: no, role: coder, prompt: x, when: \"stages.split.output.parts | length > 9\"}\n\
         \x20 - {name: each, role: coder, prompt: \"Do {{ part }} ({{ index }})\", inputs: [split], for_each: {items: stages.split.output.parts, as: part, max_parallel: 2}}\n\
         \x20 - {name: merge, role: coordinator, prompt: \"{{ stages.each.output | join(',') }}\"}\n",
    );
    let plan = game.run(|name, spec| match name {
        "split" => done(&json!({"parts": ["p0", "p1", "p2"]})),
        "merge" => {
            assert!(spec.prompt.contains("r0,r1,r2"), "{}", spec.prompt);
            done(&json!("merged"))
        }
        each => done(&json!(format!("r{}", &each[5..6]))),
    });
    assert_eq!(plan.state, RunState::Complete(json!("merged")));
    assert_eq!(game.most_at_once, 2);
    assert_eq!(plan.stages[1].state, StageState::Skipped);
    assert_eq!(plan.stages[2].children.len(), 3);
}

const REVIEWED: &str = "  - {name: a, role: coder, prompt: x, review: {max_revisions: 2}}\n";

#[test]
fn a_review_leads_to_revisions_by_the_same_agent() {
    let mut game = Game::new(REVIEWED);
    let mut agents = vec![];
    let plan = game.run(|name, spec| {
        if spec.key.part == Part::Work {
            agents.push(spec.agent.clone());
            assert!(spec.reviewed);
        }
        match name {
            "a?" => verdict("NEEDS_REVISION"),
            "a+1?" => verdict("APPROVED"),
            "a+1" => {
                assert!(spec.prompt.contains("mend it") && spec.prompt.contains("NEEDS_REVISION"), "{}", spec.prompt);
                done(&json!("better"))
            }
            _ => done(&json!("first")),
        }
    });
    assert_eq!(game.started, ["a", "a?", "a+1", "a+1?"]);
    assert_eq!(agents, [AgentRef::Named("a".into()), AgentRef::Named("a".into())]);
    assert_eq!(plan.state, RunState::Complete(json!("better")));
    assert!(plan.judged.iter().all(|(_, judged)| *judged == Judged::Complete) && plan.judged.len() == 2, "{:?}", plan.judged);
    assert_eq!((plan.stages[0].revisions, plan.stages[0].verdict), (1, Some(super::super::ReviewVerdict::Approved)));
}

#[test]
fn rejections_and_used_up_revisions_do_what_the_file_says() {
    let run = |extra: &str, word: &'static str| {
        let stages = format!("  - {{name: a, role: coder, prompt: x, review: {{max_revisions: 1{extra}}}}}\n");
        let mut game = Game::new(&stages);
        let plan = game.run(|_, spec| if spec.key.part == Part::Review { verdict(word) } else { done(&json!("made")) });
        (game.started.len(), plan)
    };
    let (turns, plan) = run("", "REJECTED");
    assert!(matches!(&plan.state, RunState::Failed(failure) if failure.code == FailureCode::NotApproved), "{:?}", plan.state);
    assert_eq!((turns, &plan.judged[0].1), (2, &Judged::Failed));
    let (turns, plan) = run(", on_rejected: revise", "REJECTED");
    assert!(turns == 4 && matches!(plan.state, RunState::Failed(_)), "{turns}");
    let (_, plan) = run(", on_exhausted: accept", "NEEDS_REVISION");
    assert_eq!((&plan.state, plan.stages[0].state), (&RunState::Complete(json!("made")), StageState::Unverified));
    let (_, plan) = run(", on_exhausted: ask", "NEEDS_REVISION");
    let RunState::Waiting(questions) = plan.state else { panic!("{:?}", plan.state) };
    assert_eq!(questions[0].id, "a:review-1");
}

#[test]
fn a_question_is_answered_and_the_run_goes_on() {
    let mut game = Game::new("  - {name: a, role: coder, prompt: x, on_failure: ask}\n  - {name: b, role: coder, prompt: y}\n");
    let plan = game.run(|_, _| failed());
    let RunState::Waiting(questions) = plan.state else { panic!("{:?}", plan.state) };
    assert_eq!(questions[0].options, [Answer::Retry, Answer::Skip, Answer::Fail]);
    game.answers.insert(questions[0].id.clone(), Answer::Retry);
    let plan = game.run(|_, _| failed());
    let RunState::Waiting(questions) = plan.state else { panic!("{:?}", plan.state) };
    game.answers.insert(questions[0].id.clone(), Answer::Skip);
    let plan = game.run(|_, _| done(&json!("b is there")));
    assert_eq!(game.started, ["a", "a#1", "b"]);
    assert_eq!((&plan.state, plan.stages[0].state), (&RunState::Complete(json!("b is there")), StageState::Unverified));
}

#[test]
fn failed_turns_are_made_again_as_often_as_allowed() {
    let mut game = Game::new("  - {name: a, role: coder, prompt: x, retries: 2}\n");
    let plan = game.run(|name, _| if name == "a#2" { done(&json!("at last")) } else { failed() });
    assert_eq!((game.started.len(), plan.state), (3, RunState::Complete(json!("at last"))));
    let mut game = Game::new("  - {name: a, role: coder, prompt: x, retries: 2}\n");
    let plan = game.run(|_, _| TurnState::Failed(Failure::new(FailureCode::TurnCancelled, "stopped")));
    assert!(game.started.len() == 1 && matches!(plan.state, RunState::Failed(_)), "what was stopped on purpose is not repeated");
}

#[test]
fn loops_end_when_it_is_so_or_at_their_limit() {
    let stages = "  - name: refine\n    repeat: {until: \"current.output.good\", max_iterations: 3}\n    stages:\n\
                  \x20     - {name: write, role: coder, agent: writer, prompt: \"Try {{ iteration }}{% if previous %} after {{ previous.output.note }}{% endif %}\", output_schema: {type: object}}\n";
    let mut game = Game::new(stages);
    let plan = game.run(|name, spec| {
        if name == "refine~2/write" {
            assert!(spec.prompt.contains("Try 2 after bad"), "{}", spec.prompt);
            assert_eq!(spec.agent, AgentRef::Named("writer".into()));
        }
        done(&json!({"good": name == "refine~2/write", "note": "bad"}))
    });
    assert_eq!(game.started, ["refine~1/write", "refine~2/write"]);
    assert_eq!(plan.state, RunState::Complete(json!({"good": true, "note": "bad"})));
    let mut game = Game::new(stages);
    let plan = game.run(|_, _| done(&json!({"good": false, "note": "bad"})));
    assert_eq!((game.started.len(), plan.stages[0].state), (3, StageState::Unverified));
}

#[test]
fn a_run_that_makes_too_many_turns_is_given_up() {
    let mut game = Game::new("  - {name: a, role: coder, prompt: x, for_each: {items: \"range(9) | list\"}}\n");
    game.workflow.max_turns = 5;
    let plan = game.run(|_, _| done(&json!("x")));
    assert!(matches!(&plan.state, RunState::Failed(failure) if failure.detail.contains("max_turns")), "{:?}", plan.state);
    assert!(game.started.len() <= 5);
}

#[test]
fn a_template_that_does_not_render_fails_the_run_in_words() {
    let mut game = Game::new(
        "  - {name: a, role: coder, prompt: x}\n  - {name: b, role: coder, prompt: \"Now\\n{{ stages.a.output.deep }}\"}\n",
    );
    let plan = game.run(|_, _| done(&json!({"shallow": 1})));
    let RunState::Failed(failure) = plan.state else { panic!("{:?}", plan.state) };
    for words in ["stage `b`, prompt: undefined value", "there is no `stages.a.output.deep`", "line 2: `{{ stages.a"] {
        assert!(failure.detail.contains(words), "{}", failure.detail);
    }
    assert_eq!(game.started, ["a"]);
}

#[test]
fn words_that_older_yaml_takes_for_yes_and_no_stay_words() {
    let stages =
        "  - {name: a, role: coder, prompt: x, output_schema: {type: object, properties: {n: {type: integer}}, required: [n]}}\n";
    let schema = workflow(stages).stages[0].output_schema.clone().expect("a schema");
    assert_eq!(schema["required"], json!(["n"]));
}

#[test]
fn a_stage_names_its_cli_and_an_agent_has_one() {
    let game = Game::new(
        "  - {name: a, role: coder, backend: claude-flow, prompt: x}\n  - {name: b, role: coder, prompt: x, after: []}\n",
    );
    let backends: Vec<_> = game.look().start.iter().map(|spec| spec.backend).collect();
    assert_eq!(backends, [Some(crate::model::agent::Backend::ClaudeFlow), None]);
    let stage = |name: &str, more: &str| format!("  - {{name: {name}, role: coder, agent: one, {more}prompt: x}}\n");
    let head = "name: bad\ndescription: d\nstages:\n";
    let mixed = format!("{head}{}{}", stage("a", "backend: claude-flow, "), stage("b", ""));
    let flaws = file::parse(&mixed, &|_| true).expect_err("two CLIs");
    assert!(flaws[0].to_string().contains("line 5: stage `b`, backend"), "{flaws:?}");
    let group = format!("{head}  - name: g\n    backend: claude-flow\n    stages:\n    {}", stage("a", ""));
    assert!(file::parse(&group, &|_| true).expect_err("a group")[0].to_string().contains("backend"), "{group}");
}

#[test]
fn in_a_run_that_has_ended_no_stage_works_or_waits() {
    let mut game = Game::new(
        "  - {name: a, role: coder, prompt: go}\n  - {name: b, role: coder, prompt: go, inputs: []}\n  - {name: c, role: coder, \
         prompt: go, inputs: [a], on_failure: ask}\n  - {name: d, role: coder, prompt: go, inputs: [c]}\n",
    );
    let words_of = |stages: &[StageView]| stages.iter().map(|stage| stage.state.as_str()).collect::<Vec<_>>().join(" ");
    let ended = |game: &Game| {
        let mut stages = game.look().stages;
        end_stages(&mut stages);
        words_of(&stages)
    };
    assert_eq!(
        (words_of(&game.look().stages).as_str(), ended(&game).as_str()),
        ("running running pending pending", "skipped skipped skipped skipped")
    );
    game.run(|name, _| match name {
        "c" => failed(),
        _ => done(&json!("made")),
    });
    game.turns.insert(TurnKey { path: "b".into(), round: 0, part: Part::Work, attempt: 0 }, TurnState::Running);
    assert_eq!(words_of(&game.look().stages), "complete running waiting pending");
    assert_eq!(ended(&game), "complete cancelled cancelled skipped");
}

#[test]
fn doubts_name_what_is_not_verified_and_why() {
    let mut game = Game::new(
        "  - {name: a, role: coder, prompt: go, review: {max_revisions: 0, on_exhausted: accept}}\n  - {name: b, role: coder, prompt: \
         go, on_failure: skip}\n",
    );
    let plan = game.run(|name, spec| match name {
        "b" => failed(),
        _ if spec.key.part == Part::Review => verdict("NEEDS_REVISION"),
        _ => done(&json!("made")),
    });
    assert!(matches!(plan.state, RunState::Complete(_)), "{:?}", plan.state);
    assert_eq!(doubts(&plan.stages), ["`a` its review said NEEDS_REVISION: mend it", "`b` failed and was left out: broke"]);
    let mut sound = Game::new("  - {name: a, role: coder, prompt: go, review: {max_revisions: 1}}\n");
    let plan = sound.run(|_, spec| match (spec.key.part, spec.key.round) {
        (Part::Review, 0) => verdict("NEEDS_REVISION"),
        (Part::Review, _) => verdict("APPROVED"),
        _ => done(&json!("made")),
    });
    assert_eq!(doubts(&plan.stages), Vec::<String>::new(), "what was mended is no doubt");
}
