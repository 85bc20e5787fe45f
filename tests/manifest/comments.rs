//! Which comments go with an entry that is removed, to the byte.

use ksail::manifest::{Edit, MirrorChange, MirrorEntry, MirrorField, MirrorFieldName, apply};

const HEAD: &str =
    "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  registries:\n    mirrors:";
const HUB: &str = "      - host: docker.io\n        upstream: https://registry-1.docker.io\n";
const GHCR: &str = "      - host: ghcr.io\n        upstream: https://ghcr.io\n";
/// What `ksail cluster init` begins the list with.
const HEADING: &str = "      # Pull-through caches: what images are called, where they come from, the port here.\n";

fn edited(list: &str, edits: &[Edit]) -> String {
    let after = apply(format!("{HEAD}{list}").as_bytes(), edits).unwrap_or_else(|error| panic!("{list}\n{error}"));
    let after = String::from_utf8(after).unwrap();
    after.strip_prefix(HEAD).unwrap_or_else(|| panic!("{after}")).to_owned()
}

fn remove(host: &str) -> Edit {
    Edit::RemoveMirror(host.parse().unwrap())
}

/// Removing `host` from the first list gives the second, with either line end, with and without a last newline.
#[track_caller]
fn removing(host: &str, before: &str, after: &str) {
    assert_eq!(edited(before, &[remove(host)]), after);
    let crlf = |text: &str| format!("{HEAD}{text}").replace('\n', "\r\n");
    let removed = apply(crlf(before).as_bytes(), &[remove(host)]).unwrap();
    assert_eq!(String::from_utf8(removed).unwrap(), crlf(after));
    let cut = |text: &str| text.trim_end_matches('\n').to_owned();
    assert_eq!(edited(&cut(before), &[remove(host)]), cut(after), "without a last newline");
    adding_and_removing(before);
    adding_and_removing(after);
}

#[track_caller]
fn adding_and_removing(list: &str) {
    let entry = MirrorEntry {
        host: "quay.example".parse().unwrap(),
        fields: vec![MirrorField::Upstream("https://quay.example".to_owned())],
    };
    let added = edited(list, &[Edit::AddMirror(entry)]);
    assert_eq!(edited(&added, &[remove("quay.example")]), list, "after adding:\n{added}");
}

#[test]
fn words_directly_above_an_entry_go_with_it() {
    let words = "      # The hub.\n      #\n      # - slow at night\n";
    removing("docker.io", &format!("\n{words}{HUB}{GHCR}"), &format!("\n{GHCR}"));
    removing("docker.io", &format!("\n{GHCR}{words}{HUB}"), &format!("\n{GHCR}"));
}

#[test]
fn words_with_a_blank_line_below_them_stay() {
    removing(
        "docker.io",
        &format!("\n      # All of them.\n\n{HUB}{GHCR}"),
        &format!("\n      # All of them.\n\n{GHCR}"),
    );
}

#[test]
fn words_in_another_column_stay() {
    for words in ["# Ours\n", "    # Ours\n"] {
        removing("docker.io", &format!("\n{GHCR}{words}{HUB}"), &format!("\n{GHCR}{words}"));
        removing("docker.io", &format!("\n{words}{HUB}{GHCR}"), &format!("\n{words}{GHCR}"));
    }
    let last = "        # the last word on GitHub\n";
    removing("docker.io", &format!("\n{GHCR}{last}{HUB}"), &format!("\n{GHCR}{last}"));
}

#[test]
fn an_entry_commented_out_above_or_below_stays() {
    for taken_out in [
        "      # - host: quay.io\n      #   upstream: https://quay.io\n",
        "      #- host: quay.io\n      #  upstream: https://quay.io\n",
        "#      - host: quay.io\n#        upstream: https://quay.io\n",
        "      # -   host: quay.io\n      #     credentials:\n      #       username: ${U}\n",
        "      # for later:\n      # - {host: quay.io, upstream: https://quay.io}\n",
        "      # -\n      #   # mine\n      #   host: quay.io\n",
    ] {
        removing("docker.io", &format!("\n{taken_out}{HUB}{GHCR}"), &format!("\n{taken_out}{GHCR}"));
        removing("docker.io", &format!("\n{GHCR}{taken_out}{HUB}"), &format!("\n{GHCR}{taken_out}"));
        removing("docker.io", &format!("\n{HUB}{taken_out}{GHCR}"), &format!("\n{taken_out}{GHCR}"));
        removing("docker.io", &format!("\n{GHCR}{HUB}{taken_out}"), &format!("\n{GHCR}{taken_out}"));
        let words = "      # The hub.\n";
        removing("docker.io", &format!("\n{taken_out}{words}{HUB}{GHCR}"), &format!("\n{taken_out}{GHCR}"));
    }
}

#[test]
fn an_entry_commented_out_deeper_than_the_dash_stays_and_a_field_goes_with_its_entry() {
    let hub = "    - host: docker.io\n      upstream: https://registry-1.docker.io\n";
    let ghcr = "    - host: ghcr.io\n      upstream: https://ghcr.io\n";
    let taken_out = "      # - host: quay.io\n      #   upstream: https://quay.io\n";
    removing("docker.io", &format!("\n{hub}{taken_out}{ghcr}"), &format!("\n{taken_out}{ghcr}"));
    removing("docker.io", &format!("\n{hub}      # port: 5001\n{ghcr}"), &format!("\n{ghcr}"));
}

#[test]
fn an_entry_commented_out_in_the_middle_of_another_stays() {
    let before = "\n      - host: docker.io\n      # - host: quay.io\n        upstream: https://registry-1.docker.io\n"
        .to_owned();
    removing("docker.io", &(before + GHCR), &format!("\n      # - host: quay.io\n{GHCR}"));
}

#[test]
fn the_heading_of_init_stays_when_the_first_entry_or_the_only_one_goes() {
    removing("docker.io", &format!("\n{HEADING}{HUB}{GHCR}"), &format!("\n{HEADING}{GHCR}"));
    removing("docker.io", &format!("\n{HEADING}      # The hub.\n{HUB}{GHCR}"), &format!("\n{HEADING}{GHCR}"));
    removing("docker.io", &format!("\n{HEADING}{HUB}"), &format!(" []\n{HEADING}"));
    assert_eq!(edited(&format!(" []\n{HEADING}"), &[add_ghcr()]), format!("\n{HEADING}{GHCR}"));
}

fn add_ghcr() -> Edit {
    let upstream = MirrorField::Upstream("https://ghcr.io".to_owned());
    Edit::AddMirror(MirrorEntry { host: "ghcr.io".parse().unwrap(), fields: vec![upstream] })
}

#[test]
fn the_only_entry_goes_with_its_words_and_nothing_below_it() {
    let below = "      # - host: quay.io\n    # The end of the list.\n    image: registry:3\n";
    removing("docker.io", &format!("\n      # The hub.\n{HUB}{below}"), &format!(" []\n{below}"));
    removing("docker.io", &format!(" # ours\n{HUB}"), " [] # ours\n");
}

#[test]
fn what_stands_below_the_last_entry_stays() {
    for below in ["      # The end.\n", "    # The end.\n# The end.\n", "\n      # The end.\n"] {
        removing("docker.io", &format!("\n{GHCR}{HUB}{below}"), &format!("\n{GHCR}{below}"));
    }
}

#[test]
fn in_brackets_an_entry_that_is_commented_out_stays_too() {
    let hub = "{host: docker.io, upstream: \"https://registry-1.docker.io\"}";
    let ghcr = "{host: ghcr.io, upstream: \"https://ghcr.io\"}";
    let out = "# {host: quay.io, upstream: \"https://quay.io\"},";
    removing(
        "docker.io",
        &format!(" [\n      {out}\n      {hub},\n      {ghcr}\n    ]\n"),
        &format!(" [\n      {out}\n      {ghcr}\n    ]\n"),
    );
    removing(
        "docker.io",
        &format!(" [\n      # The hub.\n      {hub},\n      {ghcr}\n    ]\n"),
        &format!(" [\n      {ghcr}\n    ]\n"),
    );
    removing(
        "docker.io",
        &format!(" [{hub},\n      {out}\n      {ghcr}]\n"),
        &format!(" [\n      {out}\n      {ghcr}]\n"),
    );
    removing(
        "ghcr.io",
        &format!(" [{hub},\n      {out}\n      {ghcr}]\n"),
        &format!(" [{hub}\n      {out}\n      ]\n"),
    );
    removing("docker.io", &format!(" [{hub}, {ghcr}] # ours\n"), &format!(" [{ghcr}] # ours\n"));
}

#[test]
fn a_field_that_is_taken_out_leaves_one_that_is_commented_out() {
    let unset = Edit::SetMirror {
        host: "docker.io".parse().unwrap(),
        changes: vec![MirrorChange::Unset(MirrorFieldName::Port)],
    };
    let after = edited(&format!("\n{HUB}        # ttl: 24h\n        # Ours.\n        port: 5001\n{GHCR}"), &[unset]);
    assert_eq!(after, format!("\n{HUB}        # ttl: 24h\n{GHCR}"));
}
