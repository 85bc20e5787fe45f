//! Nothing that may be a password is told back, and nothing that is quoted steers the terminal.

use crate::ran::Project;

const MANIFEST: &str = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  registries:\n    mirrors:\n      - {host: ghcr.io, upstream: https://ghcr.io, port: 5001}\n";

#[test]
fn a_password_on_the_command_line_is_refused_and_not_told_back() {
    let project = Project::with(MANIFEST);
    let refused: &[&[&str]] = &[
        &["mirror", "add", "docker.io=https://user:hunter2@hub.test"],
        &["mirror", "add", "docker.io=https://${USER:-user}:${PASSWORD:-hunter2}@hub.test"],
        &["mirror", "set", "ghcr.io", "--upstream", "https://user:hunter2@hub.test"],
        &["mirror", "set", "ghcr.io", "--upstream", "https://user:hunt er2@hub.test"],
        &["mirror", "set", "ghcr.io", "--username", "user", "--password", "hunter2"],
        &["mirror", "set", "ghcr.io", "--username", "${U}", "--password", "my", "hunter2"],
        &["mirror", "set", "ghcr.io", "--token=hunter2"],
        &["mirror", "remove", "https://user:hunter2@ghcr.io"],
        &["cluster", "init", "--force", "--mirror-registry", "docker.io=https://user:hunter2@hub.test"],
        &["cluster", "create", "--mirror-registry", "docker.io=https://user:hunter2@hub.test"],
        &["verify", "--image", "https://user:hunter2@ghcr.io/a"],
        &["apply", "--timeout", "https://user:hunter2@hub.test"],
        &["--file", "https://user:hunter2@hub.test/ksail.yaml", "validate"],
        &["https://user:hunter2@hub.test"],
    ];
    for arguments in refused {
        let said = project.ksail(arguments);
        assert!(said.starts_with("exit: 2\n") && !said.contains("hunt"), "{arguments:?}: {said}");
        assert_eq!(project.read("ksail.yaml"), MANIFEST, "{arguments:?}");
    }
    let said = project.ksail(&["--host", "tcp://user:hunter2@127.0.0.1:1", "status"]);
    assert!(!said.starts_with("exit: 0\n") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_password_in_the_file_is_refused_and_not_told_back() {
    let upstreams = [
        "https://user:hunter2@hub.test",
        "'https://user:hunt er2@hub.test'",
        "\"https://user:hunt'er2@hub.test\"",
        "https://hunter2@hub.test",
        "user:hunter2@hub.test",
        "https://hub.test?password=hunter2",
        "[https://user:hunter2@hub.test",
    ];
    let commands: &[&[&str]] = &[
        &["validate"],
        &["apply"],
        &["diff"],
        &["status"],
        &["watch"],
        &["verify"],
        &["mirror", "list"],
        &["mirror", "add", "quay.io"],
        &["mirror", "add", "quay.io", "--dry-run"],
        &["cluster", "create"],
    ];
    for upstream in upstreams {
        let project = Project::with(&MANIFEST.replace("https://ghcr.io,", &format!("{upstream},")));
        for arguments in commands {
            let said = project.ksail(arguments);
            assert!(said.starts_with("exit: 2\n") && !said.contains("hunt"), "{upstream} {arguments:?}: {said}");
        }
    }
}

#[test]
fn an_escape_sequence_in_the_file_or_on_the_command_line_is_shown_and_not_obeyed() {
    let title = "\u{1b}]0;title\u{7}\u{9b}31m\u{202e}";
    let manifest = format!("# {title}\n{}", MANIFEST.replace("dev}", &format!("\"d{title}ev\"}}")));
    let project = Project::with(&manifest);
    let commands: &[&[&str]] = &[
        &["validate"],
        &["mirror", "list"],
        &["mirror", "add", "quay.io", "--dry-run"],
        &["mirror", "add", &format!("quay{title}.io")],
        &["mirror", "add", "--dry-run", &format!("--flag{title}")],
        &[title],
        &["-f", &format!("{title}.yaml"), "validate"],
        &["--host", &format!("unix:///{title}"), "-f", "good.yaml", "status"],
        &["--host", title, "-f", "good.yaml", "status"],
        &["-f", "titled.yaml", "mirror", "list"],
        &["-f", "titled.yaml", "mirror", "set", "ghcr.io", "--port", "5002", "--dry-run"],
        &["-f", "titled.yaml", "mirror", "list", "-o", "json"],
    ];
    project.write("good.yaml", MANIFEST);
    // Upstreams that are variables are not checked where the file is only edited.
    let variable = format!("\"https://${{A:-{title}}}\"").replace('\u{1b}', "\\e").replace('\u{7}', "\\a");
    project.write("titled.yaml", &MANIFEST.replace("https://ghcr.io,", &format!("{variable},")));
    for arguments in commands {
        let said = project.ksail(arguments);
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!said.contains(steers), "{arguments:?}: {said:?}");
    }
}
