//! What must not be seen, even by who looks closest.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ksail::engine::{Engine, Exec};
use tracing_subscriber::EnvFilter;

use crate::bench::{Bench, CAT};
use crate::on_docker::OnDocker;

const SECRET: &str = "correct-horse-battery-staple";

#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<u8>>>);

impl Write for Traces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_put_into_a_container_or_read_by_a_program_is_in_no_trace() {
    let traces = Traces::default();
    let writer = traces.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("ksail=trace,bollard=trace,hyper=trace"))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let bench = OnDocker::new().await;
    let id = bench.engine().create_container(&bench.spec("secret")).await.unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o400);
    header.set_size(SECRET.len() as u64);
    tar.append_data(&mut header, "ksail/registry.yml", SECRET.as_bytes()).unwrap();
    bench.engine().put_archive(&id, "/", tar.into_inner().unwrap()).await.unwrap();
    let read = bench.engine().get_archive(&id, "/ksail/registry.yml").await.unwrap();
    assert!(String::from_utf8_lossy(&read).contains(SECRET), "it arrived");
    let id = bench.with_programs("secret-input").await;
    let echoed = bench.engine().exec(&id, &Exec::reading(CAT).with_stdin(SECRET)).await.unwrap();
    assert_eq!(echoed.stdout, SECRET, "it arrived here too");

    let seen = String::from_utf8(traces.0.lock().unwrap().clone()).unwrap();
    assert!(seen.contains(r#"call="put archive""#), "the call itself is traced");
    assert!(seen.contains(r#"call="exec""#), "and so is the other");
    assert!(seen.contains("request: (stream)"), "bollard traces its requests");
    assert!(!seen.contains(SECRET), "{seen}");
}
