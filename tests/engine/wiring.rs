//! Nodes of a cluster pull through its mirrors by the names that image references have always had.

use std::fs;
use std::time::Duration;

use super::support::deadline::{eventually, holds};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::support::watch::signal;
use super::turns::beside_others;

const OF_DOCKER: &str = "docker.io/library/app:1";
const OF_GITHUB: &str = "ghcr.io/team/tool:1";

#[test]
fn a_node_of_kind_pulls_through_mirrors_around_those_it_may_and_from_their_caches_alone() {
    pulls_through_the_mirrors(Scenario::new("wired-kind"), Node::kind, ["control-plane", "worker"]);
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_node_of_kind_with_a_newer_containerd_does_so_too() {
    pulls_through_the_mirrors(Scenario::new("wired-next"), Node::kind_next, ["control-plane", "worker"]);
}

#[test]
fn a_node_of_k3d_does_so_too() {
    pulls_through_the_mirrors(Scenario::of_k3d("wired-k3s"), Node::k3s, ["server", "agent"]);
}

/// Two mirrors of one upstream with an image for each, applied to one node.
struct Wired {
    node: Node,
    upstream: Upstream,
    mirrors: [Mirror; 2],
    scenario: Scenario,
}

type Start = fn(&Scenario, &str) -> Node;

impl Wired {
    /// Nodes go around the first mirror when it does not answer, and never around the second.
    fn new(scenario: Scenario, start: Start, role: &str) -> Self {
        let upstream = Upstream::start(&scenario.docker, &format!("{role}-{}", scenario.cluster));
        upstream.push(&Image::containing(OF_DOCKER), "library/app", "1");
        upstream.push(&Image::containing(OF_GITHUB), "team/tool", "1");
        let node = start(&scenario, role);
        let mirrors = [
            Mirror::of("docker.io", upstream.url(), free_port()).with("fallback: true"),
            Mirror::of("ghcr.io", upstream.url(), free_port()).with("fallback: false"),
        ];
        scenario.write(&mirrors);
        scenario.apply();
        Self { node, upstream, mirrors, scenario }
    }

    fn await_cached(&self) {
        let [docker, github] = &self.mirrors;
        self.scenario.await_cached(docker, &Image::containing(OF_DOCKER), "library/app");
        self.scenario.await_cached(github, &Image::containing(OF_GITHUB), "team/tool");
    }

    /// Stops the mirrors for that.
    fn goes_around_a_mirror_only_where_the_file_says_so(&self) {
        self.node.forget_images();
        for mirror in &self.mirrors {
            self.scenario.docker.run(&["stop", "-t", "1", &self.scenario.container_name(mirror)]);
        }
        assert_eq!(self.node.pull(OF_DOCKER), Ok(()), "the upstream has it too");
        let refused = self.node.pull(OF_GITHUB).unwrap_err();
        let name = self.scenario.container_name(&self.mirrors[1]);
        assert!(refused.contains(&name), "it went nowhere else: {refused}");
        assert!(!self.node.has_image(OF_GITHUB));
    }
}

fn pulls_through_the_mirrors(scenario: Scenario, start: Start, [first, second]: [&str; 2]) {
    let _turn = beside_others();
    let wired = Wired::new(scenario, start, first);
    let Wired { node, upstream, mirrors, scenario } = &wired;
    let hosts = || mirrors.iter().map(|mirror| mirror.host.as_str());
    let status = scenario.status();
    assert_eq!(status.code, 0, "{}", status.json);
    for host in hosts() {
        assert_eq!(status.counters(host), (0, 0), "nobody has asked {host} yet");
        assert_eq!(status.of_mirror(host, "NodesWired").1, "Wired", "{}", status.json);
    }

    assert_eq!((node.pull(OF_DOCKER), node.pull(OF_GITHUB)), (Ok(()), Ok(())));
    assert!(node.has_image(OF_DOCKER) && node.has_image(OF_GITHUB));
    let fetched = scenario.status();
    for host in hosts() {
        assert!(fetched.counters(host).1 > 0, "{host} had to ask its upstream: {}", fetched.json);
    }

    wired.await_cached();
    wired.goes_around_a_mirror_only_where_the_file_says_so();
    scenario.apply();

    upstream.stop();
    let fresh = start(scenario, second);
    scenario.apply();
    assert_eq!((fresh.pull(OF_DOCKER), fresh.pull(OF_GITHUB)), (Ok(()), Ok(())), "from the cache alone");
    let cached = scenario.status();
    for host in hosts() {
        assert!(cached.counters(host).0 > 0, "{host} answered itself: {}", cached.json);
    }
}

#[test]
fn what_the_file_says_of_a_mirror_takes_effect_on_the_next_pull_of_a_running_node() {
    let _turn = beside_others();
    let scenario = Scenario::new("next-pull");
    let [before, after] = ["before", "after"].map(|what| {
        let upstream = Upstream::start(&scenario.docker, &format!("next-pull-{what}"));
        upstream.push(&Image::containing(what), "team/app", what);
        upstream
    });
    let node = Node::kind(&scenario, "control-plane");
    let containerd = node.containerd_pid();
    let stays = Mirror::push(free_port());
    let mirror = Mirror::of("docker.io", before.url(), free_port());
    scenario.write(std::slice::from_ref(&stays));
    let mut watch = scenario.watch();
    assert_eq!(node.hosts_toml("docker.io"), None);
    let mut follow = |mirrors: &[Mirror]| {
        let mark = watch.mark();
        scenario.write(mirrors);
        watch.await_followed(mark);
    };

    follow(&[stays.clone(), mirror.clone()]);
    assert_eq!(node.pull("docker.io/team/app:before"), Ok(()), "added");

    let elsewhere = Mirror { upstream: Some(after.url().to_owned()), ..mirror };
    follow(&[stays.clone(), elsewhere.clone()]);
    assert_eq!(node.pull("docker.io/team/app:after"), Ok(()), "another upstream");

    follow(&[stays.clone(), elsewhere.clone().with("fallback: false")]);
    node.forget_images();
    signal(watch.id(), "STOP");
    scenario.docker.run(&["stop", "-t", "1", &scenario.container_name(&elsewhere)]);
    assert!(node.pull("docker.io/team/app:after").is_err(), "without fallback");
    scenario.docker.run(&["start", &scenario.container_name(&elsewhere)]);
    signal(watch.id(), "CONT");

    let mark = watch.mark();
    scenario.write(std::slice::from_ref(&stays));
    watch.await_followed(mark);
    // What was done while the watch stood still may be what has just been followed.
    eventually("removed", Duration::from_secs(10), || {
        let left = node.hosts_toml("docker.io");
        holds(left.is_none(), format!("{left:?}"))
    });
    let directory = node.hosts_toml_path("docker.io").replace("/hosts.toml", "");
    assert!(!node.exec(&["test", "-e", &directory]).status.success(), "its directory would hide containerd's default");
    assert_eq!(node.hosts_toml(&stays.host).as_deref().map(str::is_empty), Some(false), "the other one's is there");

    assert_eq!(node.containerd_pid(), containerd, "nobody restarted it");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn an_image_pushed_to_this_machine_is_pulled_by_a_node_under_the_same_name_and_by_the_alias() {
    let _turn = beside_others();
    let scenario = Scenario::new("same-name");
    let push = Mirror::push(free_port());
    let node = Node::kind(&scenario, "control-plane");
    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    let image = Image::containing(&format!("pushed {}", sweep::prefix()));
    image.push(push.host_port(), "team/app", "dev").expect("a push registry takes a push");
    for name in [push.host.clone(), format!("{}:5000", scenario.container_name(&push))] {
        let reference = format!("{name}/team/app:dev");
        assert_eq!(node.pull(&reference), Ok(()));
        assert!(node.has_image(&reference));
        node.forget_images();
    }
}

#[test]
fn every_file_is_toml_and_taken_by_containerd_and_a_broken_one_would_be_noticed() {
    let _turn = beside_others();
    let scenario = Scenario::new("toml");
    let upstream = Upstream::start(&scenario.docker, "toml-up");
    let image = Image::containing("toml");
    upstream.push(&image, "team/app", "1");
    let node = Node::kind(&scenario, "control-plane");
    // Where nobody listens, so that it is the file or nothing.
    let nowhere = ["127.0.0.1:1", "127.0.0.1:2"];
    let push = Mirror::push(free_port());
    let mirrors = [
        Mirror::of(nowhere[0], upstream.url(), free_port()).with("fallback: true"),
        Mirror::of(nowhere[1], upstream.url(), free_port()).with("fallback: false"),
        push.clone(),
    ];
    scenario.write(&mirrors);
    scenario.apply();
    image.push(push.host_port(), "team/app", "1").expect("a push registry takes a push");

    let alias = format!("{}:5000", scenario.container_name(&push));
    let address = push.host.replace("localhost", "127.0.0.1");
    let hosts = [nowhere[0], nowhere[1], &push.host, &address, &alias];
    for host in hosts {
        let text = node.hosts_toml(host).unwrap_or_else(|| panic!("there is no file for {host}"));
        assert!(text.parse::<toml::Table>().is_ok_and(|file| file.contains_key("host")), "{text}");
        assert_eq!(node.pull(&format!("{host}/team/app:1")), Ok(()), "{host}");
    }
    let directory = node.outside_path(&node.hosts_toml_path("x").replace("/x/hosts.toml", ""));
    assert_eq!(fs::read_dir(directory).unwrap().count(), hosts.len(), "there is no other file");

    node.forget_images();
    let path = node.hosts_toml_path(nowhere[0]);
    let broken = node.hosts_toml(nowhere[0]).unwrap_or_default().replace("[host.", "[[host.");
    assert!(broken.parse::<toml::Table>().is_err(), "{broken}");
    node.write(&path, &broken);
    assert!(node.pull(&format!("{}/team/app:1", nowhere[0])).is_err(), "containerd does not take what is not TOML");
}

#[test]
fn on_a_node_without_rm_the_file_of_a_mirror_that_went_is_emptied() {
    let _turn = beside_others();
    let scenario = Scenario::new("no-rm");
    let (stays, leaves) = (Mirror::push(free_port()), Mirror::push(free_port()));
    let node = Node::kind(&scenario, "control-plane");
    assert!(node.exec(&["rm", "/bin/rm"]).status.success());
    assert!(!node.exec(&["rm", "--help"]).status.success(), "there is no other one");
    scenario.write(&[stays.clone(), leaves.clone()]);
    scenario.apply();
    let files = [leaves.host.clone(), format!("{}:5000", scenario.container_name(&leaves))];
    for host in &files {
        assert!(node.hosts_toml(host).is_some_and(|text| !text.is_empty()), "{host}");
    }
    scenario.write(std::slice::from_ref(&stays));
    scenario.apply();
    for host in &files {
        assert_eq!(node.hosts_toml(host).as_deref(), Some(""), "{host}");
    }
    assert!(node.hosts_toml(&stays.host).is_some_and(|text| !text.is_empty()));
    assert_eq!(scenario.ksail(&["diff"]).code, 0, "an empty file is nothing more to do");
}

/// As k3s renders a file, at every start of the node, from what was in `registries.yaml` when the cluster was created.
fn rendered_by_k3s(server: &str, endpoint: &str) -> String {
    format!(
        "# File generated by k3s. DO NOT EDIT.\n\n\nserver = \"{server}/v2\"\n\
         capabilities = [\"pull\", \"resolve\", \"push\"]\n\n[host]\n[host.\"{endpoint}/v2\"]\n  \
         capabilities = [\"pull\", \"resolve\"]\n"
    )
}

#[test]
fn a_file_that_k3s_made_of_what_ksail_wrote_is_kept_put_right_and_removed_as_ksails_own() {
    let _turn = beside_others();
    let scenario = Scenario::of_k3d("of-k3s");
    let upstream = Upstream::start(&scenario.docker, "of-k3s-up");
    upstream.push(&Image::containing("of k3s"), "library/app", "1");
    let mirror = Mirror::of("docker.io", upstream.url(), free_port());
    let node = Node::k3s(&scenario, "server");
    let endpoint = format!("http://{}:5000", scenario.container_name(&mirror));
    let generated = rendered_by_k3s(upstream.url(), &endpoint);
    let path = node.hosts_toml_path("docker.io");
    node.write(&path, &generated);
    let written = fs::metadata(node.outside_path(&path)).and_then(|file| file.modified()).unwrap();
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    assert_eq!(node.hosts_toml("docker.io").as_ref(), Some(&generated));
    let kept = fs::metadata(node.outside_path(&path)).and_then(|file| file.modified()).unwrap();
    assert_eq!(kept, written, "it was not even touched");

    assert_eq!(node.pull(OF_DOCKER), Ok(()));
    let status = scenario.status();
    assert_eq!(status.of_mirror("docker.io", "NodesWired").1, "Wired", "{}", status.json);
    assert!(status.counters("docker.io").1 > 0, "{}", status.json);

    // With the mirror stopped, nodes would go to k3s's idea of the upstream.
    node.write(&path, &rendered_by_k3s("https://registry-1.docker.io", &endpoint));
    scenario.apply();
    let text = node.hosts_toml("docker.io").unwrap_or_default();
    assert!(text.starts_with("# Managed by ksail") && text.contains(upstream.url()), "{text}");

    let strangers = rendered_by_k3s("https://ghcr.io", "http://mine:5000");
    node.write(&node.hosts_toml_path("ghcr.io"), &strangers);
    scenario.write(&[]);
    for rendered in [None, Some(&generated)] {
        // After the mirror has gone, each start of the node brings it again.
        if let Some(rendered) = rendered {
            node.write(&path, rendered);
        }
        scenario.apply();
        assert_eq!(node.hosts_toml("docker.io"), None, "it leads to what is no longer there");
    }
    assert_eq!(node.hosts_toml("ghcr.io"), Some(strangers), "what others wrote into registries.yaml stays");
}
