//! What is told can be believed, and steers nobody's terminal.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::support::manifest::Mirror;
use super::support::recorder::Recorder;
use super::support::scenario::{Finished, Scenario, free_port};
use super::turns::beside_others;

/// What some terminals take for another title, another colour and another direction.
const TITLE: &str = "boom \u{1b}]0;title\u{7}\u{9b}31m\u{202e}";

/// Escape sequences that ksail's own colours are not among, since it writes to no terminal here.
fn steers(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}')
}

fn assert_is_shown_and_not_obeyed(finished: &Finished) {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("boom \\u001b]0;title\\u0007\\u009b31m\\u202e"), "{said:?}");
    assert!(!steers(&said), "{said:?}");
}

#[test]
fn escape_sequences_of_the_engine_are_shown_and_not_obeyed() {
    let _turn = beside_others();
    let scenario = Scenario::new("told-engine");
    scenario.write(&[Mirror::push(free_port())]);
    let recorder = Recorder::start();
    let _refused = recorder.when("POST", |path| path.starts_with("/containers/create")).refuse(500, TITLE);
    for format in ["text", "json"] {
        let address = recorder.address();
        let args = ["apply", "--timeout", "2s", "-o", format];
        assert_is_shown_and_not_obeyed(&scenario.ksail_at(Some(&address), &args));
    }
    let _refused = recorder.when("GET", |path| path.starts_with("/containers/json")).refuse(500, TITLE);
    for args in [&["status"][..], &["status", "-o", "json"], &["diff"], &["-v", "status"]] {
        assert_is_shown_and_not_obeyed(&scenario.ksail_at(Some(&recorder.address()), args));
    }
}

#[test]
fn escape_sequences_of_kind_are_shown_and_not_obeyed() {
    let _turn = beside_others();
    let scenario = Scenario::new("told-kind");
    scenario.write_text(&scenario.text(&[]).replace("lifecycle: External", "lifecycle: Managed"));
    let kind = scenario.directory().join("kind");
    fs::write(&kind, format!("#!/bin/sh\necho 'creating {TITLE}'\necho 'ERROR: {TITLE}' >&2\nexit 1\n")).unwrap();
    fs::set_permissions(&kind, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", scenario.directory().display(), std::env::var("PATH").unwrap());
    for format in ["text", "json"] {
        let args = ["apply", "--timeout", "2s", "-o", format];
        assert_is_shown_and_not_obeyed(&scenario.ksail_with(&[("PATH", &path)], &args));
    }
}

#[test]
fn the_last_that_apply_says_is_what_its_exit_code_stands_for() {
    let _turn = beside_others();
    let scenario = Scenario::new("told-end");
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    let last = |finished: &Finished| -> serde_json::Value {
        let line = finished.stdout.lines().last().unwrap_or_else(|| panic!("it says something: {finished}"));
        serde_json::from_str(line).unwrap()
    };
    let converged = last(&scenario.ksail(&["apply", "-o", "json"]));
    assert_eq!(converged, serde_json::json!({"event": "ended", "exitCode": 0, "message": null}));

    let hog = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let moved = Mirror::push(hog.local_addr().unwrap().port());
    scenario.write(&[mirrors[0].clone(), moved.clone()]);
    let failed = scenario.ksail(&["apply", "-o", "json"]);
    let message = format!("1 of 2 mirrors is not Ready: {} (PortInUse)", moved.host);
    assert_eq!((failed.code, last(&failed)["exitCode"].as_u64()), (1, Some(1)), "{failed}");
    let said = last(&failed)["message"].as_str().unwrap_or_default().to_owned();
    assert!(said.starts_with(&message) && failed.stderr.starts_with(&format!("error: {message}")), "{failed}");
}

#[test]
fn what_is_left_to_be_removed_is_in_every_output_of_a_status_that_exits_1_for_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("told-leftover");
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    scenario.apply();
    scenario.write(&mirrors[..1]);
    let status = |format: &str| scenario.ksail(&["status", "-o", format]);
    let (table, json, yaml) = (status("table"), status("json"), status("yaml"));
    for finished in [&table, &json, &yaml] {
        assert_eq!(finished.code, 1, "{finished}");
    }
    let document = json.json();
    assert_eq!(document["ready"], false);
    assert_eq!(document["leftovers"][0]["what"], mirrors[1].host.as_str(), "{document:#}");
    assert!(document["leftovers"][0]["message"].as_str().is_some_and(|why| !why.is_empty()), "{document:#}");
    assert!(document["mirrors"].as_array().is_some_and(|all| all.len() == 1), "{document:#}");
    assert!(table.stdout.contains(&format!("{}: still to be removed", mirrors[1].host)), "{}", table.stdout);
    assert!(
        yaml.stdout.contains("leftovers:\n- what:") || yaml.stdout.contains("leftovers:\n- message:"),
        "{}",
        yaml.stdout
    );
    scenario.apply();
    let document = status("json");
    assert_eq!((document.code, document.json()["ready"].as_bool()), (0, Some(true)));
}
