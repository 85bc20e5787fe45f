//! Files of KSail-Go, of what became of it, and of the one before: accepted where that does no harm, otherwise told in
//! today's words. And what is nobody's: keys for the author alone, and documents with nothing in them.

use ksail::manifest::{Edit, MirrorEntry, MirrorField, apply, schema};

use super::{load, with_mirrors};

const HUB: &str = "    - host: docker.io\n      upstream: https://registry-1.docker.io\n";

/// How a file begins that later ones write; its `spec` follows.
const HEAD: &str = "apiVersion: ksail.io/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n";

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

fn schema_takes(text: &str) -> bool {
    let value: serde_json::Value = serde_yaml::from_str(text).unwrap();
    jsonschema::draft202012::is_valid(&schema(), &value)
}

#[test]
fn a_file_of_ksail_go_at_its_last_loads_and_names_what_is_not_acted_on() {
    let text = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nspec:\n  editor: code --wait\n  distribution: K3d\n  distributionConfig: k3d.yaml\n  sourceDirectory: k8s\n  connection: {context: k3d-local}\n  cni: Calico\n  csi: Default\n  metricsServer: Enabled\n  certManager: Enabled\n  policyEngine: Kyverno\n  localRegistry: Enabled\n  localRegistryOptions: {hostPort: 5111}\n  gitOpsEngine: Flux\n";
    let manifest = load(text).unwrap();
    assert_eq!(manifest.name.as_str(), "local");
    let expected = "editor sourceDirectory cni csi metricsServer certManager policyEngine localRegistry localRegistryOptions gitOpsEngine";
    let expected: Vec<_> = expected.split(' ').map(|name| format!("spec.{name}")).collect();
    assert_eq!(manifest.not_acted_on, expected);
    assert!(schema_takes(&text.replace("kind: Cluster\n", "kind: Cluster\nmetadata: {name: local}\n")));
}

const LATER: &str = "\
apiVersion: ksail.io/v1alpha1
kind: Cluster
metadata: {name: dev, namespace: default}
spec:
  editor: vim
  cluster:
    distribution: K3s
    distributionConfig: k3d.yaml
    connection: {kubeconfig: ~/.kube/config, context: k3d-dev}
    certManager: Enabled
  workload: {sourceDirectory: k8s}
  provider: {hetzner: {location: fsn1}}
";

#[test]
fn a_file_of_later_ksail_is_told_which_of_its_words_belong_elsewhere_and_loads_with_them_there() {
    insta::assert_snapshot!(refusal(LATER), @r"
    error: 'cluster' says what ksail reads below 'spec' itself, and would miss
     --> ksail.yaml:6:3
      |
    6 |   cluster:
      |   ^^^^^^^
      |
      = help: write below 'spec', beside 'cluster':
                distribution: K3d
                distributionConfig: k3d.yaml
                connection:
                  kubeconfig: ~/.kube/config
                  context: k3d-dev
    ");
    let there = "  distribution: K3d\n  distributionConfig: k3d.yaml\n  connection:\n    kubeconfig: ~/.kube/config\n    context: k3d-dev\n";
    let text = LATER.replace("spec:\n", &format!("spec:\n{there}"));
    let manifest = load(&text).unwrap();
    assert_eq!(
        manifest.not_acted_on,
        ["metadata.namespace", "spec.editor", "spec.cluster", "spec.workload", "spec.provider"]
    );
    assert!(schema_takes(&text));
    insta::assert_snapshot!(refusal(&LATER.replace("K3s", "Talos")), @r"
    error: ksail keeps the registries of kind and k3d clusters, and this is neither
     --> ksail.yaml:7:19
      |
    7 |     distribution: Talos
      |                   ^^^^^
      |
      = help: see 'ksail cluster init --help'
    ");
}

#[test]
fn a_list_of_registries_in_other_words_is_shown_in_todays() {
    let items = "  - name: ksail-registry\n    hostPort: 5555\n    isGitOpsSource: true\n  - name: registry.k8s.io-proxy\n    hostPort: 5556\n    proxy: {url: https://registry.k8s.io/}\n  - name: docker.io-proxy\n    hostPort: 5557\n    username: ann\n    password: hunter2\n    proxy: {url: https://registry-1.docker.io}\n  - name: broken\n    proxy: {url: 'https://user:hunter3@ghcr.io'}\n";
    let said = refusal(&format!("{HEAD}  registries:\n{items}"));
    assert!(!said.contains("hunter"), "{said}");
    insta::assert_snapshot!(said, @r#"
    error: 'registries' is a list, as another KSail writes it, and ksail would miss it
     --> ksail.yaml:6:5
      |
    6 |   - name: ksail-registry
      |     ^^^^^^^^^^^^^^^^^^^^
      |
      = help: write below 'spec', in its place:
                registries:
                  mirrors:
                    - host: localhost:5555
                    - host: registry.k8s.io
                      upstream: https://registry.k8s.io
                      port: 5556
                    - host: docker.io
                      upstream: https://registry-1.docker.io
                      port: 5557
                      credentials: {username: "${USERNAME}", password: "${PASSWORD}"}
                    # and 1 more, whose address is not one
    "#);
    let project = "  project: {distribution: Native, distributionConfigPath: ./kind-config.yaml}\n";
    let beside = refusal(&format!("{HEAD}{project}  mirrorRegistries:\n{items}"));
    let (beside, list) = beside.split_once("help: write below 'spec', in its place:\n").unwrap();
    assert_eq!(Some(list), said.split_once("in its place:\n").map(|(_, list)| list), "by either name the same");
    insta::assert_snapshot!(beside.trim_end(), @r"
    error: 'project' says what ksail reads below 'spec' itself, and would miss
     --> ksail.yaml:5:3
      |
    5 |   project: {distribution: Native, distributionConfigPath: ./kind-config.yaml}
      |   ^^^^^^^
      |
      = help: write below 'spec', beside 'project':
                distribution: Kind
                distributionConfig: kind-config.yaml

    error: 'mirrorRegistries' is a list, as another KSail writes it, and ksail would miss it
     --> ksail.yaml:7:5
      |
    7 |   - name: ksail-registry
      |     ^^^^^^^^^^^^^^^^^^^^
      |
      =
    ");
    insta::assert_snapshot!(refusal(&format!("{HEAD}  mirrorRegistries: ['docker.io=https://registry-1.docker.io', ghcr.io]\n")), @r"
    error: 'mirrorRegistries' is a list, as another KSail writes it, and ksail would miss it
     --> ksail.yaml:5:21
      |
    5 |   mirrorRegistries: ['docker.io=https://registry-1.docker.io', ghcr.io]
      |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write below 'spec', in its place:
                registries:
                  mirrors:
                    - host: docker.io
                      upstream: https://registry-1.docker.io
                    - host: ghcr.io
                      upstream: https://ghcr.io
    ");
    for harmless in ["[]", "true", ""] {
        let text = format!("{HEAD}  mirrorRegistries: {harmless}\n");
        assert_eq!(load(&text).unwrap().not_acted_on, ["spec.mirrorRegistries"]);
        assert!(schema_takes(&text), "{text}");
    }
    assert!(!schema_takes(&format!("{HEAD}  mirrorRegistries:\n{items}")));
}

/// What the hint says is a file that loads.
#[test]
fn what_is_shown_can_be_pasted() {
    let text = format!(
        "{HEAD}  registries: [{{name: docker.io, hostPort: 5557, proxy: {{url: 'https://registry-1.docker.io/'}}}}, {{name: mine, hostPort: 5555}}]\n"
    );
    let problems = load(&text).unwrap_err();
    let hint = problems.iter().next().unwrap().hint.clone().unwrap();
    let pasted = hint.split_once('\n').unwrap().1;
    let mirrors = load(format!("{HEAD}{pasted}\n")).unwrap().registries.mirrors;
    let listed: Vec<_> = mirrors.iter().map(|mirror| (mirror.host.as_str(), mirror.port)).collect();
    assert_eq!(listed, [("docker.io", Some(5557)), ("localhost:5555", Some(5555))]);
}

#[test]
fn keys_that_begin_with_x_are_ignored_everywhere_and_kept_by_every_edit() {
    let text = format!(
        "x-login: &login\n  username: ${{HUB_USER}}\n  password: ${{HUB_TOKEN}}\nx-more: {{<<: *login, anything: [1]}}\n{}      x-note: mine\n      credentials: *login\n",
        with_mirrors(HUB)
            .replace("spec:\n", "spec:\n  x-why: because\n")
            .replace("metadata:\n", "metadata:\n  x-a: b\n")
    );
    let manifest = load(&text).unwrap();
    assert!(manifest.registries.mirrors[0].credentials.is_some());
    assert!(manifest.not_acted_on.is_empty());
    assert!(schema_takes(&text.replace("<<: *login, ", "")));
    adding_and_removing(&text);
    insta::assert_snapshot!(refusal(&format!("{}      X-note: mine\n", with_mirrors(HUB))), @r"
    error: unknown field 'X-note'
      --> ksail.yaml:10:7
       |
    10 |       X-note: mine
       |       ^^^^^^
       |
       = help: known in an item of 'mirrors': ca, credentials, fallback, host, listenAddress, port, proxy, ttl, upstream
    ");
}

#[test]
fn an_empty_document_at_the_end_is_none() {
    for end in ["---\n", "---", "---\n# the end\n", "---\n---\n", "...\n---\n", "--- ~\n", "---\r\n"] {
        let text = with_mirrors(HUB) + end;
        assert_eq!(load(&text).unwrap().registries.mirrors.len(), 1, "{end:?}");
        adding_and_removing(&text);
    }
    for end in ["---\na: b\n", "---\n---\n- a\n", "---\n[\n", "--- ''\n"] {
        assert!(load(with_mirrors(HUB) + end).is_err(), "{end:?}");
    }
}

fn adding_and_removing(text: &str) {
    let entry = MirrorEntry {
        host: "quay.example".parse().unwrap(),
        fields: vec![MirrorField::Upstream("https://quay.example".to_owned())],
    };
    let added = apply(text.as_bytes(), &[Edit::AddMirror(entry)]).unwrap();
    assert_eq!(load(&added).unwrap().registries.mirrors.len(), 2);
    let removed = apply(&added, &[Edit::RemoveMirror("quay.example".parse().unwrap())]).unwrap();
    assert_eq!(String::from_utf8(removed).unwrap(), text);
}
