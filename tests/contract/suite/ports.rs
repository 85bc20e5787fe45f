//! Host ports.

use std::net::{IpAddr, Ipv4Addr};

use ksail::engine::{ContainerState, Engine};

use super::assert_port_in_use;
use crate::bench::{Bench, HeldPort, ephemeral, published};

pub(crate) async fn a_port_of_another_container_is_in_use_until_that_stops(bench: impl Bench) {
    let engine = bench.engine();
    let mut spec = bench.spec("holder");
    spec.ports = vec![ephemeral(5000)];
    let holder = engine.create_container(&spec).await.unwrap();
    engine.start_container(&holder).await.unwrap();
    let port = engine.inspect_container(&holder).await.unwrap().bound_ports[0].host_port;

    let mut spec = bench.spec("second");
    spec.ports = vec![published(5000, port)];
    let second = engine.create_container(&spec).await.expect("the port does not matter before the start");
    assert_port_in_use(engine.start_container(&second).await);
    let failed = engine.inspect_container(&second).await.unwrap();
    assert_eq!((failed.state, failed.exit_code), (ContainerState::Created, None));
    assert!(failed.error.contains(&port.to_string()), "{}", failed.error);

    let mut spec = bench.spec("third");
    spec.ports = vec![published(5000, port)];
    spec.ports[0].host_address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let third = engine.create_container(&spec).await.unwrap();
    assert_port_in_use(engine.start_container(&third).await);

    engine.stop_container(&holder, 1).await.unwrap();
    engine.start_container(&second).await.unwrap();
    let started = engine.inspect_container(&second).await.unwrap();
    assert_eq!((started.state, started.error.as_str()), (ContainerState::Running, ""));
    assert_eq!(started.bound_ports, started.ports);
}

pub(crate) async fn a_port_of_another_process_is_in_use(bench: impl Bench) {
    let engine = bench.engine();
    let held = bench.hold_port();
    let mut spec = bench.spec("c");
    spec.ports = vec![published(5000, held.port())];
    let id = engine.create_container(&spec).await.unwrap();
    assert_port_in_use(engine.start_container(&id).await);
    drop(held);
    engine.start_container(&id).await.unwrap();
}

pub(crate) async fn two_ephemeral_ports_differ(bench: impl Bench) {
    let engine = bench.engine();
    let mut spec = bench.spec("c");
    spec.ports = vec![ephemeral(5000), ephemeral(5001)];
    let id = engine.create_container(&spec).await.unwrap();
    engine.start_container(&id).await.unwrap();
    let bound = engine.inspect_container(&id).await.unwrap().bound_ports;
    assert_eq!(bound.len(), 2);
    assert_ne!(bound[0].host_port, bound[1].host_port);
}
