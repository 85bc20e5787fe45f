//! The way to an upstream: proxies, authorities, credentials that change.

use super::*;
use crate::docker_config::Proxies;
use crate::labels;
use crate::manifest::{Ca, Proxy, ProxyUrl};
use crate::registry::LIFETIME;

fn proxy(url: &str) -> Proxy {
    Proxy { http: None, https: Some(ProxyUrl::new(url.to_owned())), no_proxy: Vec::new() }
}

fn with_proxy(proxy: Option<Proxy>) -> Desired {
    wanted(vec![manifest::Mirror { proxy, ..mirror("ghcr.io", 5001) }])
}

fn with_ca(pem: Option<&str>) -> Desired {
    let ca = pem.map(|pem| Ca { path: "ca.pem".into(), pem: pem.to_owned() });
    wanted(vec![manifest::Mirror { ca, ..mirror("ghcr.io", 5001) }])
}

fn with_password(password: &str, ca: Option<&str>) -> Desired {
    let credentials = Some(Credentials { username: "me".into(), password: password.into() });
    let ca = ca.map(|pem| Ca { path: "ca.pem".into(), pem: pem.to_owned() });
    wanted(vec![manifest::Mirror { credentials, ca, ..mirror("ghcr.io", 5001) }])
}

/// The first line of what leads from one to the other, if anything is to be done.
fn first(from: &Desired, to: &Desired) -> String {
    let plan = plan(to, &converged(from)).to_string();
    plan.lines().nth(1).unwrap_or_default().trim().replace("ksail-dev-ghcr-io", "it")
}

/// Under what the docker CLI would give a container.
fn among(proxies: Proxies, manifest_proxy: Option<Proxy>) -> Desired {
    let mirrors = vec![manifest::Mirror { proxy: manifest_proxy, ..mirror("ghcr.io", 5001) }];
    resolve(&manifest(mirrors), &ResolveContext { proxies, ..ResolveContext::default() })
}

#[test]
fn what_the_manifest_says_of_a_proxy_is_compared_and_so_is_that_it_says_nothing_any_more() {
    let (none, one, other) =
        (with_proxy(None), with_proxy(Some(proxy("http://a:1"))), with_proxy(Some(proxy("http://b:1"))));
    let empty = with_proxy(Some(Proxy::default()));
    assert_eq!(first(&one, &one), "");
    assert_eq!(first(&none, &one), "create container it.next: proxy set to https http://a:1");
    assert_eq!(first(&one, &other), "create container it.next: proxy changed https http://a:1 -> https http://b:1");
    assert_eq!(first(&one, &empty), "create container it.next: proxy changed https http://a:1 -> none");
    assert_eq!(first(&one, &none), "create container it.next: proxy https http://a:1 removed from ksail.yaml");
    assert_eq!(first(&none, &empty), "");
}

#[test]
fn a_proxys_password_that_changed_is_told_without_showing_it() {
    let (one, other) = (proxy("http://me:hunter2@a:1"), proxy("http://me:hunter3@a:1"));
    let (one, other) = (with_proxy(Some(one)), with_proxy(Some(other)));
    let told = plan(&other, &converged(&one)).to_string();
    assert!(told.contains("proxy https http://**********@a:1 changed in what is not shown of it"), "{told}");
    let debugged = format!("{one:?} {:?} {:?}", converged(&one), plan(&other, &converged(&one)));
    assert!(!debugged.contains("hunter") && debugged.contains("HTTPS_PROXY"), "{debugged}");
}

#[test]
fn what_the_docker_cli_would_give_is_given_to_what_is_new_and_never_compared() {
    let usual =
        |url: &str| Proxies { https: Some(url.to_owned()), no_proxy: Some("x, y".to_owned()), ..Proxies::default() };
    let (office, home) = (among(usual("http://office:1"), None), among(Proxies::default(), None));
    let env = |desired: &Desired, name: &str| desired.mirrors.values().next().unwrap().container.env.get(name).cloned();
    assert_eq!(env(&office, "HTTPS_PROXY").as_deref(), Some("http://office:1"));
    assert!(env(&office, "no_proxy").unwrap().starts_with("x,y,localhost,"));
    for (from, to) in [
        (&office, &home),
        (&home, &office),
        (&among(usual("http://host.docker.internal:1"), None), &home),
        (&home, &among(usual("http://host.docker.internal:1"), None)),
    ] {
        assert_eq!(first(from, to), "");
    }
    let none = among(usual("http://office:1"), Some(Proxy::default()));
    assert_eq!(env(&none, "HTTPS_PROXY"), None);
    assert_eq!(first(&office, &none), "create container it.next: proxy set to none");
}

#[test]
fn an_authority_that_changed_is_put_in_and_the_registry_restarted() {
    assert_snapshot!(plan(&with_ca(Some("two")), &converged(&with_ca(Some("one")))), @r"
    ghcr.io
      put certificates into ksail-dev-ghcr-io: certificate authorities changed
      restart ksail-dev-ghcr-io: certificate authorities changed
      wait until ksail-dev-ghcr-io serves: certificate authorities changed
    ");
}

#[test]
fn an_authority_that_comes_or_goes_makes_a_new_container() {
    let (with, without) = (with_ca(Some("one")), with_ca(None));
    assert_eq!(first(&without, &with), "create container it.next: certificate authorities added");
    assert_eq!(first(&with, &without), "create container it.next: certificate authorities removed");
    assert_eq!(first(&with, &with), "");
    let created = plan(&with, &nothing()).to_string();
    let at = |text: &str| created.find(text).unwrap_or_else(|| panic!("{text} is not in {created}"));
    assert!(at("create container") < at("put certificates into") && at("put certificates into") < at("start "));
}

#[test]
fn a_container_that_lost_its_authorities_gets_them_again() {
    let desired = with_ca(Some("one"));
    let mut observed = converged(&desired);
    observed.containers[0].secrets = None;
    assert!(
        plan(&desired, &observed).to_string().contains("restart ksail-dev-ghcr-io: certificate authorities changed")
    );
}

#[test]
fn registry_3_is_given_new_credentials_without_a_restart() {
    let (old, new) = (with_password("one", None), with_password("two", None));
    let mut observed = converged(&old);
    observed.containers[0].major_version = Some(3);
    assert_snapshot!(plan(&new, &observed), @r"
    ghcr.io
      put credentials into ksail-dev-ghcr-io: credentials changed
    ");
    for (version, to) in [(Some(2), &new), (None, &new), (Some(3), &with_password("two", Some("ca")))] {
        let from = if version == Some(3) { with_password("one", Some("other ca")) } else { old.clone() };
        let mut observed = converged(&from);
        observed.containers[0].major_version = version;
        assert!(plan(to, &observed).to_string().contains("\n  restart "), "{version:?}");
    }
}

#[test]
fn one_that_asks_for_credentials_once_was_made_by_an_earlier_ksail() {
    let desired = with_password("one", None);
    let mut observed = converged(&desired);
    inside(&mut observed.containers[0]).env.remove(LIFETIME.0);
    let plan = plan(&desired, &observed).to_string();
    assert!(plan.contains("made by an earlier ksail: credentials read again every minute; cache kept"), "{plan}");
    let removed = first(&desired, &wanted(vec![mirror("ghcr.io", 5001)]));
    assert_eq!(removed, "create container it.next: credentials removed");
}

#[test]
fn an_upstream_on_this_machine_is_made_known_to_the_container() {
    let upstream = Some("http://host.docker.internal:5000".parse().unwrap());
    let desired = wanted(vec![manifest::Mirror { upstream, ..mirror("ghcr.io", 5001) }]);
    let mut observed = converged(&desired);
    assert_eq!(observed.containers[0].container.extra_hosts, ["host.docker.internal:host-gateway"]);
    assert_eq!(plan(&desired, &observed).to_string(), "");
    inside(&mut observed.containers[0]).extra_hosts.clear();
    assert!(plan(&desired, &observed).to_string().contains("host.docker.internal not known to the container"));
}

#[test]
fn a_volume_says_nothing_of_proxies_and_authorities() {
    let desired = wanted(vec![manifest::Mirror {
        proxy: Some(proxy("http://a:1")),
        ca: Some(Ca { path: "ca.pem".into(), pem: "one".to_owned() }),
        ..mirror("ghcr.io", 5001)
    }]);
    let plan = plan(&desired, &nothing());
    let labels = plan.sequences.values().flat_map(|sequence| &sequence.steps).find_map(|step| match &step.action {
        Action::CreateVolume { labels, .. } => Some(labels.clone()),
        _ => None,
    });
    assert!(labels.unwrap().keys().all(|label| ![labels::PROXY, labels::CA].contains(&label.as_str())));
}
