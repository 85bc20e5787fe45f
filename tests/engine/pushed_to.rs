//! A registry to push to has two names on this machine, and nodes pull by both.

use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

#[test]
fn what_was_pushed_is_pulled_by_a_node_under_both_names_of_this_machine_and_the_alias() {
    let _turn = beside_others();
    let scenario = Scenario::new("both-names");
    let node = Node::kind(&scenario, "control-plane");
    let push = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    Image::containing(&scenario.cluster).push(push.host_port(), "team/app", "1.0").expect("it takes a push");
    let alias = format!("{}:5000", scenario.container_name(&push));
    for host in [format!("localhost:{}", push.host_port()), format!("127.0.0.1:{}", push.host_port()), alias] {
        assert_eq!(node.pull(&format!("{host}/team/app:1.0")), Ok(()), "{host}");
    }
}
