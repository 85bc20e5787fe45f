//! A command line that is not one, or that only asks for help.

use clap::Error;
use clap::error::{ContextKind, ContextValue};

use super::{BAD_INPUT, Exit, OK, reporting, write, written};
use crate::event::Importance;
use crate::manifest::sounds_secret;
use crate::printable::{printable, value_without_user_info, without_user_info};

/// What people type who come from elsewhere, and what does that here.
const ELSEWHERE: [(&str, &[&str]); 4] = [
    ("apply", &["up", "start", "run", "sync", "reconcile"]),
    ("diff", &["plan", "preview"]),
    ("cluster delete", &["down", "stop", "destroy"]),
    ("mirror add", &["add"]),
];

/// Shows what was asked for, or what is wrong with the `arguments`.
pub(super) fn tell(mut error: Error, arguments: &[String]) -> Result<u8, Exit> {
    suggest(&mut error);
    let styled = error.render().ansi().to_string();
    if !error.use_stderr() {
        return written(write(&styled)).map(|()| OK);
    }
    // Styles go together with what else would steer the terminal.
    let plain = error.render().to_string();
    let shown = without_secrets(&plain, arguments);
    let is_clean = shown == plain && arguments.iter().all(|argument| printable(argument) == *argument);
    let text = if is_clean { styled } else { printable(&shown).into_owned() };
    reporting::to_stderr(Importance::Always, text.as_bytes());
    Ok(BAD_INPUT)
}

/// What kubectl formats its output with besides the formats that are here.
const TEMPLATES: [&str; 4] = ["jsonpath", "go-template", "custom-columns", "template"];

/// Names what does here what the word does elsewhere.
fn suggest(error: &mut Error) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (argument, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let tip = if argument.starts_with("--output") && TEMPLATES.iter().any(|name| value.starts_with(name)) {
        Some("pipe '-o json' to jq")
    } else if argument == "--force" {
        Some("nothing is there to be forced: what is not ksail's is left alone, and 'ksail status' names it")
    } else {
        None
    };
    if let Some(tip) = tip {
        // What is spelt alike is not what is meant.
        error.remove(ContextKind::SuggestedValue);
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else { return };
    let here = ELSEWHERE.iter().find(|(_, words)| words.contains(&typed.as_str()));
    if let Some((here, _)) = here {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![(*here).to_owned()]));
    }
}

/// clap quotes what it does not understand, and that may be a password: one in a URL, or one that follows an option
/// which sounds like it.
fn without_secrets(message: &str, arguments: &[String]) -> String {
    let mut shown = message.to_owned();
    let mut follows_secret = false;
    for argument in arguments {
        let option = argument.strip_prefix("--");
        let (name, value) = match option {
            Some(option) => option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value))),
            None => ("", Some(argument.as_str())),
        };
        if option.is_some() {
            follows_secret = sounds_secret(name);
        }
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        let covered = value_without_user_info(value);
        if covered != value {
            shown = shown.replace(value, &covered);
        }
        if follows_secret && !value.starts_with("${") {
            shown = shown.replace(&format!("'{value}'"), "'***'").replace(&format!("={value}'"), "=***'");
        }
    }
    without_user_info(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;

    fn shown(arguments: &[&str]) -> String {
        let error = Cli::try_parse_from(["ksail"].iter().chain(arguments)).unwrap_err();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        without_secrets(&error.render().to_string(), &arguments)
    }

    #[test]
    fn no_argument_that_may_be_a_password_is_told_back_however_it_is_refused() {
        let url = "https://user:hunt er2@hub.test";
        let refused: &[&[&str]] = &[
            &["mirror", "add", "docker.io=https://user:hunter2@hub.test"],
            &["mirror", "add", "docker.io=user:hunter2@hub.test"],
            &["mirror", "add", "docker.io=user:hunt/er2@hub.test"],
            &["mirror", "add", "user:hunter2@docker.io"],
            &["mirror", "add", "https://user:hunter2@docker.io"],
            &["mirror", "add", "https://user:hunt/er2@docker.io"],
            &["mirror", "add", "docker.io=ftp://user:hunter2@hub.test"],
            &["mirror", "add", "docker.io=user:hunter2://@hub.test"],
            &["mirror", "remove", "user:hunter2@docker.io"],
            &["mirror", "add", "docker.io=https://hub.test?token=hunter2"],
            &["mirror", "set", "docker.io", "--upstream", url],
            &["mirror", "set", "docker.io", "--upstream=https://hunter2@hub.test"],
            &["mirror", "set", "docker.io", "--uptream", "https://user:hunter2@hub.test"],
            &["mirror", "set", "docker.io", "--passwrod", "hunter2"],
            &["mirror", "set", "docker.io", "--passwrod=hunter2"],
            &["mirror", "set", "docker.io", "--password=hunter2"],
            &["mirror", "set", "docker.io", "--username", "${U}", "--password", "my", "hunter2"],
            &["mirror", "https://user:hunter2@hub.test"],
            &["https://user:hunter2@hub.test"],
            &["cluster", "init", "--mirror-registry", url],
            &["cluster", "init", "--local-registry", "user:hunter2@localhost:5000"],
            &["cluster", "create", "--mirror-registry", "docker.io=https://user:hunter2@hub.test"],
            &["apply", "--timeout", "https://user:hunter2@hub.test"],
            &["verify", "https://user:hunter2@hub.test"],
        ];
        for arguments in refused {
            let text = shown(arguments);
            assert!(!text.contains("hunter2") && !text.contains("hunt"), "{arguments:?}: {text}");
        }
    }

    #[test]
    fn what_others_call_otherwise_is_named_by_its_name_here() {
        let tip = |typed: &str| {
            let mut error = Cli::try_parse_from(["ksail", typed]).unwrap_err();
            suggest(&mut error);
            let text = error.render().to_string();
            text.lines().find(|line| line.contains("tip:")).unwrap_or_default().trim().to_owned()
        };
        assert_eq!(tip("up"), "tip: a similar subcommand exists: 'apply'");
        assert_eq!(tip("plan"), "tip: a similar subcommand exists: 'diff'");
        assert_eq!(tip("down"), "tip: a similar subcommand exists: 'cluster delete'");
        assert_eq!(tip("frobnicate"), "");
    }

    #[test]
    fn what_kubectl_has_and_ksail_has_not_is_answered_with_what_to_do() {
        let tip = |typed: &[&str]| {
            let mut error = Cli::try_parse_from([&["ksail"], typed].concat()).unwrap_err();
            suggest(&mut error);
            let text = error.render().to_string();
            text.lines().find(|line| line.contains("tip: ")).unwrap_or_default().trim().to_owned()
        };
        assert_eq!(tip(&["status", "-o", "jsonpath={.mirrors}"]), "tip: pipe '-o json' to jq");
        assert_eq!(tip(&["mirror", "list", "--output=custom-columns=A:.a"]), "tip: pipe '-o json' to jq");
        let force =
            "tip: nothing is there to be forced: what is not ksail's is left alone, and 'ksail status' names it";
        assert_eq!(tip(&["apply", "--force"]), force);
        assert_eq!(tip(&["status", "-o", "jsn"]), "tip: a similar value exists: 'json'");
    }

    #[test]
    fn what_is_no_secret_is_told_back() {
        assert!(shown(&["mirror", "add", "*.io"]).contains("'*.io'"));
        assert!(shown(&["mirror", "set", "docker.io", "--prot", "5001"]).contains("'--prot'"));
        assert!(shown(&["statsu"]).contains("'statsu'"));
    }
}
