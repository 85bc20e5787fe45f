//! Remembers from process to process which credentials were refused, and of them no more than that.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::crypto::ring;
use serde::{Deserialize, Serialize};

use super::private::{Private, make};
use crate::digest::of_parts;
use crate::limit::FILE;
use crate::probe::{REFUSED_FOR, Refusals, RouteKey};

const NAME: &str = "refused-credentials.json";
/// More than anybody has upstreams; the oldest go first.
const AT_MOST: usize = 1_000;

/// A file of this user's: digests of routes with a key of its own, so that no digest elsewhere is the like.
#[derive(Debug, Clone)]
pub struct Refused {
    directory: PathBuf,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    key: String,
    /// When each was refused.
    at: BTreeMap<String, Timestamp>,
}

impl Refused {
    /// In ksail's private directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Reads the file, has it changed, and writes it where something has.
    fn with<T>(&self, change: impl FnOnce(&mut Known) -> (T, bool)) -> io::Result<T> {
        make(&self.directory)?;
        let mut file = Private::open(&self.directory.join(NAME))?;
        file.lock()?;
        // What was half written by a process that was killed is forgotten.
        let mut known: Known = serde_json::from_slice(&FILE.read(&file)?).unwrap_or_default();
        let (result, is_changed) = change(&mut known);
        if is_changed {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&serde_json::to_vec(&known)?)?;
        }
        Ok(result)
    }
}

impl Known {
    fn digest(&self, route: &RouteKey) -> String {
        of_parts([self.key.as_bytes(), route.as_str().as_bytes()])
    }

    fn note(&mut self, route: &RouteKey, now: Timestamp) -> Option<()> {
        if self.key.is_empty() {
            self.key = random()?;
        }
        self.at.retain(|_, at| is_recent(*at, now));
        while self.at.len() >= AT_MOST {
            let oldest = self.at.iter().min_by_key(|(_, at)| **at).map(|(digest, _)| digest.clone())?;
            self.at.remove(&oldest);
        }
        self.at.insert(self.digest(route), now);
        Some(())
    }
}

/// Not in the future either: a clock that was wrong forbids nothing.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.duration_since(at).unsigned_abs() < REFUSED_FOR
}

fn random() -> Option<String> {
    let mut key = [0; 32];
    ring::default_provider().secure_random.fill(&mut key).ok()?;
    Some(of_parts([key.as_slice()]))
}

/// Where it cannot be written nothing is remembered, which is no reason to do nothing.
impl Refusals for Refused {
    fn refused_at(&self, route: &RouteKey) -> Option<Timestamp> {
        // Whoever only asks makes no file.
        std::fs::exists(self.directory.join(NAME)).ok().filter(|exists| *exists)?;
        let now = Timestamp::now();
        self.with(|known| (known.at.get(&known.digest(route)).copied(), false))
            .ok()
            .flatten()
            .filter(|at| is_recent(*at, now))
    }

    fn note(&self, route: &RouteKey) {
        let noted = self.with(|known| ((), known.note(route, Timestamp::now()).is_some()));
        if let Err(error) = noted {
            tracing::debug!(target: "ksail::upstreams", %error, "cannot be remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Route;
    use crate::manifest::Credentials;

    fn route(password: &str) -> RouteKey {
        let credentials = Some(Credentials { username: "some-user".into(), password: password.into() });
        RouteKey::of(&Route { upstream: "https://a.test".parse().unwrap(), proxy: None, ca: None, credentials })
    }

    #[test]
    fn what_was_refused_is_known_to_the_next_process_and_nothing_of_it_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("ksail");
        let refused = || Refused::in_directory(&own);
        assert_eq!(refused().refused_at(&route("hunter2")), None);
        assert!(!own.exists());
        refused().note(&route("hunter2"));
        assert!(refused().refused_at(&route("hunter2")).is_some());
        assert_eq!(refused().refused_at(&route("other")), None);
        let text = std::fs::read_to_string(own.join(NAME)).unwrap();
        let key = route("hunter2");
        let secrets = ["hunter2", "some-user", "a.test", key.as_str()];
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(own.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_refusal_is_forgotten_after_an_hour_and_a_file_that_is_none_is_written_anew() {
        let mut known = Known::default();
        let start = Timestamp::UNIX_EPOCH;
        let later = start.checked_add(REFUSED_FOR).unwrap();
        known.note(&route("a"), start).unwrap();
        let digest = known.digest(&route("a"));
        assert!(is_recent(known.at[&digest], start) && !is_recent(known.at[&digest], later));
        assert!(!is_recent(later, start), "a clock that was wrong");
        known.note(&route("b"), later).unwrap();
        assert_eq!(known.at.len(), 1);
        for n in 0..=AT_MOST {
            known.note(&route(&n.to_string()), later).unwrap();
        }
        assert_eq!(known.at.len(), AT_MOST);

        let directory = tempfile::tempdir().unwrap();
        let refused = Refused::in_directory(directory.path());
        refused.note(&route("a"));
        std::fs::write(directory.path().join(NAME), "{\"key\": \"x").unwrap();
        assert_eq!(refused.refused_at(&route("a")), None);
        refused.note(&route("a"));
        assert!(refused.refused_at(&route("a")).is_some());
    }
}
