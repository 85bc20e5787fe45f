//! Containers that somebody left under an upstream's name.

use super::*;

fn left(name: &str, network: &str) -> (String, Stranger) {
    (name.to_owned(), Stranger { networks: vec![network.to_owned()], ..Stranger::default() })
}

fn planned(upstream: &str, stranger: (String, Stranger)) -> Plan {
    planned_for(upstream.parse().unwrap(), stranger)
}

fn planned_for(upstream: Upstream, stranger: (String, Stranger)) -> Plan {
    let upstream = Some(upstream);
    let desired = wanted(vec![manifest::Mirror { upstream, ..mirror("ghcr.io", 5001) }]);
    plan(&desired, &Observed { strangers: [stranger].into(), ..converged(&desired) })
}

#[test]
fn a_container_named_like_an_upstream_on_the_clusters_network_is_told_and_nothing_is_done_about_it() {
    let plan = planned("https://ghcr.io", left("ghcr.io", "kind"));
    assert!(plan.is_empty() && plan.changes() == 0);
    assert_snapshot!(plan, @"warning: ghcr.io: container ghcr.io on network kind is reached there instead of https://ghcr.io, by the mirror and by nodes; it was not made by ksail and is left alone: if nobody needs it, 'docker rm -f ghcr.io'");
}

#[test]
fn a_container_that_is_elsewhere_or_is_meant_by_the_upstream_is_not_told_of() {
    for (upstream, name, network) in [
        ("https://ghcr.io", "ghcr.io", "bridge"),
        ("https://ghcr.io", "quay.io", "kind"),
        ("http://registry.test:5000", "registry.test", "kind"),
        ("https://registry:5000", "registry", "kind"),
    ] {
        assert_eq!(planned(upstream, left(name, network)).to_string(), "", "{upstream}, {name} on {network}");
    }
}

#[test]
fn a_container_named_like_an_upstream_that_comes_from_a_variable_is_not_told_of_since_that_would_tell_the_upstream() {
    let upstream: Upstream = "https://hidden.example".parse().unwrap();
    let plan = planned_for(upstream.shown_as("https://${HUB}"), left("hidden.example", "kind"));
    assert_eq!(plan.to_string(), "");
}
