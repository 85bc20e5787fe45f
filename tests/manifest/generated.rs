//! Edits of generated files: only the lines of the entry change, and adding then removing gives back every byte.

use ksail::manifest::{Edit, Host, Manifest, Mirror, MirrorChange, MirrorEntry, MirrorField, State, apply};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::load;

const HOSTS: [&str; 5] = ["docker.io", "ghcr.io", "registry.k8s.io", "gcr.io", "localhost:5000"];

/// An entry that is commented out, without and with words of the next one below it.
const OFF: &str = "# - host: off.example\n#   upstream: https://off.example";
const OFF_AND_WORDS: &str = "#-   host: off.example\n#\n# note";

/// How somebody writes a manifest.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one habit, and all combine")]
struct Habits {
    step: usize,
    list_step: usize,
    dash_width: usize,
    quote: &'static str,
    crlf: bool,
    mark: bool,
    final_newline: bool,
    blank_between: bool,
    keys_after_list: bool,
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one habit, and all combine")]
struct Item {
    flow: bool,
    comment_above: Option<&'static str>,
    comment_beside: bool,
    comment_below: bool,
    port: bool,
    upstream_first: bool,
}

fn item() -> impl Strategy<Value = Item> {
    let above = prop_oneof![
        Just(None),
        Just(Some("# note")),
        Just(Some("#note: [\n# second")),
        Just(Some(OFF)),
        Just(Some(OFF_AND_WORDS))
    ];
    (any::<bool>(), above, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(flow, comment_above, comment_beside, comment_below, port, upstream_first)| Item {
            flow,
            comment_above,
            comment_beside,
            comment_below,
            port,
            upstream_first,
        },
    )
}

fn habits() -> impl Strategy<Value = Habits> {
    let quote = prop_oneof![Just(""), Just("'"), Just("\"")];
    let flags = proptest::array::uniform5(any::<bool>());
    (1..=8_usize, any::<bool>(), 2..=4_usize, quote, flags, proptest::collection::vec(item(), 0..=HOSTS.len()))
        .prop_map(
            |(
                step,
                indented,
                dash_width,
                quote,
                [crlf, mark, final_newline, blank_between, keys_after_list],
                items,
            )| Habits {
                step,
                list_step: if indented { step } else { 0 },
                dash_width,
                quote,
                crlf,
                mark,
                final_newline,
                blank_between,
                keys_after_list,
                items,
            },
        )
}

impl Habits {
    fn text(&self) -> String {
        let step = self.step;
        let mut lines =
            vec!["# mine".to_owned(), "apiVersion: ksail.dev/v1alpha1".to_owned(), "kind: Cluster # kind".to_owned()];
        lines.push("metadata: {name: dev}".to_owned());
        lines.push("spec:".to_owned());
        lines.push(format!("{:step$}registries:", ""));
        let outer = 2 * step;
        if self.items.is_empty() {
            lines.push(format!("{:outer$}mirrors: [] # none", ""));
        } else {
            lines.push(format!("{:outer$}mirrors:", ""));
        }
        for (index, (item, host)) in self.items.iter().zip(HOSTS).enumerate() {
            if self.blank_between && index > 0 {
                lines.push(String::new());
            }
            lines.extend(self.item(item, host, index, outer + self.list_step));
        }
        if self.keys_after_list {
            lines.push(format!("{:outer$}image: registry:3", ""));
        }
        lines.push("# end".to_owned());
        if !self.final_newline {
            lines.pop();
        }
        let newline = if self.crlf { "\r\n" } else { "\n" };
        let mut text = lines.join(newline);
        if self.final_newline {
            text += newline;
        }
        if self.mark { format!("\u{feff}{text}") } else { text }
    }

    fn item(&self, item: &Item, host: &str, index: usize, column: usize) -> Vec<String> {
        let quote = self.quote;
        let mut fields = vec![format!("host: {quote}{host}{quote}")];
        if !host.starts_with("localhost") {
            let at = usize::from(!item.upstream_first);
            fields.insert(at, format!("upstream: {quote}https://registry.{host}{quote}"));
            if item.port {
                fields.push(format!("port: {}", 5001 + index));
            }
        }
        let beside = if item.comment_beside { " # beside" } else { "" };
        let mut lines: Vec<String> = Vec::new();
        for comment in item.comment_above.into_iter().flat_map(str::lines) {
            lines.push(format!("{:column$}{comment}", ""));
        }
        let width = self.dash_width;
        if item.flow {
            lines.push(format!("{:column$}{:width$}{{{}}}{beside}", "", "-", fields.join(", ")));
        } else {
            for (number, field) in fields.iter().enumerate() {
                let dash = if number == 0 { "-" } else { "" };
                lines.push(format!("{:column$}{dash:width$}{field}{beside}", ""));
            }
        }
        if item.comment_below {
            lines.push(format!("{:column$}{:width$}# below", "", ""));
        }
        lines
    }
}

fn meaning(text: &[u8]) -> Manifest {
    load(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn shown(mirror: &Mirror) -> String {
    format!("{mirror:?}")
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn entry() -> impl Strategy<Value = MirrorEntry> {
    let upstream = MirrorField::Upstream("https://${EMPTY:-quay.io}".to_owned());
    let credentials =
        MirrorField::Credentials { username: "${HUB_USER}".to_owned(), password: "${HUB_TOKEN}".to_owned() };
    let fields = proptest::sample::subsequence(
        vec![MirrorField::Port(6001), MirrorField::Fallback(false), MirrorField::Ttl("168h".to_owned()), credentials],
        0..=4,
    );
    let mirror = fields.prop_map(move |fields| MirrorEntry {
        host: host("quay.io"),
        fields: [vec![upstream.clone()], fields].concat(),
    });
    prop_oneof![3 => mirror, 1 => Just(MirrorEntry::push(host("localhost:5055")))]
}

/// The lines of `before` in `after`, in order, and nothing but whole lines between them.
fn only_lines_were_added(before: &str, after: &str) -> bool {
    let mut rest = after.lines();
    before.lines().all(|line| rest.any(|other| other == line))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/manifest/generated.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn adding_then_removing_gives_back_every_byte(habits in habits(), entry in entry()) {
        let before = habits.text();
        let added = apply(before.as_bytes(), &[Edit::AddMirror(entry.clone())]).unwrap();
        let (old, new) = (meaning(before.as_bytes()).registries.mirrors, meaning(&added).registries.mirrors);
        prop_assert_eq!(new.len(), old.len() + 1);
        prop_assert_eq!(&new[old.len()].host, &entry.host);
        for (old, new) in old.iter().zip(&new) {
            prop_assert_eq!(shown(old), shown(new));
        }
        let text = std::str::from_utf8(&added).unwrap();
        prop_assert!(old.is_empty() || only_lines_were_added(&before, text), "{}", text);
        let crlf = text.matches("\r\n").count();
        prop_assert!(crlf == 0 || crlf == text.matches('\n').count(), "mixed line ends");
        let removed = apply(&added, &[Edit::RemoveMirror(entry.host)]).unwrap();
        prop_assert_eq!(String::from_utf8(removed).unwrap(), before);
    }

    #[test]
    fn removing_takes_one_entry_and_no_line_of_another(habits in habits(), which in any::<proptest::sample::Index>()) {
        prop_assume!(!habits.items.is_empty());
        let before = habits.text();
        let old = meaning(before.as_bytes()).registries.mirrors;
        let which = which.index(old.len());
        let removed = apply(before.as_bytes(), &[Edit::RemoveMirror(old[which].host.clone())]).unwrap();
        let new = meaning(&removed).registries.mirrors;
        let kept: Vec<_> = old.iter().enumerate().filter(|(index, _)| *index != which).map(|(_, mirror)| shown(mirror)).collect();
        prop_assert_eq!(new.iter().map(shown).collect::<Vec<_>>(), kept);
        let text = String::from_utf8(removed).unwrap();
        prop_assert!(old.len() == 1 || only_lines_were_added(&text, &before), "{}", text);
        let off = |text: &str| text.matches("off.example").count();
        prop_assert_eq!(off(&text), off(&before), "an entry that is commented out went along:\n{}", text);
        let blank = |text: &str| text.contains("\n\n\n") || text.contains("\n\r\n\r\n");
        prop_assert!(!blank(&text), "two blank lines meet:\n{}", text);
    }

    #[test]
    fn changing_one_mirror_changes_no_other(habits in habits(), which in any::<proptest::sample::Index>(), port in 7000..8000_u16) {
        let before = habits.text();
        let old = meaning(before.as_bytes()).registries.mirrors;
        let mirrors: Vec<_> = old.iter().filter(|mirror| mirror.upstream.is_some()).collect();
        prop_assume!(!mirrors.is_empty());
        let changed = mirrors[which.index(mirrors.len())].host.clone();
        let edit = Edit::SetMirror { host: changed.clone(), changes: vec![MirrorChange::Set(MirrorField::Port(port))] };
        let after = apply(before.as_bytes(), &[edit]).unwrap();
        for (old, new) in old.iter().zip(&meaning(&after).registries.mirrors) {
            if new.host == changed {
                prop_assert_eq!(new.port, Some(port));
            } else {
                prop_assert_eq!(shown(old), shown(new));
            }
        }
        let text = std::str::from_utf8(&after).unwrap();
        let differing = before.lines().zip(text.lines()).filter(|(old, new)| old != new).count();
        let inserted = text.matches('\n').count() - before.matches('\n').count();
        prop_assert!(inserted == 1 || (inserted == 0 && differing == 1), "{} {}", inserted, differing);
    }

    #[test]
    fn the_state_goes_there_and_back(habits in habits()) {
        let before = habits.text();
        let absent = apply(before.as_bytes(), &[Edit::SetState(State::Absent)]).unwrap();
        prop_assert_eq!(meaning(&absent).state, State::Absent);
        prop_assert!(only_lines_were_added(&before, std::str::from_utf8(&absent).unwrap()));
        let present = apply(&absent, &[Edit::SetState(State::Present)]).unwrap();
        prop_assert_eq!(meaning(&present).state, State::Present);
    }
}
