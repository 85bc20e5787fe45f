//! What the contract suite cannot ask of a real engine: being old, hung, gone and back, or rude.

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::*;
use crate::engine::EventKind;

/// What an engine says of itself in each greeting.
const GREETING: Reply = Reply::Greeting("Docker/20.10.24 (linux)", "1.41");

/// What a false engine does with one request.
enum Reply {
    Json(u16, &'static str),
    /// The server and its API.
    Greeting(&'static str, &'static str),
    /// Lines of a stream that then ends.
    Lines(&'static [&'static str]),
    Silence,
    /// A head, what follows it, and what then follows again and again for as long as anybody reads.
    Endless(&'static str, Vec<u8>, Vec<u8>),
}

/// An engine on a socket of its own that answers as a test tells it to.
struct FalseEngine {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    requests: Arc<StdMutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl FalseEngine {
    fn new(reply: fn(&str) -> Reply) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let requests = Arc::default();
        let serving = serve(&socket, reply, &requests);
        Self { _directory: directory, socket, requests, serving }
    }

    fn docker(&self) -> Docker {
        Docker::new(Address::Unix(self.socket.clone()))
    }

    async fn go_away(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
        std::fs::remove_file(&self.socket).unwrap();
    }

    fn come_back(&mut self, reply: fn(&str) -> Reply) {
        self.serving = serve(&self.socket, reply, &self.requests);
    }

    /// Heads of the requests for a path, in order.
    fn asked_for(&self, path: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|head| head.split(' ').nth(1).is_some_and(|uri| without_version(uri).starts_with(path)))
            .cloned()
            .collect()
    }
}

fn serve(socket: &Path, reply: fn(&str) -> Reply, requests: &Arc<StdMutex<Vec<String>>>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let requests = Arc::clone(requests);
    tokio::spawn(async move {
        // Dropped, and with it every open connection, when the engine goes away.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, reply, Arc::clone(&requests)));
        }
    })
}

/// A path without the version of the API.
fn without_version(uri: &str) -> &str {
    uri.strip_prefix("/v1.41").unwrap_or(uri)
}

async fn answer(mut stream: UnixStream, reply: fn(&str) -> Reply, requests: Arc<StdMutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let uri = without_version(head.split(' ').nth(1).unwrap()).to_owned();
    requests.lock().unwrap().push(head);
    let response = match reply(&uri) {
        Reply::Json(status, body) => {
            format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        }
        Reply::Greeting(server, api) => {
            format!(
                "HTTP/1.1 200 OK\r\nServer: {server}\r\nApi-Version: {api}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
            )
        }
        Reply::Lines(lines) => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}\n", lines.join("\n")),
        Reply::Silence => std::future::pending().await,
        Reply::Endless(head, first, again) => {
            let (head, first) = (format!("HTTP/1.1 {head}\r\n\r\n").into_bytes(), [first, again.clone()].concat());
            let mut written = stream.write_all(&[head, first].concat()).await;
            while written.is_ok() {
                written = stream.write_all(&again).await;
            }
            return;
        }
    };
    let _ = stream.write_all(response.as_bytes()).await;
}

fn empty_engine(uri: &str) -> Reply {
    match uri {
        "/_ping" => GREETING,
        _ => Reply::Json(200, "[]"),
    }
}

#[tokio::test]
async fn calls_at_once_share_one_attempt_to_connect() {
    let engine = FalseEngine::new(empty_engine);
    let docker = engine.docker();
    let answers = join_all((0..32).map(|_| docker.list_containers(&[]))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(Vec::is_empty)), "{answers:?}");
    assert_eq!(engine.asked_for("/containers/json").len(), 32);
    assert_eq!(engine.asked_for("/_ping").len(), 1, "which says who answers");
}

/// Answers every request on each connection, and counts both.
#[derive(Default)]
struct Counted {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// Takes connections until it is aborted, and with it all of them.
fn keep_serving(socket: &Path, counted: &Arc<Counted>) -> JoinHandle<()> {
    let (listener, counted) = (UnixListener::bind(socket).unwrap(), Arc::clone(counted));
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            connections.spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        counted.requests.fetch_add(1, Ordering::SeqCst);
                        let said = "Server: Docker/20.10.24 (linux)\r\nApi-Version: 1.41\r\nContent-Length: 2";
                        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{said}\r\n\r\n[]").as_bytes()).await;
                    }
                }
            });
        }
    })
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_call_and_made_anew_when_the_engine_has_closed_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let counted = Arc::<Counted>::default();
    let so_far = || (counted.connections.load(Ordering::SeqCst), counted.requests.load(Ordering::SeqCst));
    let serving = keep_serving(&socket, &counted);
    let docker = Docker::new(Address::Unix(socket.clone()));
    for _ in 0..20 {
        docker.list_containers(&[]).await.unwrap();
    }
    assert_eq!(so_far(), (1, 21), "a greeting, and twenty calls");
    join_all((0..32).map(|_| docker.list_containers(&[]))).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    let (connections, requests) = so_far();
    assert!(connections <= 32 && requests == 53, "{connections} connections for {requests} calls");

    serving.abort();
    let _ = serving.await;
    std::fs::remove_file(&socket).unwrap();
    let _again = keep_serving(&socket, &counted);
    docker.list_containers(&[]).await.expect("one that is closed is not used");
    assert_eq!(so_far(), (connections + 1, requests + 1));
}

#[tokio::test]
async fn the_newest_version_that_both_sides_know_is_spoken_unless_one_is_asked_for() {
    let spoken = async |greeting: fn(&str) -> Reply, asked: Option<&str>| {
        let engine = FalseEngine::new(greeting);
        let docker = Docker::speaking(Address::Unix(engine.socket.clone()), asked.map(str::to_owned));
        docker.list_networks().await.unwrap();
        let requests = engine.requests.lock().unwrap();
        requests.last().unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(spoken(empty_engine, None).await, "/v1.41/networks");
    let newer = |uri: &str| match uri {
        "/_ping" => Reply::Greeting("Docker/99.0 (linux)", "1.999"),
        _ => Reply::Json(200, "[]"),
    };
    assert_eq!(spoken(newer, None).await, format!("/v{}/networks", bollard::API_DEFAULT_VERSION));
    assert_eq!(spoken(newer, Some("1.44")).await, "/v1.44/networks");
}

#[tokio::test]
async fn an_engine_that_lets_no_greeting_through_is_asked_for_its_version() {
    let engine = FalseEngine::new(|uri| match uri {
        "/_ping" => Reply::Json(403, "no"),
        "/version" => Reply::Json(200, r#"{"Version":"28.1.1","ApiVersion":"1.49"}"#),
        _ => Reply::Json(200, "[]"),
    });
    let info = engine.docker().info().await.unwrap();
    assert_eq!(
        (info.name.as_str(), info.version.as_str(), info.api_version.as_str()),
        ("Docker Engine", "28.1.1", "1.49")
    );
    let podman = FalseEngine::new(|_| Reply::Greeting("Libpod/5.4.2 (linux)", "1.41"));
    let info = podman.docker().info().await.unwrap();
    assert_eq!((info.name.as_str(), info.version.as_str()), ("Podman Engine", "5.4.2"));
}

#[test]
fn a_version_of_the_api_that_cannot_be_spoken_is_refused_before_anything_is_asked() {
    let asked = |value: &str| api_version(&|name| (name == "DOCKER_API_VERSION").then(|| value.to_owned()));
    assert_eq!(asked(""), Ok(None));
    assert_eq!(asked("1.44"), Ok(Some("1.44".to_owned())));
    assert_eq!(asked("v1.44"), Ok(Some("1.44".to_owned())));
    insta::assert_snapshot!(asked("1.30").unwrap_err(), @"DOCKER_API_VERSION: ksail needs version 1.41 of the API or newer, not 1.30");
    insta::assert_snapshot!(asked("newest").unwrap_err(), @"DOCKER_API_VERSION: `newest` is no version of the API, such as 1.41");
}

#[tokio::test]
async fn calls_at_once_share_the_failure_of_an_attempt_and_the_next_one_tries_again() {
    let engine = FalseEngine::new(|_| Reply::Json(500, r#"{"message":"starting"}"#));
    let docker = engine.docker();
    let answers = join_all((0..32).map(|_| docker.list_networks())).await;
    let expected = EngineError::Refused { status: 500, message: "starting".to_owned() };
    assert!(answers.iter().all(|answer| answer == &Err(expected.clone())), "{answers:?}");
    assert_eq!(engine.asked_for("/version").len(), 1);
    assert_eq!(docker.list_networks().await, Err(expected));
    assert_eq!(engine.asked_for("/version").len(), 2, "which says why, where a greeting does not");
}

#[tokio::test]
async fn after_it_was_away_the_engine_is_greeted_anew() {
    let mut engine = FalseEngine::new(empty_engine);
    let docker = engine.docker();
    docker.list_containers(&[]).await.unwrap();
    engine.go_away().await;
    let gone = docker.list_containers(&[]).await.unwrap_err();
    assert!(gone.is_unavailable(), "{gone:?}");

    engine.come_back(|uri| match uri {
        "/_ping" => Reply::Greeting("Docker/19.03.1 (linux)", "1.40"),
        _ => Reply::Json(200, "[]"),
    });
    let older = docker.list_containers(&[]).await.unwrap_err();
    assert_eq!(
        older.to_string(),
        "Docker Engine 19.03.1 is too old: ksail needs Docker 20.10 or newer (API 1.41), this one offers API 1.40"
    );
}

#[tokio::test]
async fn a_missing_socket_and_a_refused_connection_name_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let docker = Docker::new(Address::Unix(socket.clone()));
    let missing = docker.info().await.unwrap_err();
    assert!(missing.is_unavailable());
    let expected = format!("cannot reach the engine at unix://{}: No such file or directory", socket.display());
    assert!(missing.to_string().starts_with(&expected), "{missing}");

    drop(UnixListener::bind(&socket).unwrap());
    let refused = docker.info().await.unwrap_err();
    assert!(refused.is_unavailable());
    assert!(refused.to_string().contains("Connection refused"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_a_timeout() {
    let engine = FalseEngine::new(|_| Reply::Silence);
    let timeout = |call: &str, seconds| EngineError::Timeout { call: call.to_owned(), seconds };
    assert_eq!(engine.docker().info().await, Err(timeout("ping", 10)));
}

#[tokio::test]
async fn the_event_stream_asks_for_everything_since_now_and_ends_with_the_engine() {
    let engine = FalseEngine::new(|uri| match uri.split('?').next() {
        Some("/info") => Reply::Json(200, r#"{"SystemTime":"2026-01-02T03:04:05.000000006Z"}"#),
        Some("/events") => Reply::Lines(&[
            r#"{"Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"name":"one","exitCode":"1"}}}"#,
            r#"{"Type":"network","Action":"remove","Actor":{"ID":"def","Attributes":{"name":"kind"}}}"#,
        ]),
        _ => empty_engine(uri),
    });
    let docker = engine.docker();
    let mut events = docker.events().await.unwrap();
    let died = events.next().await.unwrap().unwrap();
    assert_eq!((died.kind, died.action.as_str(), died.id.as_str()), (EventKind::Container, "die", "abc"));
    assert_eq!(died.attributes["exitCode"], "1");
    let removed = events.next().await.unwrap().unwrap();
    assert_eq!((removed.kind, removed.action.as_str()), (EventKind::Network, "destroy"), "Podman's word in Docker's");
    assert!(!matches!(events.next().await, Some(Ok(_))));
    assert!(events.next().await.is_none());

    let asked = engine.asked_for("/events").remove(0);
    assert!(asked.contains("since=1767323045.000000006"), "{asked}");
    docker.list_containers(&[]).await.unwrap();
    assert_eq!(engine.asked_for("/_ping").len(), 2, "whoever answers next may be another version");
}

#[tokio::test]
async fn a_pull_tells_its_progress_and_then_what_went_wrong() {
    let engine = FalseEngine::new(|uri| match uri.split('?').next() {
        Some("/images/create") => Reply::Lines(&[
            r#"{"status":"Downloading","progressDetail":{"current":10,"total":20},"id":"layer"}"#,
            r#"{"errorDetail":{"message":"toomanyrequests"},"error":"toomanyrequests"}"#,
        ]),
        _ => empty_engine(uri),
    });
    let said = StdMutex::new(Vec::new());
    let failed = engine.docker().pull_image("registry", |line| said.lock().unwrap().push(line)).await;
    assert_eq!(failed, Err(EngineError::PullFailed { message: "toomanyrequests".to_owned() }));
    let line =
        PullProgress { id: "layer".to_owned(), status: "Downloading".to_owned(), current: Some(10), total: Some(20) };
    assert_eq!(said.into_inner().unwrap(), [line]);
    let asked = engine.asked_for("/images/create").remove(0);
    assert!(asked.contains("fromImage=registry%3Alatest"), "all tags of the repository otherwise: {asked}");
}

#[tokio::test]
async fn credentials_of_a_pull_are_in_the_alphabet_docker_reads() {
    let engine = FalseEngine::new(|uri| match uri.split('?').next() {
        Some("/images/create") => Reply::Lines(&[r#"{"status":"Pulled"}"#]),
        _ => empty_engine(uri),
    });
    let login = tempfile::tempdir().unwrap();
    // me:??>>~~??>>~~, which needs both characters in which the alphabets differ.
    let config = r#"{"auths":{"example.com":{"auth":"bWU6Pz8+Pn5+Pz8+Pn5+"}}}"#;
    std::fs::write(login.path().join("config.json"), config).unwrap();
    let docker = engine.docker().with_cli_config(Some(login.path().to_owned()));
    docker.pull_image("example.com/private:1", |_| {}).await.unwrap();

    let asked = engine.asked_for("/images/create").remove(0).to_lowercase();
    let header = asked.lines().find_map(|line| line.strip_prefix("x-registry-auth: ")).unwrap();
    assert!(header.contains(['-', '_']), "{header}");
    assert!(!header.contains(['+', '/']), "{header}");
}

#[tokio::test]
async fn a_start_refused_for_want_of_the_program_is_an_exit_code() {
    let engine = FalseEngine::new(|uri| match uri.split('?').next() {
        Some("/containers/node/exec") => Reply::Json(201, r#"{"Id":"one"}"#),
        Some("/exec/one/start") => {
            Reply::Json(400, r#"{"message":"exec: \"rm\": executable file not found in $PATH"}"#)
        }
        Some("/containers/other/exec") => Reply::Json(201, r#"{"Id":"two"}"#),
        Some("/exec/two/start") => Reply::Json(409, r#"{"message":"Container other is paused"}"#),
        _ => empty_engine(uri),
    });
    let exec = Exec::changing(["rm", "/file"]);
    let executed = engine.docker().exec("node", &exec).await.unwrap();
    assert_eq!((executed.exit_code, executed.is_missing_program()), (127, true));
    let refused = engine.docker().exec("other", &exec).await;
    assert_eq!(refused, Err(EngineError::Conflict { message: "Container other is paused".to_owned() }));
}

#[tokio::test]
async fn the_end_of_a_program_is_told_in_dockers_words() {
    let engine = FalseEngine::new(|uri| match uri.split('?').next() {
        Some("/info") => Reply::Json(200, "{}"),
        Some("/events") => Reply::Lines(&[
            r#"{"Type":"container","Action":"exec_died","Actor":{"ID":"abc","Attributes":{"execID":"theirs"}}}"#,
        ]),
        _ => empty_engine(uri),
    });
    let told = engine.docker().events().await.unwrap().next().await.unwrap().unwrap();
    assert_eq!((told.action.as_str(), told.id.as_str()), ("exec_die", "abc"), "Podman's word in Docker's");
}

const WITHOUT_END: &str = "200 OK\r\nConnection: close";
const UPGRADED: &str = "101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp";

/// An engine whose answers, all but to the greeting, do not end.
fn boundless_engine(uri: &str) -> Reply {
    let much = || vec![b' '; 1 << 20];
    // A frame of what a program says: of standard output, so many bytes long.
    let frame = || [&[1, 0, 0, 0, 0, 1, 0, 0][..], &vec![b'x'; 1 << 16]].concat();
    match uri {
        "/_ping" => GREETING,
        "/info" => Reply::Json(200, "{}"),
        "/containers/x/exec" => Reply::Json(201, r#"{"Id":"e"}"#),
        "/exec/e/start" => Reply::Endless(UPGRADED, Vec::new(), frame()),
        "/networks" => Reply::Endless(WITHOUT_END, Vec::new(), vec![b'['; 1 << 16]),
        uri if uri.starts_with("/containers/x/logs") => Reply::Endless(WITHOUT_END, Vec::new(), frame()),
        uri if uri.starts_with("/events") => Reply::Endless(WITHOUT_END, br#"{"Type":""#.to_vec(), vec![b'x'; 1 << 16]),
        _ => Reply::Endless(WITHOUT_END, b"[".to_vec(), much()),
    }
}

fn is_too_large<T: std::fmt::Debug>(answer: Result<T>, what: &str) {
    let error = answer.unwrap_err();
    let message = error.to_string();
    assert!(
        !error.is_unavailable() && message.contains("the most that ksail reads of it") && message.contains(what),
        "{message}"
    );
}

#[tokio::test]
async fn no_answer_of_the_engine_is_read_without_a_limit() {
    let engine = FalseEngine::new(boundless_engine);
    let docker = engine.docker();
    is_too_large(docker.list_containers(&[]).await, "list containers: the engine's answer is larger than 64 MiB");
    is_too_large(docker.list_volumes(&[]).await, "DOCKER_HOST");
    is_too_large(docker.inspect_container("x").await, "inspect container");
    is_too_large(docker.get_archive("x", "/etc/certs.d").await, "/etc/certs.d: what lies in that directory");
    is_too_large(docker.logs("x", LogPart::Last(10)).await, "log");
    is_too_large(docker.exec("x", &Exec::reading(["yes"])).await, "what the program in the container says");
    is_too_large(docker.pull_image("x:1", |_| {}).await, "a message of the engine");
    // It was not taken for one that is away.
    assert_eq!(engine.asked_for("/_ping").len(), 1);
}

#[tokio::test]
async fn an_event_without_end_is_not_read_to_its_end_and_any_number_of_events_is() {
    let engine = FalseEngine::new(boundless_engine);
    let mut events = engine.docker().events().await.unwrap();
    is_too_large(events.next().await.unwrap(), "a message of the engine is larger than 2 MiB");
    let many = FalseEngine::new(|uri| match uri {
        "/_ping" => GREETING,
        "/info" => Reply::Json(200, "{}"),
        _ => {
            let event = br#"{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":{}}}"#;
            let line = [&event[..], b"\n"].concat();
            Reply::Endless(WITHOUT_END, Vec::new(), line.repeat(100))
        }
    });
    let events = many.docker().events().await.unwrap();
    let (mut events, mut bytes) = (events, 0);
    while bytes < 2 * crate::limit::ENGINE_MESSAGE.bytes() {
        assert_eq!(events.next().await.unwrap().unwrap().id, "x");
        bytes += 74;
    }
}

#[tokio::test]
async fn an_answer_that_is_nested_without_end_is_an_error_and_no_crash() {
    let engine = FalseEngine::new(|uri| match uri {
        "/_ping" => GREETING,
        _ => Reply::Json(200, Box::leak("[".repeat(1 << 20).into_boxed_str())),
    });
    let error = engine.docker().list_networks().await.unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
}
