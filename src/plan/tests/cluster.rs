//! What happens to the cluster itself, and what waits for it.

use super::nodes::{bare, wired};
use super::*;
use crate::distribution::registry_hosting::Advertised;
use crate::manifest::{Distribution, Lifecycle};
use crate::observed::{Cluster, Hosting};

/// What the manifest says, with a mirror and a cluster of ksail's own.
fn managed(state: State) -> Desired {
    let manifest = Manifest { state, lifecycle: Lifecycle::Managed, ..manifest(vec![mirror("ghcr.io", 5001)]) };
    resolve(&manifest, &ResolveContext::default())
}

/// With the distribution's program at hand.
fn with_program(observed: Observed) -> Observed {
    Observed { provisioner: Some(PathBuf::from("/bin/kind")), ..observed }
}

/// Everything is as desired, and there is a cluster.
fn up() -> Observed {
    let desired = managed(State::Present);
    Observed { cluster: Cluster::Running, nodes: vec![wired("dev-worker", &desired)], ..converged(&desired) }
}

fn of_the_cluster(plan: &Plan) -> &Sequence {
    &plan.sequences[&Subject::Cluster("dev".to_owned())]
}

#[test]
fn a_missing_cluster_is_created_when_the_mirrors_serve() {
    let plan = plan(&managed(State::Present), &with_program(nothing()));
    assert_snapshot!(plan, @r"
    ghcr.io
      create volume ksail-dev-ghcr-io: volume missing
      create container ksail-dev-ghcr-io: container missing
      connect ksail-dev-ghcr-io to network kind: container missing
      start ksail-dev-ghcr-io: container missing
      wait until ksail-dev-ghcr-io serves: container missing
    cluster dev
      create cluster dev with kind: no cluster of this name yet
    ");
    let step = &of_the_cluster(&plan).steps[0];
    assert_eq!(step.after, [Milestone::Ended(Subject::mirror("ghcr.io"))]);
    let Action::CreateCluster { cluster } = &step.action else { panic!("{step:?}") };
    assert_eq!(cluster.direct, ["ksail-dev-ghcr-io"], "no proxy is to be asked for them");
}

#[test]
fn no_proxy_is_to_be_asked_for_what_is_on_the_network_of_a_cluster_where_that_exists() {
    let subnets = vec!["172.18.0.0/16".to_owned(), "fc00:f853:ccd:e793::/64".to_owned()];
    let plan = plan(&managed(State::Present), &with_program(Observed { subnets, ..nothing() }));
    let Action::CreateCluster { cluster } = &of_the_cluster(&plan).steps[0].action else { panic!("{plan}") };
    assert_eq!(cluster.direct, ["ksail-dev-ghcr-io", "172.18.0.0/16", "fc00:f853:ccd:e793::/64"]);
}

#[test]
fn with_every_mirror_up_a_missing_cluster_waits_for_nothing() {
    let desired = managed(State::Present);
    let plan = plan(&desired, &with_program(converged(&desired)));
    assert_snapshot!(plan, @r"
    cluster dev
      create cluster dev with kind: no cluster of this name yet
    ");
    assert_eq!(plan.sequences.len(), 1, "of those that it would wait for none is changed");
}

#[test]
fn a_cluster_that_is_there_is_left_alone_whether_it_runs_or_not() {
    let desired = managed(State::Present);
    assert!(plan(&desired, &with_program(up())).is_empty());
    let stopped = Observed { cluster: Cluster::Stopped, nodes: Vec::new(), ..up() };
    assert!(plan(&desired, &with_program(stopped)).is_empty());
}

#[test]
fn a_cluster_is_deleted_when_the_registries_have_left_its_network_and_they_go_after_it() {
    let observed = Observed { nodes: Vec::new(), ..with_program(up()) };
    let plan = plan(&managed(State::Purged), &observed);
    assert_snapshot!(plan, @r"
    ghcr.io
      disconnect ksail-dev-ghcr-io from network kind: before the cluster is deleted
      remove container ksail-dev-ghcr-io: state is Purged
    volume ksail-dev-ghcr-io
      remove volume ksail-dev-ghcr-io: state is Purged
    cluster dev
      delete cluster dev with kind: state is Purged
    ");
    let detached =
        Milestone::Detached { holder: Subject::mirror("ghcr.io"), container: "ksail-dev-ghcr-io".to_owned() };
    assert_eq!(of_the_cluster(&plan).steps[0].after, [detached]);
    let volume = &plan.sequences[&Subject::Volume("ksail-dev-ghcr-io".to_owned())];
    assert_eq!(volume.steps[0].after, [Milestone::Done(Subject::mirror("ghcr.io"))]);
    let [leaves, goes] = plan.sequences[&Subject::mirror("ghcr.io")].steps.as_slice() else { panic!("{plan}") };
    assert_eq!(goes.after, [Milestone::Done(Subject::Cluster("dev".to_owned()))]);
    let back: Vec<String> = leaves.undo.iter().map(ToString::to_string).collect();
    assert_eq!(back, ["connect ksail-dev-ghcr-io to network kind"], "when the cluster stays");
}

#[test]
fn all_containers_of_a_mirror_leave_before_one_of_them_waits_for_the_cluster() {
    let mut observed = Observed { nodes: Vec::new(), ..with_program(up()) };
    let mut next = observed.containers[0].clone();
    inside(&mut next).id += "-next";
    inside(&mut next).name += ".next";
    observed.containers.push(next);
    assert_snapshot!(plan(&managed(State::Absent), &observed), @r"
    ghcr.io
      disconnect ksail-dev-ghcr-io from network kind: before the cluster is deleted
      disconnect ksail-dev-ghcr-io.next from network kind: before the cluster is deleted
      remove container ksail-dev-ghcr-io: state is Absent; its volume stays
      remove container ksail-dev-ghcr-io.next: state is Absent; its volume stays
    cluster dev
      delete cluster dev with kind: state is Absent
    ");
}

#[test]
fn with_the_cluster_gone_already_only_the_registries_go() {
    let observed = Observed { cluster: Cluster::Missing, nodes: Vec::new(), ..with_program(up()) };
    assert_snapshot!(plan(&managed(State::Absent), &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: state is Absent; its volume stays
    ");
}

#[test]
fn without_the_program_a_missing_cluster_is_an_obstacle_and_the_mirrors_come_all_the_same() {
    assert_snapshot!(plan(&managed(State::Present), &nothing()), @r"
    ghcr.io
      create volume ksail-dev-ghcr-io: volume missing
      create container ksail-dev-ghcr-io: container missing
      connect ksail-dev-ghcr-io to network kind: container missing
      start ksail-dev-ghcr-io: container missing
      wait until ksail-dev-ghcr-io serves: container missing
    cluster dev
      blocked: cannot create the cluster: kind is not on the PATH; install it (https://kind.sigs.k8s.io/docs/user/quick-start/#installation), or write 'lifecycle: External' to create the cluster yourself
    ");
}

#[test]
fn without_the_program_a_cluster_that_should_go_is_an_obstacle_and_its_nodes_are_unwired() {
    assert_snapshot!(plan(&managed(State::Absent), &up()), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: state is Absent; its volume stays
    node dev-worker
      remove hosts.toml for ghcr.io from dev-worker: state is Absent
      remove /etc/containerd/certs.d/ghcr.io from dev-worker: empty
    cluster dev
      blocked: cannot delete the cluster: kind is not on the PATH; install it (https://kind.sigs.k8s.io/docs/user/quick-start/#installation), or write 'lifecycle: External' to delete the cluster yourself
    ");
}

#[test]
fn somebody_elses_cluster_is_neither_created_nor_deleted() {
    let external = |state| Desired { lifecycle: Lifecycle::External, ..managed(state) };
    let missing = Observed { cluster: Cluster::Missing, nodes: Vec::new(), ..up() };
    assert!(plan(&external(State::Present), &missing).is_empty());
    assert_snapshot!(plan(&external(State::Absent), &up()), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: state is Absent; its volume stays
    node dev-worker
      remove hosts.toml for ghcr.io from dev-worker: state is Absent
      remove /etc/containerd/certs.d/ghcr.io from dev-worker: empty
    ");
}

#[test]
fn the_cluster_is_told_of_the_first_registry_to_push_to_and_no_longer_when_it_has_gone() {
    let mut push = mirror("localhost:5005", 5005);
    push.upstream = None;
    let desired = wanted(vec![push]);
    let observed = |desired: &Desired, advertised: Advertised| {
        let (node_id, node) = ("id-dev-control-plane".to_owned(), "dev-control-plane".to_owned());
        let nodes = vec![wired(&node, desired)];
        Observed { nodes, hosting: Some(Hosting { node_id, node, advertised }), ..converged(desired) }
    };
    assert_snapshot!(plan(&desired, &observed(&desired, Advertised::Nothing)), @r"
    cluster dev
      tell the cluster of localhost:5005 (local-registry-hosting, by kubectl on dev-control-plane): the cluster was not told yet
    ");
    let other = Advertised::Ours("host: \"localhost:1\"\n".to_owned());
    assert_snapshot!(plan(&desired, &observed(&desired, other.clone())), @r"
    cluster dev
      tell the cluster of localhost:5005 (local-registry-hosting, by kubectl on dev-control-plane): the cluster was told something else
    ");
    let said = desired.hosting.clone().unwrap().config_map();
    for leave_alone in [Advertised::read(&said), Advertised::Foreign, Advertised::Unknown("it is starting".to_owned())]
    {
        assert!(plan(&desired, &observed(&desired, leave_alone.clone())).is_empty(), "{leave_alone:?}");
    }
    let none = wanted(Vec::new());
    assert_snapshot!(plan(&none, &observed(&none, other)), @r"
    cluster dev
      remove local-registry-hosting, by kubectl on dev-control-plane: no registry to push to is in ksail.yaml
    ");
    assert!(plan(&none, &observed(&none, Advertised::Foreign)).is_empty());
    assert!(plan(&none, &observed(&none, Advertised::Nothing)).is_empty());
}

#[test]
fn the_program_is_that_of_the_distribution() {
    let desired = Desired { distribution: Distribution::K3d, ..managed(State::Present) };
    let observed = converged(&desired);
    assert_snapshot!(plan(&desired, &with_program(observed.clone())), @r"
    cluster dev
      create cluster dev with k3d: no cluster of this name yet
    ");
    assert_snapshot!(plan(&desired, &observed), @r"
    cluster dev
      blocked: cannot create the cluster: k3d is not on the PATH; install it (https://k3d.io/stable/#installation), or write 'lifecycle: External' to create the cluster yourself
    ");
}

#[test]
fn a_node_that_joined_is_wired_while_the_cluster_is_left_alone() {
    let observed = Observed { nodes: vec![bare("dev-worker2")], ..with_program(up()) };
    assert_snapshot!(plan(&managed(State::Present), &observed), @r"
    node dev-worker2
      write hosts.toml for ghcr.io on dev-worker2: hosts.toml missing
    ");
}
