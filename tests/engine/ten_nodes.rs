//! A large cluster for a laptop: what it takes to wire it, and to find it wired. `--nocapture` shows the figures.

use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::recorder::{Call, Recorder};
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::alone;

const NODES: usize = 10;

#[test]
#[ignore = "long: tests/run --long"]
fn ten_nodes_and_ten_mirrors_are_wired_and_then_left_alone() {
    let _turn = alone();
    let scenario = Scenario::new("ten");
    scenario.create_network();
    let upstream = Upstream::start(&scenario.docker, "ten-up");
    let mut mirrors: Vec<Mirror> =
        (0..9).map(|n| Mirror::of(&format!("r{n}.example"), upstream.url(), free_port())).collect();
    mirrors.push(Mirror::push(free_port()));
    scenario.write(&mirrors);
    scenario.apply();
    let role = |n: usize| if n == 0 { "control-plane" } else { "worker" };
    let nodes: Vec<Node> = (0..NODES).map(|n| Node::kind(&scenario, role(n))).collect();

    let wired = scenario.apply();
    for node in &nodes {
        for mirror in &mirrors {
            let text = node.hosts_toml(&mirror.host).unwrap_or_default();
            let endpoint = format!("[host.\"http://{}:5000\"]", scenario.container_name(mirror));
            assert!(text.contains(&endpoint), "{} on {}: {text}", mirror.host, node.name());
        }
    }
    let recorder = Recorder::start();
    let again = scenario.ksail_at(Some(&recorder.address()), &["apply"]);
    assert_eq!(again.code, 0, "{again}");
    let (reads, others): (Vec<Call>, Vec<Call>) = recorder.calls().into_iter().partition(Call::is_read);
    // To ask containerd on each node for its settings, and the cluster for its registry, is to run a program there.
    let asks = |call: &&Call| call.method == "POST" && (call.path.contains("/exec?") || call.path.ends_with("/exec"));
    let starts = |call: &&Call| call.method == "POST" && call.path.contains("/exec/") && call.path.ends_with("/start");
    assert_eq!(others.iter().filter(asks).count(), NODES + 1, "{others:#?}");
    assert_eq!(others.iter().filter(starts).count(), NODES + 1, "{others:#?}");
    assert_eq!(others.len(), 2 * (NODES + 1), "the pass with nothing to do writes nothing: {others:#?}");
    println!(
        "{NODES} nodes, {} mirrors: wired in {:.2} s; nothing to do in {:.2} s, {} engine calls",
        mirrors.len(),
        wired.took.as_secs_f64(),
        again.took.as_secs_f64(),
        reads.len() + others.len()
    );
}
