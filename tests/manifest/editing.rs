//! What an edit refuses, and how it writes.

use std::fs;
use std::path::Path;

use ksail::manifest::{
    Edit, EditError, Edited, Host, MirrorChange, MirrorEntry, MirrorField, MirrorFieldName, State, apply, edit_file,
};

use super::{load, with_mirrors};

const HUB: &str = "    - host: docker.io\n      upstream: https://registry-1.docker.io\n      port: 5001\n";

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn mirror(name: &str) -> MirrorEntry {
    MirrorEntry { host: host(name), fields: vec![MirrorField::Upstream(format!("https://{name}"))] }
}

fn refusal(text: &str, edit: Edit) -> String {
    apply(text.as_bytes(), &[edit]).unwrap_err().to_string()
}

#[test]
fn a_manifest_with_problems_is_not_edited() {
    let text = with_mirrors(HUB).replace("5001", "0");
    insta::assert_snapshot!(refusal(&text, Edit::SetState(State::Absent)), @r#"
    the manifest has to be right before it can be edited
    error: 0 is not a port
      --> ksail.yaml:10:13
       |
    10 |       port: 0
       |             ^
       |
       = help: ports are 1 to 65535; leave the field out for a free one
    "#);
}

#[test]
fn an_unset_variable_is_no_reason_not_to_edit() {
    let text = with_mirrors(&format!(
        "{HUB}      credentials: {{username: '${{NOBODY_SETS_THIS}}', password: '${{NOR_THIS}}'}}\n"
    ));
    apply(text.as_bytes(), &[Edit::SetState(State::Absent)]).unwrap();
}

#[test]
fn a_mirror_that_is_there_with_other_settings_is_not_added() {
    insta::assert_snapshot!(refusal(&with_mirrors(HUB), Edit::AddMirror(mirror("docker.io"))), @"there is a mirror of docker.io already; change it with 'ksail mirror set docker.io'");
}

#[test]
fn the_same_mirror_again_changes_nothing() {
    let text = with_mirrors(HUB);
    let same = MirrorEntry::mirror(host("docker.io"), &"https://registry-1.docker.io".parse().unwrap())
        .with(MirrorField::Port(5001));
    assert_eq!(apply(text.as_bytes(), &[Edit::AddMirror(same)]).unwrap(), text.as_bytes());
}

#[test]
fn a_mirror_that_is_not_there_is_not_removed_or_changed() {
    insta::assert_snapshot!(refusal(&with_mirrors(HUB), Edit::RemoveMirror(host("ghcr.io"))), @"there is no mirror of ghcr.io; there are docker.io");
    insta::assert_snapshot!(refusal(&with_mirrors("      []\n"), Edit::SetMirror { host: host("ghcr.io"), changes: vec![] }), @"there is no mirror of ghcr.io; the list is empty");
}

#[test]
fn an_edit_that_breaks_a_rule_is_explained_on_the_text_it_would_give() {
    insta::assert_snapshot!(refusal(&with_mirrors(HUB), Edit::AddMirror(mirror("ghcr.io").with(MirrorField::Port(5001)))), @r#"
    with this change the manifest would be wrong
    error: port 5001 is taken by 'docker.io'
      --> ksail.yaml:13:13
       |
    10 |       port: 5001
       |             ---- first here
    ...
    13 |       port: 5001
       |             ^^^^
       |
       = help: 5002 is the next one that no mirror has
    "#);
}

#[test]
fn a_literal_password_is_not_written_and_not_shown() {
    let credentials = MirrorField::Credentials { username: "ann".to_owned(), password: "hunter2".to_owned() };
    let message = refusal(&with_mirrors(HUB), Edit::AddMirror(mirror("ghcr.io").with(credentials)));
    assert!(!message.contains("hunter2"), "{message}");
    insta::assert_snapshot!(message, @r#"
    with this change the manifest would be wrong
    error: the password is not a reference to a variable
      --> ksail.yaml:15:19
       |
    15 |         password: *******
       |                   ^^^^^^^
       |
       = help: write ${NAME} or ${NAME:-default}, and put the password into the environment
    "#);
}

#[test]
fn a_push_registry_cannot_lose_what_it_never_had() {
    let edit =
        Edit::SetMirror { host: host("docker.io"), changes: vec![MirrorChange::Unset(MirrorFieldName::Upstream)] };
    insta::assert_snapshot!(refusal(&with_mirrors(HUB), edit), @r#"
    with this change the manifest would be wrong
    error: 'docker.io' is a public registry, and this mirror of it has no 'upstream'
     --> ksail.yaml:8:13
      |
    8 |     - host: docker.io
      |             ^^^^^^^^^
      |
      = help: add 'upstream: https://registry-1.docker.io', or write 'host: localhost:5000' for a registry to push to
    "#);
}

#[test]
fn a_file_that_cannot_be_edited_safely_gets_a_snippet() {
    let text = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  options: &list []\n  registries: {mirrors: *list}\n";
    let entry = mirror("ghcr.io").with(MirrorField::Port(5002));
    insta::assert_snapshot!(refusal(text, Edit::AddMirror(entry)), @r#"
    the file is written in a way that ksail does not edit: an alias stands there
    change it by hand; it should then say

    spec:
      registries:
        mirrors:
          - host: ghcr.io
            upstream: https://ghcr.io
            port: 5002
    "#);
}

#[test]
fn what_an_alias_needs_is_not_removed() {
    let text = with_mirrors(
        "    - host: docker.io\n      upstream: &up https://registry-1.docker.io\n    - host: ghcr.io\n      upstream: *up\n",
    );
    insta::assert_snapshot!(refusal(&text, Edit::RemoveMirror(host("docker.io"))), @r#"
    the file is written in a way that ksail does not edit: an alias elsewhere uses what would go away
    change it by hand; it should then say

    spec:
      registries:
        mirrors:      # without the entry of docker.io
    "#);
}

#[test]
fn several_edits_are_one() {
    let edits =
        [Edit::SetState(State::Absent), Edit::AddMirror(mirror("ghcr.io")), Edit::RemoveMirror(host("docker.io"))];
    let after = apply(with_mirrors(HUB).as_bytes(), &edits).unwrap();
    insta::assert_snapshot!(String::from_utf8(after).unwrap(), @r#"
    apiVersion: ksail.dev/v1alpha1
    kind: Cluster
    metadata:
      name: dev
    spec:
      state: Absent
      registries:
        mirrors:
        - host: ghcr.io
          upstream: https://ghcr.io
    "#);
}

#[test]
fn one_bad_edit_of_several_changes_nothing() {
    let edits = [Edit::SetState(State::Absent), Edit::RemoveMirror(host("ghcr.io"))];
    assert!(matches!(apply(with_mirrors(HUB).as_bytes(), &edits), Err(EditError::NoSuchMirror { .. })));
}

#[test]
fn upstream_and_credentials_change_in_one_edit() {
    let changes = vec![
        MirrorChange::Set(MirrorField::Upstream("https://${HUB:-registry-1.docker.io}".to_owned())),
        MirrorChange::Set(MirrorField::Credentials { username: "${U}".to_owned(), password: "${P}".to_owned() }),
        MirrorChange::Unset(MirrorFieldName::Port),
    ];
    let after = apply(with_mirrors(HUB).as_bytes(), &[Edit::SetMirror { host: host("docker.io"), changes }]).unwrap();
    insta::assert_snapshot!(String::from_utf8(after).unwrap(), @r#"
    apiVersion: ksail.dev/v1alpha1
    kind: Cluster
    metadata:
      name: dev
    spec:
      registries:
        mirrors:
        - host: docker.io
          upstream: https://${HUB:-registry-1.docker.io}
          credentials:
            username: ${U}
            password: ${P}
    "#);
}

struct OnDisk {
    directory: tempfile::TempDir,
}

impl OnDisk {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ksail.yaml"), text).unwrap();
        Self { directory }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("ksail.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.directory.path()).unwrap().count()
    }
}

#[test]
fn an_edit_reaches_the_disk_and_leaves_no_other_file() {
    let disk = OnDisk::new(&with_mirrors(HUB));
    assert_eq!(edit_file(&disk.path(), &[Edit::AddMirror(mirror("ghcr.io"))]).unwrap(), Edited::Changed);
    assert_eq!(load(disk.text()).unwrap().registries.mirrors.len(), 2);
    assert_eq!(disk.files(), 1);
}

#[cfg(unix)]
#[test]
fn an_edit_that_changes_nothing_does_not_write() {
    use std::os::unix::fs::MetadataExt as _;
    let disk = OnDisk::new(&with_mirrors(HUB));
    let inode = fs::metadata(disk.path()).unwrap().ino();
    assert_eq!(edit_file(&disk.path(), &[Edit::SetState(State::Present)]).unwrap(), Edited::Unchanged);
    assert_eq!(fs::metadata(disk.path()).unwrap().ino(), inode);
}

#[cfg(unix)]
#[test]
fn the_mode_of_the_file_stays() {
    use std::os::unix::fs::PermissionsExt as _;
    let disk = OnDisk::new(&with_mirrors(HUB));
    for mode in [0o600, 0o644, 0o664] {
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(mode)).unwrap();
        edit_file(&disk.path(), &[Edit::AddMirror(mirror(&format!("r{mode}.example.com")))]).unwrap();
        assert_eq!(fs::metadata(disk.path()).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_stays_one_and_its_file_is_edited() {
    let disk = OnDisk::new(&with_mirrors(HUB));
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("ksail.yaml");
    std::os::unix::fs::symlink(disk.path(), &link).unwrap();
    edit_file(&link, &[Edit::SetState(State::Absent)]).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(disk.text().contains("state: Absent"));
}

#[test]
fn edits_at_the_same_time_are_all_there_afterwards() {
    let disk = OnDisk::new(&with_mirrors(HUB));
    let path = disk.path();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for part in ["a", "b"] {
                    let name = format!("{part}{number}.example.com");
                    edit_file(path, &[Edit::AddMirror(mirror(&name))]).unwrap();
                }
            });
        }
    });
    assert_eq!(load(disk.text()).unwrap().registries.mirrors.len(), 17);
}

#[test]
fn a_write_protected_file_is_refused_and_untouched() {
    let disk = OnDisk::new(&with_mirrors(HUB));
    let mut permissions = fs::metadata(disk.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(disk.path(), permissions).unwrap();
    let error = edit_file(&disk.path(), &[Edit::SetState(State::Absent)]).unwrap_err();
    let message = error.to_string().replace(disk.directory.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(message, @"DIR/ksail.yaml cannot be written (look at the permissions of the file and of its directory); it is unchanged");
    assert_eq!(disk.text(), with_mirrors(HUB));
    assert_eq!(disk.files(), 1);
}

#[test]
fn a_missing_file_is_an_error_of_reading() {
    let error = edit_file(Path::new("no/such/ksail.yaml"), &[Edit::SetState(State::Absent)]).unwrap_err();
    insta::assert_snapshot!(error, @"no/such/ksail.yaml cannot be read");
}

#[test]
fn the_error_of_a_full_disk_says_what_to_do() {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = EditError::Write { path: "ksail.yaml".into(), source };
    insta::assert_snapshot!(error, @"ksail.yaml cannot be written (the disk is full: make room and try again); it is unchanged");
}
