//! No command line, however mangled, makes the program panic.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::ran::Project;

const MANIFEST: &str = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  lifecycle: External\n  registries:\n    mirrors:\n      - {host: ghcr.io, upstream: https://ghcr.io, port: 5001}\n      - {host: localhost:5000}\n";

/// `watch` does not end by itself; what it takes is what `apply` takes.
const VERBS: [&[&str]; 16] = [
    &["cluster", "init"],
    &["cluster", "create"],
    &["cluster", "delete"],
    &["mirror", "add"],
    &["mirror", "set"],
    &["mirror", "remove"],
    &["mirror", "list"],
    &["apply"],
    &["diff"],
    &["status"],
    &["verify"],
    &["validate"],
    &["schema"],
    &["completions"],
    &["help"],
    &[],
];

const FLAGS: [&str; 41] = [
    "--timeout",
    "--output",
    "-o",
    "--concurrency",
    "--adopt",
    "--file",
    "-f",
    "--host",
    "-v",
    "--no-color",
    "--mirror-registry",
    "--local-registry",
    "--name",
    "--distribution",
    "--distribution-config",
    "--lifecycle",
    "--kubeconfig",
    "--context",
    "--connection-timeout",
    "--image",
    "--volume-policy",
    "--force",
    "--delete-registry-volumes",
    "--upstream",
    "--port",
    "--listen-address",
    "--fallback",
    "--ttl",
    "--username",
    "--password",
    "--dry-run",
    "--help",
    "--version",
    "-h",
    "--",
    "-",
    "--=",
    "--port=",
    "--ttl=0s",
    "-vvvvvvvvvv",
    "--no-such-flag",
];

const VALUES: [&str; 50] = [
    "",
    " ",
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "99999999999999999999",
    "9223372036854775807s",
    "9223372036854775807h",
    "-5m",
    "1e400",
    "NaN",
    "500ms",
    "1ns",
    "P1Y",
    "106751d",
    "5m",
    "0s",
    "true",
    "docker.io",
    "ghcr.io",
    "localhost:5000",
    "localhost",
    "127.0.0.1:1",
    "[::1]:5000",
    "::1",
    "0.0.0.0",
    "*.io",
    "docker.io=https://registry-1.docker.io",
    "=",
    "a=b=c",
    "https://",
    "https://[::1",
    "https://a/b?c#d",
    "${A}",
    "${",
    "${A:-}",
    "tcp://",
    "tcp://[::1]:x",
    "unix://",
    "ssh://-oProxyCommand=x",
    "npipe://x",
    ".",
    "json",
    "yaml",
    "bash",
    "\u{1b}]0;x\u{7}",
    "é🦀",
    "ksail.yaml",
];

fn word() -> impl Strategy<Value = String> {
    let flag = || prop::sample::select(&FLAGS[..]);
    let value = || prop::sample::select(&VALUES[..]);
    prop_oneof![
        3 => flag().prop_map(str::to_owned),
        4 => value().prop_map(str::to_owned),
        2 => (flag(), value()).prop_map(|(flag, value)| format!("{flag}={value}")),
        1 => (value(), value()).prop_map(|(one, other)| format!("{one}{other}")),
        1 => (value(), 2..2_000_usize).prop_map(|(value, times)| value.repeat(times)),
    ]
}

/// Runs without an engine to ask, and with nothing of this user's to find. No word begins with `/`: what `init` writes stays in
/// the project.
fn runs(arguments: &[&str]) -> Result<(), TestCaseError> {
    let project = Project::with(MANIFEST);
    let mut command = project.command(arguments);
    command.env("DOCKER_HOST", "unix:///nowhere").env("HOME", &project.path).env("XDG_RUNTIME_DIR", &project.path);
    // A word with a NUL in it, or too long a line, is refused before it runs.
    let Ok(output) = command.output() else { return Ok(()) };
    let said = project.shown(&output);
    prop_assert!(matches!(output.status.code(), Some(0..=3)), "{arguments:?}\n{said}");
    prop_assert!(!said.contains("panicked"), "{arguments:?}\n{said}");
    prop_assert!(!said.contains(['\u{1b}', '\u{7}']), "{arguments:?}\n{said}");
    let has_words = output.status.success() || !output.stderr.is_empty();
    prop_assert!(has_words, "{arguments:?} failed without a word\n{said}");
    Ok(())
}

/// Commands that take a time, and how.
const TIMED: [&[&str]; 5] = [
    &["apply", "--timeout"],
    &["cluster", "create", "--timeout"],
    &["cluster", "delete", "--timeout"],
    &["verify", "--timeout"],
    &["cluster", "init", "--force", "--connection-timeout"],
];

#[test]
fn no_time_is_too_long_too_short_or_too_odd_to_be_answered() {
    for timed in TIMED {
        for time in
            ["9223372036854775807s", "106751991167300d", "9223372036854775807h", "0s", "-5m", "1e400", "8760h", ""]
        {
            let time = format!("={time}");
            let (last, before) = timed.split_last().unwrap();
            let last = format!("{last}{time}");
            let arguments = [before, &[&last]].concat();
            runs(&arguments).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_command_line_makes_it_panic(
        verb in prop::sample::select(&VERBS[..]),
        words in prop::collection::vec(word(), 0..6),
    ) {
        let mut arguments = verb.to_vec();
        arguments.extend(words.iter().map(String::as_str));
        runs(&arguments)?;
    }
}
