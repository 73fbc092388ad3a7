//! A role narrows and never widens.

use super::*;

fn rules(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn of(mode: PermissionMode, project: &[&str], role: &[&str]) -> (PermissionMode, Vec<String>, Vec<String>) {
    let Permissions { mode, allow, deny } = permissions(mode, &rules(project), Some(&rules(role)));
    (mode, allow, deny)
}

#[test]
fn without_rules_the_project_decides() {
    let project = rules(&["Bash(git *)", "Edit"]);
    for mode in PermissionMode::ALL.iter().copied() {
        let expected = Permissions { mode, allow: project.clone(), deny: vec![] };
        assert_eq!(permissions(mode, &project, None), expected);
    }
}

#[test]
fn allowed_is_what_both_allow() {
    for (project, role, allowed) in [
        (vec!["Bash"], vec!["Bash(git *)"], vec!["Bash(git *)"]),
        (vec!["Bash(git *)"], vec!["Bash"], vec!["Bash(git *)"]),
        (vec!["Bash(git *)"], vec!["Bash(git log *)"], vec!["Bash(git log *)"]),
        (vec!["Bash(git:*)"], vec!["Bash(git status)"], vec!["Bash(git status)"]),
        (vec!["Bash(git *)"], vec!["Bash(gitk *)", "Bash(cargo *)", "Edit"], vec![]),
        (vec!["Bash(git *)"], vec!["Bash(git log; rm *)", "Bash(git $(x) *)"], vec![]),
        (vec!["mcp__shop"], vec!["mcp__shop__buy", "mcp__shopping__buy"], vec!["mcp__shop__buy"]),
        (vec!["mcp__shop__buy"], vec!["mcp__shop"], vec!["mcp__shop__buy"]),
        (vec!["Edit(src/**)"], vec!["Edit(docs/**)"], vec![]),
        (vec!["Bash"], vec!["Bash", "Bash"], vec!["Bash"]),
        (vec![], vec!["Bash", "Read", "Edit"], vec![]),
    ] {
        assert_eq!(of(PermissionMode::Default, &project, &role).1, allowed, "{project:?} {role:?}");
    }
}

#[test]
fn a_mode_does_not_undo_the_limit() {
    let (mode, allow, _) = of(PermissionMode::BypassPermissions, &[], &["Read", "Bash(git *)"]);
    assert_eq!((mode, allow), (PermissionMode::Default, rules(&["Read", "Bash(git *)"])));
    let (mode, allow, _) =
        of(PermissionMode::AcceptEdits, &[], &["Read", "Edit(docs/**)", "Write(//etc/**)", "Edit(../x)", "Edit(~/x)"]);
    assert_eq!((mode, allow), (PermissionMode::Default, rules(&["Edit(docs/**)"])));
    // Bare `Edit` as a rule would reach beyond the workspace; the mode does not.
    let (mode, allow, _) = of(PermissionMode::AcceptEdits, &[], &["Edit", "Write"]);
    assert_eq!((mode, allow), (PermissionMode::AcceptEdits, vec![]));
    for strict in [PermissionMode::Default, PermissionMode::Plan, PermissionMode::DontAsk] {
        assert_eq!(of(strict, &[], &["Bash", "Edit", "Write"]).0, strict);
    }
}

#[test]
fn strong_tools_no_rule_names_are_taken_away() {
    assert_eq!(of(PermissionMode::Default, &["Bash"], &["Read"]).2, STRONG);
    assert_eq!(
        of(PermissionMode::Default, &[], &["Bash(git *)", "Edit", "Write(a)"]).2,
        ["NotebookEdit", "WebFetch", "WebSearch"]
    );
    assert_eq!(of(PermissionMode::Default, &[], &[]).2, STRONG);
}

#[test]
fn rules_have_a_shape() {
    for good in ["Read", "Bash(git *)", "Edit(docs/**)", "mcp__shop", "mcp__shop__*", "WebFetch(domain:example.org)"] {
        assert!(is_rule(good), "{good}");
    }
    for bad in ["", "Bash(", "Bash()", "Bash(git *", "Bash)", "(x)", "Read, Edit", "Bash (x)", "a\nb"] {
        assert!(!is_rule(bad), "{bad}");
    }
}
