//! A manifest that does not load stops and removes nothing.

use std::time::Duration;

use super::support::deadline::eventually;
use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

/// What a slip of the hand makes of a good manifest. `HOST` is a host in it, `PORT` its port.
fn broken(good: &str) -> Vec<(&'static str, String)> {
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from:?} is in the manifest");
        good.replacen(from, to, 1)
    };
    vec![
        ("empty, as in the middle of a save", String::new()),
        ("cut off inside a word", good[..good.find("mirrors").expect("a list") + 4].to_owned()),
        ("a tab for indentation", replaced("  name:", "\tname:")),
        ("an unknown key", replaced("registries:", "registrys:")),
        ("an unknown key of a mirror", replaced("upstream:", "upstreem:")),
        ("a key twice", format!("{good}kind: Cluster\n")),
        ("two documents", format!("{good}---\n{good}")),
        ("a quote that does not close", replaced("kind: Cluster", "kind: \"Cluster")),
        ("a bracket that does not close", replaced("mirrors:", "mirrors: [")),
        ("another kind", replaced("kind: Cluster", "kind: Clutter")),
        ("another version", replaced("v1alpha1", "v9")),
        ("a name that is no DNS label", replaced("name: ", "name: Not_A_Label-")),
        ("a state there is not", replaced("state: Present", "state: Gone")),
        ("a list that is a mapping", replaced("      - host:", "        host:")),
        ("a host with a scheme", replaced("host: docker.io", "host: https://docker.io")),
        ("a wildcard", replaced("host: docker.io", "host: \"*.io\"")),
        (
            "an upstream with a path",
            replaced("upstream: http://upstream.example:5000", "upstream: http://upstream.example/v2"),
        ),
        ("a port that is none", replaced("        port: ", "        port: 9")),
        (
            "the same host twice",
            format!("{good}      - host: docker.io\n        upstream: http://upstream.example:5000\n"),
        ),
        ("half of the credentials", format!("{good}        credentials: {{username: someone}}\n")),
        ("a literal password", format!("{good}        credentials: {{username: someone, password: secret}}\n")),
        (
            "a variable that is not set",
            format!("{good}        credentials: {{username: \"${{KT_UNSET}}\", password: \"${{KT_UNSET}}\"}}\n"),
        ),
    ]
}

#[test]
fn twenty_broken_manifests_remove_nothing_and_the_next_good_one_converges() {
    let _turn = beside_others();
    let scenario = Scenario::new("broken");
    let (one, two, three) = (Mirror::push(free_port()), Mirror::push(free_port()), Mirror::push(free_port()));
    scenario.write(&[one.clone(), two.clone()]);
    let mut watch = scenario.watch();
    let before: Vec<_> = [&one, &two].map(|mirror| scenario.running(mirror).identity()).into();

    // The upstream of the broken ones is never dialled: nothing of them may reach the engine.
    let good = scenario.text(&[one.clone(), Mirror::of("docker.io", "http://upstream.example:5000", 6000)]);
    let broken = broken(&good);
    assert!(broken.len() >= 20);
    for (what, text) in &broken {
        let mark = watch.mark();
        scenario.write_text(text);
        let rejected =
            watch.await_event_since(mark, what, Duration::from_secs(5), |event| event.is("manifestRejected"));
        let message = rejected.text("message");
        // An empty file has no text to point at.
        assert!(text.is_empty() || names_line_and_column(message), "{what}: {message}");
        let after: Vec<_> = [&one, &two].map(|mirror| scenario.running(mirror).identity()).into();
        assert_eq!(after, before, "{what}: nothing stopped, nothing removed");
    }

    let mark = watch.mark();
    let mirrors = [one.clone(), three];
    scenario.write(&mirrors);
    watch.await_event_since(mark, "the good save", Duration::from_secs(5), |event| event.is("manifestLoaded"));
    eventually("it converges", Duration::from_secs(10), || scenario.converged(&mirrors));
    assert_eq!(scenario.running(&one).identity(), before[0]);
    assert_eq!(watch.stop(), Some(0));
}

/// Whether there is a `ksail.yaml:LINE:COLUMN` in it.
fn names_line_and_column(message: &str) -> bool {
    message.split("ksail.yaml:").skip(1).any(|rest| {
        let mut parts = rest.split(|c: char| !c.is_ascii_digit());
        let digits = |part: Option<&str>| part.is_some_and(|digits| !digits.is_empty());
        digits(parts.next()) && digits(parts.next())
    })
}
