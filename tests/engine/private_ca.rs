//! Upstreams with certificates of an authority that only who is given it trusts.

use std::fs;
use std::time::Duration;

use super::support::deadline::eventually;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::tls_front::TlsFront;
use super::turns::beside_others;

const REPOSITORY: &str = "team/app";

/// An upstream with an image, and TLS in front of it.
struct Private {
    scenario: Scenario,
    upstream: Upstream,
    front: TlsFront,
    image: Image,
    /// Without an authority.
    mirror: Mirror,
}

impl Private {
    fn new(name: &str) -> Self {
        let scenario = Scenario::new(name);
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let image = Image::containing(name);
        upstream.push(&image, REPOSITORY, "1");
        let front = TlsFront::before(&format!("127.0.0.1:{}", upstream.port), upstream.gateway(), &[]);
        let mirror = Mirror::of("ghcr.io", &front.url(), free_port());
        Self { scenario, upstream, front, image, mirror }
    }

    /// Writes the authority beside the manifest, as a deploy does it: whole.
    fn give_authority(&self) {
        let (new, file) = (self.scenario.directory().join("ca.new"), self.scenario.directory().join("ca.pem"));
        fs::write(&new, self.front.ca()).expect("the directory is the test's own");
        fs::rename(new, file).expect("the directory is the test's own");
    }

    fn trusting(&self) -> Mirror {
        self.mirror.clone().with("ca: ca.pem")
    }
}

#[test]
fn an_upstream_of_a_private_authority_is_not_trusted_until_that_is_given_and_then_pulled_from() {
    let _turn = beside_others();
    let private = Private::new("private-ca");
    let (scenario, mirror) = (&private.scenario, private.trusting());
    scenario.write(std::slice::from_ref(&private.mirror));
    let applied = scenario.ksail(&["apply"]);
    let words = applied.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let advice = "the registry trusts nobody who signed its certificate; give the CA: 'ca: FILE.pem'";
    assert!(words.contains(advice) && applied.stderr.is_empty(), "{applied}");
    let (status, reason, message) = scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "UpstreamUntrusted"), "{message}");
    assert!(message.contains(advice), "{message}");
    assert!(private.image.fetch(mirror.host_port(), REPOSITORY, "1").is_err(), "nor does the registry trust it");

    private.give_authority();
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    private.image.fetch(mirror.host_port(), REPOSITORY, "1").expect("through the mirror");
    let (status, reason, message) = scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "UpstreamAnswers"), "{message}");
}

#[test]
#[ignore = "long: tests/run --long"]
fn an_authority_that_changes_under_a_watch_is_taken_and_pulls_go_on() {
    let _turn = beside_others();
    let mut private = Private::new("changed-ca");
    let mirror = private.trusting();
    private.give_authority();
    private.scenario.write(std::slice::from_ref(&mirror));
    let mut watch = private.scenario.watch();
    private.image.fetch(mirror.host_port(), REPOSITORY, "1").expect("through the mirror");
    private.scenario.await_cached(&mirror, &private.image, REPOSITORY);
    let before = private.scenario.running(&mirror).identity();

    private.front.change_authority();
    let mark = watch.mark();
    private.give_authority();
    watch.await_event_since(mark, "the certificates are put in", Duration::from_secs(10), |event| {
        event.is_action() && event.json.to_string().contains("certificate authorities changed")
    });
    let second = Image::containing("second");
    private.upstream.push(&second, REPOSITORY, "2");
    eventually("an image is pulled with the new certificate", Duration::from_secs(20), || {
        second.fetch(mirror.host_port(), REPOSITORY, "2")
    });
    assert_ne!(private.scenario.running(&mirror).identity(), before, "a registry reads certificates when it starts");
    private.image.fetch(mirror.host_port(), REPOSITORY, "1").expect("what was cached is there still");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}
