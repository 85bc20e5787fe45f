//! Mirrors whose upstreams only a proxy knows: neither this machine nor a container can name them.

use std::fs;

use serde_json::json;

use super::support::forward_proxy::{ForwardProxy, PROXY_PASSWORD, PROXY_USER};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::{USER, Upstream};
use super::support::scenario::{Finished, Scenario, free_port};
use super::support::secrets::{Search, Secret};
use super::support::stand_in::StandIn;
use super::support::tls_front::TlsFront;
use super::support::token_guard::{NEW_PASSWORD, NEW_TOKEN, TokenGuard};
use super::turns::beside_others;

/// What the proxy alone knows the upstream by.
const NAME: &str = "registry.ksail.test";
const REPOSITORY: &str = "team/app";

/// A cluster on a network without a way out, and an upstream with an image.
struct Office {
    scenario: Scenario,
    upstream: Upstream,
    image: Image,
    mirror: Mirror,
}

impl Office {
    fn new(name: &str, scheme: &str) -> Self {
        let mut scenario = Scenario::new(name);
        scenario.create_network_with(&["--internal"]);
        scenario.remembers_by_itself();
        scenario.environment.insert("PROXY_PASSWORD".to_owned(), PROXY_PASSWORD.to_owned());
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let image = Image::containing(name);
        upstream.push(&image, REPOSITORY, "1");
        let mirror = Mirror::of("ghcr.io", &format!("{scheme}://{NAME}"), free_port());
        Self { scenario, upstream, image, mirror }
    }

    /// Where this machine reaches the upstream.
    fn upstream(&self) -> String {
        format!("127.0.0.1:{}", self.upstream.port)
    }

    /// Writes the manifest, with a line for all mirrors.
    fn write(&self, for_all: &str) {
        let text = self.scenario.text(std::slice::from_ref(&self.mirror));
        self.scenario.write_text(&text.replace("  registries:\n", &format!("  registries:\n{for_all}")));
    }

    /// Ksail has asked the upstream through the proxy, and a pull goes through it.
    fn is_pulled_through(&self, proxy: &ForwardProxy) {
        let (status, reason, message) = self.scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "UpstreamAnswers"), "{message}");
        assert!(proxy.was_asked_for(NAME, true), "ksail asks through it: {:#?}", proxy.requests());
        self.image.fetch(self.mirror.host_port(), REPOSITORY, "1").expect("through the mirror and the proxy");
        assert!(proxy.was_asked_for(NAME, false), "the registry asks through it: {:#?}", proxy.requests());
        let (_, misses) = self.scenario.status().counters("ghcr.io");
        assert!(misses > 0 && !proxy.record().contains("127.0.0.1"), "the registry's own page: {}", proxy.record());
    }
}

#[test]
fn a_proxy_of_all_mirrors_is_gone_through_by_registry_and_ksail_and_that_its_password_can_be_seen_is_told_once() {
    let _turn = beside_others();
    let office = Office::new("proxy-all", "http");
    let proxy = ForwardProxy::with_password(&[(NAME, &office.upstream())], office.upstream.gateway());
    let url = proxy.url(&format!("{PROXY_USER}:${{PROXY_PASSWORD}}@"));
    office.write(&format!("    proxy: {{http: '{url}', https: '{url}'}}\n"));
    let applied = office.scenario.apply();
    let told = applied.stdout.matches("the proxy's password shows in").count();
    assert_eq!(told, 1, "{applied}");
    office.is_pulled_through(&proxy);
    Search::of(&office.scenario, &office.mirror)
        .and_said(&applied)
        .and("the proxy's record", proxy.record())
        .finds_none_of(&[Secret::proxy_password(PROXY_USER, PROXY_PASSWORD)]);
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_mirrors_own_proxy_is_gone_through_in_place_of_that_of_all() {
    let _turn = beside_others();
    let mut office = Office::new("proxy-own", "http");
    let gateway = office.upstream.gateway();
    let proxy = ForwardProxy::to(&[(NAME, &office.upstream())], gateway);
    let nowhere = ForwardProxy::to(&[], gateway);
    office.mirror = office.mirror.with(&format!("proxy: {{http: '{}'}}", proxy.url("")));
    office.write(&format!("    proxy: {{http: '{}'}}\n", nowhere.url("")));
    let applied = office.scenario.apply();
    assert!(!applied.stdout.contains("password"), "{applied}");
    office.is_pulled_through(&proxy);
    assert_eq!(nowhere.requests().len(), 0);
}

#[test]
#[ignore = "long: tests/run --long"]
fn what_docker_says_of_proxies_is_gone_through_and_no_drift_when_it_changes() {
    let _turn = beside_others();
    let mut office = Office::new("proxy-docker", "http");
    let proxy = ForwardProxy::with_password(&[(NAME, &office.upstream())], office.upstream.gateway());
    let url = proxy.url(&format!("{PROXY_USER}:{PROXY_PASSWORD}@"));
    office.scenario.docker_config(&json!({"proxies": {"default": {"httpProxy": url, "noProxy": "other.test"}}}));
    office.write("");
    let applied = office.scenario.apply();
    office.is_pulled_through(&proxy);
    let no_proxy = office.scenario.running(&office.mirror).env()["NO_PROXY"].clone();
    assert!(no_proxy.starts_with("other.test,localhost,"), "{no_proxy}");
    Search::of(&office.scenario, &office.mirror)
        .and_said(&applied)
        .and("the proxy's record", proxy.record())
        .finds_none_of(&[Secret::proxy_password(PROXY_USER, PROXY_PASSWORD)]);

    // As root has another file, or a laptop another network.
    let before = office.scenario.running(&office.mirror).identity();
    office.scenario.docker_config(&json!({}));
    office.scenario.apply();
    let diff = office.scenario.ksail(&["diff"]);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, "Nothing to do.\n"), "{diff}");
    assert_eq!(office.scenario.running(&office.mirror).identity(), before);
}

#[test]
#[ignore = "long: tests/run --long"]
fn through_a_tunnel_the_proxy_learns_neither_password_nor_token() {
    let _turn = beside_others();
    let mut office = Office::new("proxy-tunnel", "https");
    let gateway = office.upstream.gateway();
    let guarded = TokenGuard::before(&office.upstream);
    guarded.change_password();
    let front = TlsFront::before(guarded.address(), gateway, &[NAME]);
    fs::write(office.scenario.directory().join("ca.pem"), front.ca()).expect("the directory is the test's own");
    let proxy = ForwardProxy::with_password(&[(NAME, front.address())], gateway);
    office.scenario.environment.insert("PASSWORD".to_owned(), NEW_PASSWORD.to_owned());
    office.mirror = office
        .mirror
        .with("ca: ca.pem")
        .with(&format!("credentials: {{username: '{USER}', password: '${{PASSWORD}}'}}"));
    let url = proxy.url(&format!("{PROXY_USER}:${{PROXY_PASSWORD}}@"));
    office.write(&format!("    proxy: {{https: '{url}'}}\n"));
    let applied = office.scenario.apply();
    office.is_pulled_through(&proxy);
    assert!(proxy.requests().iter().all(|request| request.line.starts_with("CONNECT ")), "{:#?}", proxy.requests());
    assert!(guarded.times_told(NEW_PASSWORD, true) > 0, "it was told");
    Search::of(&office.scenario, &office.mirror)
        .and_said(&applied)
        .and("the proxy's record", proxy.record())
        .finds_none_of(&[
            Secret::proxy_password(PROXY_USER, PROXY_PASSWORD),
            Secret::password(USER, NEW_PASSWORD),
            Secret::token(NEW_TOKEN),
        ]);
}

#[test]
fn kind_is_told_to_ask_no_proxy_for_the_mirrors_and_for_its_network() {
    let _turn = beside_others();
    let scenario = Scenario::new("proxy-of-kind");
    is_told_of_its_network(&scenario, "kind");
}

#[test]
#[ignore = "long: tests/run --long"]
fn k3d_is_told_to_ask_no_proxy_for_the_mirrors_and_for_its_network() {
    let _turn = beside_others();
    let mut scenario = Scenario::of_k3d("proxy-of-k3d");
    scenario.network = format!("k3d-{}", scenario.cluster);
    is_told_of_its_network(&scenario, "k3d");
}

/// The distribution's program is, where this machine has a proxy and the network exists.
fn is_told_of_its_network(scenario: &Scenario, program: &str) {
    scenario.create_network();
    let mirror = Mirror::push(free_port());
    let text = scenario.text(std::slice::from_ref(&mirror));
    scenario.write_text(&text.replace("lifecycle: External", "lifecycle: Managed"));
    let stand_in = StandIn::new(scenario);
    let mut apply = scenario.command(&["apply"]);
    stand_in.equip(&mut apply, "nothing");
    apply.env("STAND_IN_ALSO", "NO_PROXY").env("HTTPS_PROXY", "http://proxy.test:3128").env("NO_PROXY", "10.0.0.0/8");
    let applied = Finished::run(&mut apply);
    let range = "{{range .IPAM.Config}}{{.Subnet}}{{end}}";
    let range = scenario.docker.run(&["network", "inspect", "-f", range, &scenario.network]);
    let told = format!("NO_PROXY=10.0.0.0/8,{},{range}", scenario.container_name(&mirror));
    let calls = stand_in.calls();
    let create = calls.first().filter(|call| call.starts_with(program));
    assert!(create.is_some_and(|call| call.split('\t').any(|part| part == told)), "{told}: {calls:?} {applied}");
}
