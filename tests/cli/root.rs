//! `sudo ksail`: a root with the variables of the user who became it. (Where the tests do not run as root there is no other
//! user to be.)

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A user that need not be in any list of users.
const USER: u32 = 4242;
const CLUSTER: &str = "of-a-user-and-root";

/// A user's home and runtime directory, and their manifest.
struct User {
    base: TempDir,
}

impl User {
    fn new() -> Self {
        let user = Self { base: TempDir::new().expect("a temporary directory") };
        fs::set_permissions(user.base.path(), fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        // Wherever this was built, others may not be let in there.
        fs::copy(env!("CARGO_BIN_EXE_ksail"), user.program()).expect("the program can be copied");
        for directory in ["home", "run"] {
            fs::create_dir(user.path(directory)).expect("it can be made");
            chown(user.path(directory), Some(USER), Some(USER)).expect("it can be given away");
        }
        let text =
            format!("apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {CLUSTER}}}\nspec: {{}}\n");
        fs::write(user.path("home/ksail.yaml"), text).expect("it can be written");
        user
    }

    fn path(&self, below: &str) -> PathBuf {
        self.base.path().join(below)
    }

    fn program(&self) -> PathBuf {
        self.path("ksail")
    }

    /// What `apply` says to somebody with the user's variables: its engine is not there, which it finds out when it has the
    /// record.
    fn apply(&self, id: u32, runtime: Option<&str>) -> String {
        let mut command = Command::new(self.program());
        command.args(["apply", "--host", "unix:///nonexistent.sock"]).current_dir(self.path("home")).env_clear();
        command.env("HOME", self.path("home")).uid(id).gid(id);
        if let Some(runtime) = runtime {
            command.env("XDG_RUNTIME_DIR", self.path(runtime));
        }
        String::from_utf8(command.output().expect("it runs").stderr).expect("it is text")
    }
}

fn records(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of_cluster = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(CLUSTER));
    of_cluster.map(|entry| entry.path()).collect()
}

fn forget(directory: &Path) {
    for record in records(directory) {
        fs::remove_file(record).expect("it can be removed");
    }
}

#[test]
fn a_run_as_root_with_the_users_variables_leaves_the_user_their_lock_and_their_record() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (runtime, place) in [(Some("run"), "run/ksail"), (None, "home/.local/state/ksail")] {
        let user = User::new();
        let said = user.apply(0, runtime);
        assert!(said.contains("cannot reach the engine"), "{said}");
        assert!(!user.path(place).exists() && !user.path("home/.local").exists(), "root left something with the user");
        let of_root = Path::new("/run/ksail");
        assert_eq!(records(of_root).len(), 1, "root has a record of its own");
        forget(of_root);
        let said = user.apply(USER, runtime);
        assert!(said.contains("cannot reach the engine"), "{said}");
        assert_eq!(records(&user.path(place)).len(), 1);
        assert_eq!(fs::metadata(user.path(place)).expect("it is there").uid(), USER);
        // And again, when the user's is there already.
        let said = user.apply(0, runtime);
        assert!(said.contains("cannot reach the engine"), "{said}");
        let said = user.apply(USER, runtime);
        assert!(said.contains("cannot reach the engine"), "{said}");
        forget(of_root);
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_with_what_to_set() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let user = User::new();
    fs::set_permissions(user.path("run"), fs::Permissions::from_mode(0o777)).expect("its mode can be set");
    let said = user.apply(USER, Some("run"));
    assert!(said.contains("chmod go-w") && said.contains("set XDG_RUNTIME_DIR"), "{said}");
    assert!(!user.path("run/ksail").exists());
    // What it says to do helps.
    fs::set_permissions(user.path("run"), fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    let said = user.apply(USER, Some("run"));
    assert!(said.contains("cannot reach the engine"), "{said}");
}
