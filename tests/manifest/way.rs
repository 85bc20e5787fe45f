//! How a registry reaches its upstream, as a manifest says it: proxies, authorities, credentials in files.

use std::fs;
use std::path::Path;

use ksail::manifest::{Manifest, Problems, parse};
use rcgen::{CertificateParams, KeyPair};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{environment, load, with_mirrors};

/// A manifest in a directory with these files.
fn load_beside(files: &[(&str, &[u8])], mirrors: &str) -> (TempDir, Result<Manifest, Problems>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    let config = directory.path().to_str().unwrap().to_owned();
    let variables = move |name: &str| if name == "DOCKER_CONFIG" { Some(config.clone()) } else { environment(name) };
    let loaded = parse(&directory.path().join("ksail.yaml"), with_mirrors(mirrors).as_bytes(), &variables);
    (directory, loaded)
}

fn refused_beside(files: &[(&str, &[u8])], mirrors: &str) -> String {
    let (directory, loaded) = load_beside(files, mirrors);
    shown(&loaded.expect_err("this manifest breaks a rule"), directory.path())
}

fn refused(mirrors: &str) -> String {
    shown(&load(with_mirrors(mirrors)).expect_err("this manifest breaks a rule"), Path::new("nowhere"))
}

/// The messages, one a line, each with its place and its hint.
fn shown(problems: &Problems, directory: &Path) -> String {
    let rendered = problems.to_string();
    for secret in ["hunter2", "s3cret"] {
        assert!(!rendered.contains(secret), "a secret is shown:\n{rendered}");
    }
    let lines = problems.iter().map(|problem| {
        let hint = problem.hint.as_deref().unwrap_or_default();
        format!("{}:{} {} | {hint}", problem.line, problem.column, problem.message)
    });
    lines.collect::<Vec<_>>().join("\n").replace(&format!("{}/", directory.display()), "DIR/")
}

/// A mirror with one more line.
fn mirror(line: &str) -> String {
    format!("    - host: ghcr.io\n      upstream: https://ghcr.io\n      {line}\n")
}

fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["ca.example.com".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_mirrors_own_proxy_replaces_the_common_one_as_a_whole_and_an_empty_one_is_none() {
    let text = with_mirrors(
        "    - {host: ghcr.io, upstream: 'https://ghcr.io'}\n    - {host: quay.io, upstream: 'https://quay.io', proxy: {https: 'http://own:3128/'}}\n    - {host: gcr.io, upstream: 'https://gcr.io', proxy: {}}\n    - {host: 'localhost:5000'}\n",
    );
    let common = "  registries:\n    proxy: {http: 'http://common:3128', https: 'http://ann:${HUB_TOKEN}@common:3128', noProxy: [a.example, 10.0.0.0/8]}\n";
    let manifest = load(text.replace("  registries:\n", common)).unwrap();
    let proxies = manifest.registries.mirrors.iter().map(|mirror| mirror.proxy.as_ref());
    let shown: Vec<String> = proxies.clone().map(|proxy| proxy.map_or("-".to_owned(), ToString::to_string)).collect();
    assert_eq!(
        shown,
        [
            "http http://common:3128, https http://****${HUB_TOKEN}@common:3128 except a.example,10.0.0.0/8",
            "https http://own:3128",
            "none",
            "-"
        ]
    );
    let whole = proxies.flatten().next().unwrap();
    assert_eq!(whole.https.as_ref().unwrap().expose(), "http://ann:s3cret-token@common:3128");
    assert!(!format!("{manifest:?}").contains("s3cret"), "{manifest:?}");
}

#[test]
fn hosts_without_a_proxy_are_a_list_or_a_text_with_commas() {
    let with = |written: &str| {
        let loaded = load(with_mirrors(&mirror(&format!("proxy: {{http: 'http://p:1', noProxy: {written}}}"))));
        loaded.unwrap().registries.mirrors[0].proxy.clone().unwrap().no_proxy
    };
    assert_eq!(with("'a.example, .b ,10.0.0.0/8,'"), ["a.example", ".b", "10.0.0.0/8"]);
    assert_eq!(with("[a.example, .b, '*.c', '[::1]']"), ["a.example", ".b", "*.c", "[::1]"]);
    assert_eq!(with("[]"), Vec::<String>::new());
}

#[test]
fn a_proxy_that_is_none() {
    let each = [
        "socks5://proxy:1080",
        "proxy:3128",
        "http://proxy:3128/pac",
        "http://proxy:99999",
        "http://",
        "http://127.0.0.1:3128",
        "http://ann:hunter2@proxy:3128",
        "ann:hunter2@proxy:3128",
        "http://ann:hunter2${HUB_TOKEN}@proxy:3128",
        "http://${WEIRD}",
        "http://${NOT_SET}:3128",
    ];
    let found = each.map(|url| refused(&mirror(&format!("proxy: {{https: '{url}'}}"))));
    insta::assert_snapshot!(found.join("\n"), @r#"
    10:22 a registry goes through HTTP proxies only, not through 'socks5' | write http://HOST:PORT, such as http://proxy.example.com:3128
    10:22 the proxy has no scheme | write http://HOST:PORT, such as http://proxy.example.com:3128
    10:22 a proxy is a host and a port, without a path | write http://HOST:PORT, such as http://proxy.example.com:3128
    10:22 this is not the address of a proxy | write http://HOST:PORT, such as http://proxy.example.com:3128
    10:22 this is not the address of a proxy | write http://HOST:PORT, such as http://proxy.example.com:3128
    10:22 inside the mirror's container this is the container itself | write host.docker.internal for a proxy of this machine, and let it listen on the engine's network
    10:22 the password of the proxy is not a reference to a variable | put it into the environment, and write ${NAME} in its place
    10:22 the password of the proxy is not a reference to a variable | put it into the environment, and write ${NAME} in its place
    10:22 the password of the proxy is not a reference to a variable | put it into the environment, and write ${NAME} in its place
    10:22 with its variables filled in, this is not the address of an HTTP proxy | write http://HOST:PORT, and %40 and the like for what is special in a URL; what the variables hold is not shown here
    10:22 the variable NOT_SET is not set | set it, as in 'export NOT_SET=…', or write ${NOT_SET:-default}
    "#);
    insta::assert_snapshot!(refused(&mirror("proxy: {http: 'http://p:1', noProxy: [a b, 'http://c', 3, {}]}")), @r#"
    10:45 this is neither a host nor a domain, an address or a range | write registry.example.com, .internal, 10.0.0.1 or 10.0.0.0/8, without a scheme
    10:50 this is neither a host nor a domain, an address or a range | write registry.example.com, .internal, 10.0.0.1 or 10.0.0.0/8, without a scheme
    10:62 an item of 'noProxy' must be text, not a number | put it in quotes: "3"
    10:65 an item of 'noProxy' must be text, not a mapping |
    "#);
    insta::assert_snapshot!(refused(&mirror("proxy: {all: 'http://p:1'}")), @r#"
    10:15 unknown field 'all' | known in 'proxy': http, https, noProxy
    "#);
}

#[test]
fn a_private_authority_is_read_from_beside_the_manifest() {
    let (pem, _) = certificate();
    let text = format!("# ours\n{pem}{}", certificate().0);
    let (_directory, loaded) = load_beside(&[("ca.pem", text.as_bytes())], &mirror("ca: ca.pem"));
    let ca = loaded.unwrap().registries.mirrors[0].ca.clone().unwrap();
    assert_eq!((ca.path.as_path(), ca.pem), (Path::new("ca.pem"), text));
}

#[test]
fn a_file_without_the_certificates_of_an_authority() {
    let (pem, key) = certificate();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let both = format!("{pem}{key}");
    let second = format!("{pem}{broken}");
    let files: [(&str, &[u8]); 5] = [
        ("empty.pem", b""),
        ("ca.der", b"\x30\x82"),
        ("key.pem", both.as_bytes()),
        ("broken.pem", broken.as_bytes()),
        ("second.pem", second.as_bytes()),
    ];
    let named = files.map(|(name, _)| name);
    let found = named.iter().chain(&["missing.pem", "~/ca.pem", ".", "''"]);
    let found: Vec<_> = found.map(|path| refused_beside(&files, &mirror(&format!("ca: {path}")))).collect();
    insta::assert_snapshot!(found.join("\n"), @r#"
    10:11 empty.pem holds no certificate | a PEM file has '-----BEGIN CERTIFICATE-----'; 'openssl x509 -inform der' makes one of a DER file
    10:11 ca.der holds no certificate | a PEM file has '-----BEGIN CERTIFICATE-----'; 'openssl x509 -inform der' makes one of a DER file
    10:11 key.pem holds a private key | keep the certificates alone in it: the key is nothing that a registry needs
    10:11 broken.pem holds no certificate that can be read, as number 1 in it | look at it with 'openssl x509 -noout -text -in FILE'
    10:11 second.pem holds no certificate that can be read, as number 2 in it | look at it with 'openssl x509 -noout -text -in FILE'
    10:11 there is no file DIR/missing.pem | paths are relative to the directory of this file
    10:11 there is no file DIR/~/ca.pem | '~' is not filled in: write an absolute path, or one relative to this file
    10:11 DIR/. is a directory | name the file in it
    10:11 the path is empty | name a file, or leave the field out
    "#);
}

#[test]
fn credentials_are_read_from_files_without_the_end_of_their_line() {
    let with = |username: &[u8], password: &[u8], line: &str| {
        let (_directory, loaded) = load_beside(&[("user", username), ("token", password)], &mirror(line));
        let credentials = loaded.unwrap().registries.mirrors[0].credentials.clone().unwrap();
        (credentials.username.expose_secret().to_owned(), credentials.password.expose_secret().to_owned())
    };
    let both = "credentials: {usernameFile: user, passwordFile: token}";
    let expected = ("ann".to_owned(), "pass word ".to_owned());
    assert_eq!(with(b"ann\n", b"pass word \r\n", both), expected);
    assert_eq!(with(b"ann", b"pass word ", both), expected);
    assert_eq!(with(b"", b"pass word ", "credentials: {username: ann, passwordFile: token}"), expected);
}

#[test]
fn files_that_hold_no_credentials() {
    let files: [(&str, &[u8]); 6] = [
        ("empty", b"\n"),
        ("lines", b"hunter2\n\n"),
        ("tab", b"hun\tter2"),
        ("latin", b"hunter2\xe4"),
        ("return", b"hunter2\r"),
        ("good", b"hunter2"),
    ];
    let lines = [
        "credentials: {username: ann, passwordFile: empty}",
        "credentials: {username: ann, passwordFile: lines}",
        "credentials: {username: ann, passwordFile: tab}",
        "credentials: {usernameFile: latin, passwordFile: good}",
        "credentials: {username: ann, passwordFile: missing}",
        "credentials: {username: ann, passwordFile: good, password: '${HUB_TOKEN}'}",
        "credentials: {passwordFile: good}",
        "credentials: {usernameFile: good}",
        "credentials: {fromDocker: true, username: ann, passwordFile: good}",
        "credentials: {fromDocker: true}",
        "credentials: {fromDocker: soon}",
    ];
    let found = lines.map(|line| refused_beside(&files, &mirror(line)));
    insta::assert_snapshot!(found.join("\n"), @r#"
    10:50 empty is empty | write the one line that it is to hold
    10:50 lines holds a control character | keep one line in it, without tabs: see 'cat -A' of it
    10:50 tab holds a control character | keep one line in it, without tabs: see 'cat -A' of it
    10:35 latin is not UTF-8 | save it as UTF-8
    10:50 there is no file DIR/missing | paths are relative to the directory of this file
    10:36 'password' and 'passwordFile' are the same thing twice | remove one of the two
    10:21 'passwordFile' without 'username' | add 'username: ${VARIABLE}'
    10:21 'usernameFile' without 'password' | add 'password: ${VARIABLE}'
    10:39 'fromDocker' takes the place of 'username' | remove one of the two
    10:33 `docker login` has stored nothing for ghcr.io | run 'docker login ghcr.io' first
    10:33 'fromDocker' must be true or false, not text |
    "#);
}

#[test]
fn what_docker_login_stored_is_taken_where_the_file_says_so() {
    let config =
        br#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"}, "ghcr.io": {"identitytoken": "s3cret"}}}"#;
    let hub =
        "    - host: docker.io\n      upstream: https://registry-1.docker.io\n      credentials: {fromDocker: true}\n";
    let (_directory, loaded) = load_beside(&[("config.json", config)], hub);
    let credentials = loaded.unwrap().registries.mirrors[0].credentials.clone().unwrap();
    assert_eq!((credentials.username.expose_secret(), credentials.password.expose_secret()), ("hub", "pw"));
    let found = [
        refused_beside(&[], hub),
        refused_beside(&[("config.json", config)], &mirror("credentials: {fromDocker: true}")),
        refused_beside(&[("config.json", b"{,")], &mirror("credentials: {fromDocker: true}")),
    ];
    insta::assert_snapshot!(found.join("\n"), @r#"
    10:33 `docker login` has stored nothing for registry-1.docker.io | run 'docker login' first
    10:33 `docker login` has stored an identity token for ghcr.io, which the registry cannot use | write 'username' and 'password', an access token of the registry's
    10:33 DIR/config.json: it is not JSON (key must be a string at line 1 column 2) | mend the file: docker itself passes over it
    "#);
}

#[test]
fn a_push_registry_has_no_way_to_an_upstream() {
    let found = refused(
        "    - host: localhost:5000\n      proxy: {http: 'socks5://p'}\n      ca: missing.pem\n      credentials: {fromDocker: true}\n",
    );
    insta::assert_snapshot!(found, @r#"
    9:7 'proxy' is for the upstream, and this mirror has none | add 'upstream', or remove this
    10:7 'ca' is for the upstream, and this mirror has none | add 'upstream', or remove this
    11:7 'credentials' is for the upstream, and this mirror has none | add 'upstream', or remove this
    "#);
}

#[test]
fn what_is_no_registry_though_its_name_suggests_one() {
    let found = [
        "https://docker.io",
        "https://hub.docker.com",
        "https://index.docker.io",
        "https://www.docker.com",
        "https://GitHub.com",
    ];
    let found = found.map(|upstream| refused(&format!("    - {{host: ghcr.io, upstream: '{upstream}'}}\n")));
    insta::assert_snapshot!(found.join("\n"), @r#"
    8:33 docker.io is not a registry | write 'https://registry-1.docker.io'
    8:33 hub.docker.com is not a registry | write 'https://registry-1.docker.io'
    8:33 index.docker.io is not a registry | write 'https://registry-1.docker.io'
    8:33 www.docker.com is not a registry | write 'https://registry-1.docker.io'
    8:33 github.com is not a registry | write 'https://ghcr.io'
    "#);
    for upstream in
        ["https://k8s.gcr.io", "https://registry-1.docker.io", "https://quay.io", "https://host.docker.internal"]
    {
        load(with_mirrors(&format!("    - {{host: ghcr.io, upstream: '{upstream}'}}\n"))).unwrap();
    }
}

#[test]
fn an_upstream_that_is_the_mirror_itself() {
    let found = refused(
        "    - {host: docker.io, upstream: 'http://ksail-dev-docker-io:5000'}\n    - {host: a-b.io, upstream: 'http://ksail-dev-a-b-io-c427a48f:5000'}\n    - {host: b-b.io, upstream: 'http://Ksail-dev-b-b-io:5000'}\n",
    );
    insta::assert_snapshot!(found, @r#"
    8:35 this is the mirror itself, as the cluster's network calls it | write the registry that docker.io is a mirror of
    9:32 this is the mirror itself, as the cluster's network calls it | write the registry that a-b.io is a mirror of
    10:32 this is the mirror itself, as the cluster's network calls it | write the registry that b-b.io is a mirror of
    "#);
    load(with_mirrors("    - {host: docker.io, upstream: 'http://ksail-dev-localhost-5000:5000'}\n")).unwrap();

    let own_port = |port| format!("    - {{host: a.io, upstream: 'http://host.docker.internal:5001', port: {port}}}\n");
    insta::assert_snapshot!(refused(&own_port(5001)), @"8:30 this is the mirror itself, by its own port of this machine | write the registry that a.io is a mirror of, or give the mirror another 'port'");
    load(with_mirrors(&own_port(5002))).unwrap();
}
