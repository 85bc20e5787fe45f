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
use crate::probe::{Login, REFUSED_FOR, Refusals, TOLD_AT_MOST};

const NAME: &str = "refused-credentials.json";
/// More than anybody has upstreams; the oldest go first.
const AT_MOST: usize = 1_000;

/// A file of this user's: digests of logins with a key of its own, so that no digest elsewhere is the like.
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
    /// When each was told, as long as it is not known what the upstream thinks of it.
    #[serde(default)]
    told: BTreeMap<String, Vec<Timestamp>>,
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

    fn remember<T>(&self, change: impl FnOnce(&mut Known) -> (T, bool)) -> Option<T> {
        let remembered = self.with(change);
        if let Err(error) = &remembered {
            tracing::debug!(target: "ksail::upstreams", %error, "cannot be remembered");
        }
        remembered.ok()
    }
}

impl Known {
    fn digest(&self, login: &Login) -> String {
        of_parts([self.key.as_bytes(), login.as_str().as_bytes()])
    }

    /// Makes room, and the key where there is none yet.
    fn renew(&mut self, now: Timestamp) -> Option<()> {
        if self.key.is_empty() {
            self.key = random()?;
        }
        self.at.retain(|_, at| is_recent(*at, now));
        self.told.retain(|_, times| {
            times.retain(|at| is_recent(*at, now));
            !times.is_empty()
        });
        Some(())
    }

    /// Whether it may be told, and that it is.
    fn begin(&mut self, login: &Login, now: Timestamp) -> Option<bool> {
        self.renew(now)?;
        let digest = self.digest(login);
        while self.told.len() >= AT_MOST && !self.told.contains_key(&digest) {
            self.told.pop_first();
        }
        let times = self.told.entry(digest).or_default();
        let may_be_told = times.len() < TOLD_AT_MOST;
        if may_be_told {
            times.push(now);
        }
        Some(may_be_told)
    }

    fn note(&mut self, login: &Login, now: Timestamp) -> Option<()> {
        self.renew(now)?;
        while self.at.len() >= AT_MOST {
            let oldest = self.at.iter().min_by_key(|(_, at)| **at).map(|(digest, _)| digest.clone())?;
            self.at.remove(&oldest);
        }
        self.at.insert(self.digest(login), now);
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
    fn refused_at(&self, login: &Login) -> Option<Timestamp> {
        // Whoever only asks makes no file.
        std::fs::exists(self.directory.join(NAME)).ok().filter(|exists| *exists)?;
        let now = Timestamp::now();
        self.with(|known| (known.at.get(&known.digest(login)).copied(), false))
            .ok()
            .flatten()
            .filter(|at| is_recent(*at, now))
    }

    fn note(&self, login: &Login) {
        self.remember(|known| ((), known.note(login, Timestamp::now()).is_some()));
    }

    fn begin(&self, login: &Login) -> bool {
        let begun = self.remember(|known| {
            let may_be_told = known.begin(login, Timestamp::now());
            (may_be_told, may_be_told == Some(true))
        });
        begun.flatten().unwrap_or(true)
    }

    fn end(&self, login: &Login) {
        self.remember(|known| {
            let digest = known.digest(login);
            ((), known.told.remove(&digest).is_some())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Route;
    use crate::manifest::Credentials;

    fn login(password: &str) -> Login {
        let credentials = Some(Credentials { username: "some-user".into(), password: password.into() });
        Login::of(&Route { upstream: "https://a.test".parse().unwrap(), proxy: None, ca: None, credentials }).unwrap()
    }

    #[test]
    fn what_was_refused_is_known_to_the_next_process_and_nothing_of_it_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("ksail");
        let refused = || Refused::in_directory(&own);
        assert_eq!(refused().refused_at(&login("hunter2")), None);
        assert!(!own.exists());
        refused().note(&login("hunter2"));
        assert!(refused().refused_at(&login("hunter2")).is_some());
        assert_eq!(refused().refused_at(&login("other")), None);
        let text = std::fs::read_to_string(own.join(NAME)).unwrap();
        let key = login("hunter2");
        let secrets = ["hunter2", "some-user", "a.test", key.as_str()];
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(own.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_told_without_an_answer_is_told_twice_in_an_hour_by_all_processes_together() {
        let directory = tempfile::tempdir().unwrap();
        let refused = || Refused::in_directory(directory.path());
        assert!(refused().begin(&login("a")) && refused().begin(&login("a")));
        assert!(!refused().begin(&login("a")) && refused().begin(&login("b")));
        refused().end(&login("a"));
        assert!(refused().begin(&login("a")));
        let (mut known, start) = (Known::default(), Timestamp::UNIX_EPOCH);
        let later = start.checked_add(REFUSED_FOR).unwrap();
        let begun = [start, start, start, later].map(|at| known.begin(&login("a"), at));
        assert_eq!(begun, [true, true, false, true].map(Some));
    }

    #[test]
    fn a_refusal_is_forgotten_after_an_hour_and_a_file_that_is_none_is_written_anew() {
        let mut known = Known::default();
        let start = Timestamp::UNIX_EPOCH;
        let later = start.checked_add(REFUSED_FOR).unwrap();
        known.note(&login("a"), start).unwrap();
        let digest = known.digest(&login("a"));
        assert!(is_recent(known.at[&digest], start) && !is_recent(known.at[&digest], later));
        assert!(!is_recent(later, start), "a clock that was wrong");
        known.note(&login("b"), later).unwrap();
        assert_eq!(known.at.len(), 1);
        for n in 0..=AT_MOST {
            known.note(&login(&n.to_string()), later).unwrap();
        }
        assert_eq!(known.at.len(), AT_MOST);

        let directory = tempfile::tempdir().unwrap();
        let refused = Refused::in_directory(directory.path());
        refused.note(&login("a"));
        std::fs::write(directory.path().join(NAME), "{\"key\": \"x").unwrap();
        assert_eq!(refused.refused_at(&login("a")), None);
        refused.note(&login("a"));
        assert!(refused.refused_at(&login("a")).is_some());
    }
}
