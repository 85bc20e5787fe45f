//! ksail on the real engine, end to end: the built program, `docker` as the eye, real registries as upstreams.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod behind_a_proxy;
mod bounds;
mod broken_manifests;
mod busy_line;
mod by_ssh;
mod earlier;
mod elsewhere;
mod engine_lost;
mod examples;
mod first_steps;
mod flaky;
mod foreign_objects;
mod free_ports;
mod from_empty;
mod hosting;
mod idle;
mod impostor;
mod instruments;
mod interrupted;
mod lifecycle;
mod lock;
mod node_config;
mod nodes_work;
mod offline_apply;
mod only_the_cluster_knows;
mod output;
mod ownership;
mod ports;
mod power_loss;
mod private_ca;
mod pushed_to;
mod real_kind;
mod rebooted;
mod recorder_works;
mod repairs_drift;
mod role_changes;
mod rotated;
mod saves;
mod second_apply;
mod serving_from_cache;
mod shadowed;
mod shared_directory;
mod slow_answers;
mod stand_in_works;
mod ten_nodes;
mod told;
mod turns;
mod uncooperative;
mod upgrade;
mod upstreams;
mod upstreams_matrix;
mod verify;
mod volumes;
mod wiring;
mod wiring_drift;
mod wrong_password;
