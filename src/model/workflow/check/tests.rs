//! Flaws of files: what is told, and on which line.

use crate::model::workflow::file;

/// What is wrong with a text, in words.
fn flaws(text: &str) -> Vec<String> {
    let flaws = file::parse(text, &|role| role == "coder").err().unwrap_or_default();
    flaws.iter().map(ToString::to_string).collect()
}

#[test]
fn flaws_of_a_file_are_told_with_their_lines() {
    let text = "name: bad\ndescription: d\nstages:\n  - name: a\n    role: wizard\n    prompt: \"{{ x\"\n  - name: b\n    role: coder\n    prompt: x\n    inputs: [c]\n  - name: b\n    role: coder\n    prompt: x\n  - name: e\n    role: coder\n    review:\n      role: nobody\n";
    let found = flaws(text);
    for wanted in [
        "line 5: stage `a`, role: there is no agent type `wizard`",
        "line 6: stage `a`, prompt: syntax error",
        "`c` is no earlier stage, and only those can be waited for: a",
        "line 11: stage `b`, name: two stages",
        "line 17: stage `e`, review.role: there is no agent type `nobody`",
        "line 14: stage `e`, prompt: is missing",
    ] {
        assert!(found.iter().any(|word| word.contains(wanted)), "{wanted} in {found:?}");
    }
    assert_eq!(flaws("name: x\ndescription: d\nstages: []\n"), ["line 3: stages: there is none"]);
    let misspelt = flaws("name: x\ndescription: d\nstages:\n  - name: a\n    rolle: coder\n");
    assert!(misspelt[0].starts_with("line 5:"), "{misspelt:?}");
}

#[test]
fn names_in_templates_are_those_of_their_place() {
    let text = "name: names
description: d
inputs: {n: {description: n, default: 3}}
result: \"{{ stages.gone.text }}\"
stages:
  - name: a
    role: coder
    prompt: |
      Do {{ task }}
      {{ undefined_thing }}
      {{ input.zzz }} {{ input.n }}
  - name: b-b
    role: coder
    when: stages.c.output
    prompt: \"{{ stages.a.outptu }} {{ item }} {{ review }}\"
    review: {role: coder, prompt: \"{{ made.text }} {{ current }}\"}
  - name: c
    role: coder
    inputs: [a]
    for_each: {items: item, as: part}
    prompt: \"{{ part }} {{ index }} {{ stages.b.text }} {{ stages['b-b'].text }} {{ input['zz'] }}\"
  - name: d
    inputs: [c]
    repeat: {until: current.verified and iteration > 1, max_iterations: 2}
    stages:
      - {name: e, role: coder, prompt: \"{{ previous }} {{ stages.a.text }} {{ stages.d.text }} {{ stages.c.items }}\"}
      - {name: f, role: coder, inputs: [b-b], prompt: \"{{ stages.e.text | shout }}\"}
";
    let wanted = [
        "line 4: result: `stages.gone`: there is no stage `gone`; those that have ended here are: a, b-b, c, d",
        "line 10: stage `a`, prompt: `undefined_thing` is not known here; known are: task, input, stages, review, revision",
        "line 11: stage `a`, prompt: `input.zzz`: the workflow has no input `zzz`; it has: n",
        "line 14: stage `b-b`, when: `stages.c`: the stage `c` need not have ended here; name it in `inputs` or `after` if it comes earlier. Those \
         that have ended are: a",
        "line 15: stage `b-b`, prompt: `item` is not known here; known are: task, input, stages, review, revision",
        "line 15: stage `b-b`, prompt: `stages.a.outptu`: a stage has no `outptu`; `a` has: output, status, text, verified",
        "line 16: stage `b-b`, review.prompt: `current` is not known here; known are: task, input, stages, made, revision",
        "line 20: stage `c`, for_each.items: `item` is not known here; known are: task, input, stages",
        "line 21: stage `c`, prompt: `stages.b`: there is no stage `b`; those that have ended here are: a; `-` is minus here, so write \
         stages['b-b']",
        "line 21: stage `c`, prompt: `stages.b-b`: the stage `b-b` need not have ended here",
        "line 21: stage `c`, prompt: `input.zz`: the workflow has no input `zz`; it has: n",
        "line 26: stage `e`, prompt: `stages.d`: the stage `d` need not have ended here",
        "line 27: stage `f`, inputs: `b-b` lies in another group, or the group around this stage does not wait for it: a, c, e",
        "line 27: stage `f`, prompt: unknown filter",
    ];
    let found = flaws(text);
    for wanted in wanted {
        assert!(found.iter().any(|word| word.contains(wanted)), "{wanted} in {found:#?}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

#[test]
fn templates_that_never_end_are_told() {
    let text = "name: x\ndescription: d\nstages:\n  - name: a\n    role: coder\n    prompt: |\n      Go\n      \
                {% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}\n";
    let found = flaws(text);
    assert!(found[0].contains("stage `a`, prompt: it takes more work than is allowed"), "{found:?}");
}
