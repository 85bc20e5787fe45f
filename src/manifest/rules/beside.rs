//! Files beside the manifest.

use std::io;
use std::path::Path;

use super::{Beside, Node, Problem, Rules};
use crate::limit::FILE;
use crate::manifest::find::shown;

impl Rules<'_> {
    /// What a file holds that the manifest names. What is wrong with it is nothing that an edit of the manifest mends.
    pub(super) fn read_beside(&mut self, at: Option<&Node>, path: &str) -> Option<Vec<u8>> {
        if path.is_empty() {
            self.report(at, Problem::new("the path is empty").hint("name a file, or leave the field out"));
            return None;
        }
        if self.beside == Beside::Left {
            return None;
        }
        let file = self.directory.join(path);
        FILE.read_file(&file).map_err(|error| self.report(at, unreadable(path, &file, &error))).ok()
    }
}

fn unreadable(path: &str, file: &Path, error: &io::Error) -> Problem {
    let shown = shown(file);
    let problem = match error.kind() {
        io::ErrorKind::NotFound if path.starts_with("~/") => Problem::new(format!("there is no file {shown}"))
            .hint("'~' is not filled in: write an absolute path, or one relative to this file"),
        io::ErrorKind::NotFound => {
            Problem::new(format!("there is no file {shown}")).hint("paths are relative to the directory of this file")
        }
        io::ErrorKind::PermissionDenied => {
            Problem::new(format!("{shown} may not be read by this user")).hint("look at its permissions")
        }
        io::ErrorKind::IsADirectory => Problem::new(format!("{shown} is a directory")).hint("name the file in it"),
        _ => Problem::new(format!("{shown} cannot be read: {error}")),
    };
    problem.of_environment()
}
