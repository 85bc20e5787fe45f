//! One pull on a node, and whether it came through.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};

use super::proof::{Hop, Outcome};
use crate::desired::Mirror;
use crate::distribution::NodeLayout;
use crate::engine::{Container, Engine, EngineError, Exec, Executed, LogPart};
use crate::observed::Node;
use crate::probe::{Asked, FromHere};
use crate::reference::Reference;
use crate::registry::{self, Answers};

/// containerd's namespace for these pulls: nothing of them is left among the cluster's own images.
const NAMESPACE: &str = "ksail-verify";
/// The mirror's log is read from so long before the pull on: the engine's clock may be behind this machine's.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(2 * 60);
/// A registry writes of a request when it has answered it, and the engine takes it down later still.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// So often the log is read again until then.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What was pulled is removed again within this time, or left.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// What is to be pulled where, and through what.
#[derive(Debug)]
pub(super) struct Pull<'a, E> {
    pub(super) engine: &'a E,
    pub(super) probe: &'a FromHere,
    pub(super) layout: NodeLayout,
    pub(super) mirror: &'a Mirror,
    /// The mirror's container.
    pub(super) container: &'a Container,
    pub(super) node: &'a Node,
    /// What its containerd asks without a proxy.
    pub(super) no_proxy: Option<&'a str>,
    pub(super) image: &'a Reference,
    /// When all has to be known.
    pub(super) deadline: Instant,
}

impl<E: Engine> Pull<'_, E> {
    /// Pulls as the node would; whether it came through is what the mirror's log says.
    pub(super) async fn prove(&self) -> Result<(Outcome, Answers), EngineError> {
        let since = self.engine.now().checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
        let before = match self.answers(since).await {
            Err(error) if !error.is_unavailable() => {
                let message = format!("the log of {} cannot be read: {error}", self.container.name);
                return Ok((Outcome::NotTried { message }, Answers::default()));
            }
            before => before?,
        };
        let hosts = ["--hosts-dir", self.node.hosts_directory.as_str()];
        let pulled = self.fetch(&hosts, self.image).await?;
        let mut answers = self.answers(since).await?.without(&before);
        let until = Instant::now() + WRITTEN_WITHIN;
        while answers.is_empty() && matches!(pulled, Fetched::Done) && Instant::now() < until {
            sleep(LOOK_AGAIN).await;
            answers = self.answers(since).await?.without(&before);
        }
        let outcome = match pulled {
            Fetched::Done if answers.gave_all() => Outcome::Proven,
            Fetched::NoClient => self.no_client(),
            pulled => {
                let told = match answers.refused() {
                    Some(refused) if matches!(pulled, Fetched::Done) => {
                        format!("mirror answered {refused}; containerd went around it: ")
                    }
                    Some(refused) => format!("mirror answered {refused}: "),
                    None => String::new(),
                };
                self.look_into(&answers).await?.after(&told)
            }
        };
        Ok((outcome, answers))
    }

    /// Asks the mirror alone, so that what fails is the way to it. To the pull that was not proven it gave these `answers`.
    async fn look_into(&self, answers: &Answers) -> Result<Outcome, EngineError> {
        let Self { mirror, node, image, .. } = self;
        let address = format!("{}:{}", mirror.name, registry::PORT);
        Ok(match self.fetch(&["--plain-http"], &image.at(&address)).await? {
            Fetched::Done if answers.refused().is_some() => {
                Outcome::broken(Hop::Mirror, format!("it gave {image} when it was asked again; try again"))
            }
            Fetched::Done if answers.gave() => {
                let message = "the pull came through it, and did not end well in time; the next one does: try again, with a longer --timeout";
                Outcome::broken(Hop::Mirror, message)
            }
            Fetched::Done => {
                let message = format!(
                    "{} reaches the mirror, and its containerd goes around it; 'docker logs {}' may say more",
                    node.name, node.name
                );
                Outcome::broken(Hop::NodeFile, message)
            }
            Fetched::TooLate(limit) => self.behind(&format!("no answer within {} s", limit.as_secs())).await,
            Fetched::NoClient => self.no_client(),
            Fetched::Failed(words) => match hop_of(&words) {
                Some(hop) => Outcome::broken(hop, format!("{} cannot reach {address}: {words}", node.name)),
                None => self.behind(&words).await,
            },
        })
    }

    /// The mirror answered, and did not have the image to give.
    async fn behind(&self, words: &str) -> Outcome {
        let Self { mirror, image, .. } = self;
        let Some(route) = &mirror.route else {
            return Outcome::broken(Hop::Mirror, format!("it has no {image} ({words})"));
        };
        let upstream = &route.upstream;
        match self.probe.ask_upstream(route, image).await {
            Asked::Has => {
                let name = &mirror.name;
                // https://github.com/distribution/distribution/issues/3153
                let hint = match mirror.credentials {
                    Some(_) => {
                        "; registry 2 cannot log in where an upstream asks for a password at once, registry 3 can"
                    }
                    None => "",
                };
                let message = format!(
                    "{upstream} has {image} and the mirror does not give it ({words}); 'docker logs {name}' may say why{hint}"
                );
                Outcome::broken(Hop::Mirror, message)
            }
            Asked::HasNot => Outcome::broken(Hop::Upstream, format!("{upstream} has no {image}")),
            Asked::Unreachable(why) => Outcome::broken(
                Hop::Upstream,
                format!("{upstream} cannot be reached ({why}), and {image} is not cached"),
            ),
            Asked::Refused(why) => Outcome::broken(Hop::Credentials, format!("{upstream} {why}")),
        }
    }

    /// What the mirror answered the node since then when it was asked for the image. By time and not by lines: of a
    /// registry that is asked every moment whether it is there, the last two thousand lines are soon others.
    async fn answers(&self, since: Timestamp) -> Result<Answers, EngineError> {
        let log = self.engine.logs(&self.container.id, LogPart::Between(since, Timestamp::MAX)).await?;
        Ok(Answers::in_log(&log, &self.node.addresses, &self.image.repository))
    }

    /// Fetches an image into a namespace of its own on the node, and removes it there again. It takes half of the time
    /// that is left, so that what fails can be looked into.
    async fn fetch(&self, how: &[&str], image: &Reference) -> Result<Fetched, EngineError> {
        let image = image.to_string();
        let fetch = ["content", "fetch"].into_iter().chain(how.iter().copied()).chain([image.as_str()]);
        let limit = self.deadline.saturating_duration_since(Instant::now()) / 2;
        let fetched = match self.ctr(fetch, limit).await {
            Ok(done) if done.succeeded() => Fetched::Done,
            Ok(done) if done.is_missing_program() => return Ok(Fetched::NoClient),
            Ok(done) => Fetched::Failed(last_words(&done)),
            Err(EngineError::Timeout { .. }) => Fetched::TooLate(limit),
            Err(error) => return Err(error),
        };
        // What cannot be removed is in nobody's way.
        let _ = self.ctr(["images", "remove", "--sync", image.as_str()].into_iter(), REMOVED_WITHIN).await;
        let _ = self.ctr(["namespaces", "remove", NAMESPACE].into_iter(), REMOVED_WITHIN).await;
        Ok(fetched)
    }

    async fn ctr(&self, words: impl Iterator<Item = &str>, limit: Duration) -> Result<Executed, EngineError> {
        let no_proxy = self.no_proxy.map(|no_proxy| format!("NO_PROXY={no_proxy}"));
        let like_containerd = no_proxy.into_iter().flat_map(|no_proxy| ["env".to_owned(), no_proxy]);
        let ctr = ["ctr", "--address", self.layout.socket, "--namespace", NAMESPACE];
        let words = like_containerd.chain(ctr.into_iter().chain(words).map(str::to_owned));
        self.engine.exec(&self.node.id, &Exec::changing(words).within(limit)).await
    }

    fn no_client(&self) -> Outcome {
        Outcome::NotTried { message: format!("there is no 'ctr' on {}, which makes the pull", self.node.name) }
    }
}

/// How a fetch ended.
enum Fetched {
    Done,
    Failed(String),
    /// Not within this time.
    TooLate(Duration),
    NoClient,
}

/// The hop that words of containerd's client are about, if it is one on the way to the mirror.
fn hop_of(words: &str) -> Option<Hop> {
    let says = |all: &[&str]| all.iter().any(|part| words.contains(part));
    if says(&["no such host", "server misbehaving", "name resolution"]) {
        Some(Hop::Dns)
    } else if says(&[
        "connection refused",
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        "connection reset",
    ]) {
        Some(Hop::Connect)
    } else {
        None
    }
}

/// What `ctr` says last, without what it says before every error and every failed connection.
fn last_words(done: &Executed) -> String {
    let last = done.last_words();
    let last = last.strip_prefix("ctr: ").unwrap_or(last);
    last.split_once("dial tcp").map_or(last, |(_, rest)| rest.trim_start_matches([':', ' '])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_client_name_the_hop_to_the_mirror() {
        let dial = |end: &str| format!("failed to do request: Head \"http://x:5000/v2/\": dial tcp: {end}");
        assert_eq!(hop_of(&dial("lookup x on 127.0.0.11:53: no such host")), Some(Hop::Dns));
        assert_eq!(hop_of(&dial("lookup x on 127.0.0.11:53: server misbehaving")), Some(Hop::Dns));
        assert_eq!(hop_of(&dial("10.0.0.1:5000: connect: connection refused")), Some(Hop::Connect));
        assert_eq!(hop_of(&dial("10.0.0.1:5000: i/o timeout")), Some(Hop::Connect));
        assert_eq!(hop_of("docker.io/a/b:1: not found"), None);
    }
}
