//! The whole tree of `--help`, at 80 columns.

use insta::assert_snapshot;

use crate::ran::Project;

/// Every command that has a help of its own, in the order of the help above it.
fn tree(project: &Project, path: &[&str], text: &mut String) {
    let help = project.succeeds(&[path, &["--help"]].concat());
    *text = format!("{text}$ ksail {}\n{help}\n", [path, &["--help"]].concat().join(" "));
    let commands =
        help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        tree(project, &[path, &[name]].concat(), text);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "the help itself")]
fn the_whole_tree_reads_well_at_80_columns() {
    let mut text = String::new();
    tree(&Project::new(), &[], &mut text);
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "longer than 80 columns: {long:#?}");
    assert_snapshot!(text, @r"
    $ ksail --help
    Keeps local OCI registries running the way ksail.yaml says.

    Pull-through mirrors of docker.io, ghcr.io and the like, and registries to push
    to, as containers joined to the network of a kind or k3d cluster. ksail.yaml
    says which; `ksail watch` keeps them so.

    Usage: ksail [OPTIONS] <COMMAND>

    Commands:
      cluster      Write ksail.yaml, or change its state and apply that
      mirror       Add, change, remove or print entries of the list in ksail.yaml
      watch        Reconcile until stopped: follow the file, repair what breaks
      apply        Reconcile once and wait until every mirror is Ready
      diff         Print what apply would do
      status       Show the mirrors and their conditions [alias: ps]
      restart      Restart a mirror's registry, and wait until it serves
      logs         Print what a mirror's registry says
      verify       Prove that the cluster's nodes pull through the mirrors
      validate     Check the manifest, without an engine
      schema       Print the JSON Schema of ksail.yaml
      completions  Print the completions of a shell
      version      Print the versions of ksail, of the engine, and of kind and k3d
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Global options:
      -f, --file <FILE>
              The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in this directory
              or the closest one above

      -C, --directory <DIR>
              Do all that from this directory, as git does

          --host <ADDRESS>
              Address of the engine, as for docker; otherwise found as the docker
              CLI finds it

      -v, --verbose...
              Say more on standard error; twice for every engine call

          --no-color
              No colours (`NO_COLOR` does the same)

    $ ksail cluster --help
    Write ksail.yaml, or change its state and apply that

    Usage: ksail cluster [OPTIONS] <COMMAND>

    Commands:
      init    Write ksail.yaml and the configuration of kind or k3d
      create  Set `state: Present` in ksail.yaml, and apply it
      delete  Set `state: Absent` in ksail.yaml, and apply it
      list    Show of which clusters there is something on the engine, kept volumes
              included [alias: ls]
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail cluster init --help
    Write ksail.yaml and the configuration of kind or k3d

    Usage: ksail cluster init [OPTIONS]

    Options:
          --name <NAME>
              Name of the cluster; otherwise what kind.yaml or k3d.yaml calls it, or
              that of the directory
          --distribution <DISTRIBUTION>
              What makes the cluster; otherwise Kind, or K3d where there is a
              k3d.yaml [possible values: Kind, K3d]
          --distribution-config <FILE>
              The distribution's own configuration file; otherwise kind.yaml or
              k3d.yaml. What it says already is taken over
          --lifecycle <WHO>
              Who creates and deletes the cluster [possible values: Managed,
              External]
          --mirror-registry <HOST[=UPSTREAM]>
              A pull-through cache of a registry; may be repeated
          --local-registry <HOST:PORT>
              A registry to push to; may be repeated
          --image <IMAGE>
              Image of the registries; otherwise registry:3
          --volume-policy <POLICY>
              What becomes of the volume of a mirror that leaves the list [possible
              values: Retain, Delete]
          --kubeconfig <FILE>
              Path of the cluster's kubeconfig
          --context <NAME>
              Context in the kubeconfig
          --connection-timeout <DURATION>
              Longest time to wait for the cluster (30s, 5m, 1h)
      -o, --output <DIR>
              Write there; otherwise in this directory
          --force
              Replace files that are there
      -h, --help
              Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail cluster create --help
    Set `state: Present` in ksail.yaml, and apply it

    Usage: ksail cluster create [OPTIONS]

    Options:
          --mirror-registry <HOST[=UPSTREAM]>
              Add this mirror to ksail.yaml first; may be repeated
          --timeout <DURATION>
              End after this long (30s, 5m, 1h), of which a tenth, at most a minute,
              is for undoing what is half done; otherwise 5m, or 15m where ksail
              creates the cluster
      -o, --output <OUTPUT>
              Format; json is one object per line [default: text] [possible values:
              text, json]
          --concurrency <N>
              Engine calls at once [default: 8]
          --adopt
              Let this file take over from another one that names the same cluster
      -h, --help
              Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail cluster delete --help
    Set `state: Absent` in ksail.yaml, and apply it

    Usage: ksail cluster delete [OPTIONS]

    Options:
          --delete-registry-volumes
              Remove the volumes of its registries as well (`state: Purged`)
          --name <NAME>
              A cluster whose file is lost, by what there is of it on the engine: no
              file is read or written
          --timeout <DURATION>
              End after this long (30s, 5m, 1h), of which a tenth, at most a minute,
              is for undoing what is half done; otherwise 5m, or 15m where ksail
              creates the cluster
      -o, --output <OUTPUT>
              Format; json is one object per line [default: text] [possible values:
              text, json]
          --concurrency <N>
              Engine calls at once [default: 8]
          --adopt
              Let this file take over from another one that names the same cluster
      -h, --help
              Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    Examples:
      ksail cluster delete                            registries go, their volumes
      stay
      ksail cluster delete --delete-registry-volumes  and the volumes with them
      ksail cluster delete --name old                 without its file, which is
      lost

    $ ksail cluster list --help
    Show of which clusters there is something on the engine, kept volumes included

    Usage: ksail cluster list [OPTIONS]

    Options:
      -o, --output <OUTPUT>  Format [default: text] [possible values: text, json]
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    It needs no file: what there is says by its labels whose it is. 'ksail cluster
    delete --name NAME' removes it.

    $ ksail mirror --help
    Add, change, remove or print entries of the list in ksail.yaml

    Usage: ksail mirror [OPTIONS] <COMMAND>

    Commands:
      add     Add a mirror, or a registry to push to, at the end of the list
      set     Change fields of a mirror
      remove  Remove a mirror, with the comment directly above it [alias: rm]
      list    Print the list [alias: ls]
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail mirror add --help
    Add a mirror, or a registry to push to, at the end of the list

    Usage: ksail mirror add [OPTIONS] <HOST[=UPSTREAM]>

    Arguments:
      <HOST[=UPSTREAM]>  What images are called, and where they come from when that
                         is not obvious; localhost:PORT is a registry to push to

    Options:
          --port <PORT>
              Port of this machine
          --listen-address <ADDRESS>
              Address of this machine to listen on; otherwise 127.0.0.1
          --fallback <BOOL>
              Whether nodes may go around the mirror when it fails [possible values:
              true, false]
          --ttl <DURATION>
              How long cached content stays (168h); 0s is for ever
          --username <${VARIABLE}>
              User name for the upstream, as '${VARIABLE}'
          --password <${VARIABLE}>
              Password for the upstream, as '${VARIABLE}'
          --dry-run
              Print a unified diff and change nothing
      -h, --help
              Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail mirror set --help
    Change fields of a mirror

    Usage: ksail mirror set [OPTIONS] <HOST>

    Arguments:
      <HOST>  Which mirror

    Options:
          --upstream <URL>
              Where it gets what it does not have
          --port <PORT>
              Port of this machine
          --listen-address <ADDRESS>
              Address of this machine to listen on; otherwise 127.0.0.1
          --fallback <BOOL>
              Whether nodes may go around the mirror when it fails [possible values:
              true, false]
          --ttl <DURATION>
              How long cached content stays (168h); 0s is for ever
          --username <${VARIABLE}>
              User name for the upstream, as '${VARIABLE}'
          --password <${VARIABLE}>
              Password for the upstream, as '${VARIABLE}'
          --unset <FIELD>
              Take a field out, so that it has its default; may be repeated
              [possible values: upstream, port, listen-address, fallback, ttl,
              credentials]
          --dry-run
              Print a unified diff and change nothing
      -h, --help
              Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail mirror remove --help
    Remove a mirror, with the comment directly above it

    Usage: ksail mirror remove [OPTIONS] <HOST>...

    Arguments:
      <HOST>...  Which mirrors

    Options:
          --dry-run  Print a unified diff and change nothing
      -h, --help     Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail mirror list --help
    Print the list

    Usage: ksail mirror list [OPTIONS]

    Options:
      -o, --output <OUTPUT>  Format [default: text] [possible values: text, name,
                             json, yaml]
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail watch --help
    Reconcile until stopped: follow the file, repair what breaks

    Usage: ksail watch [OPTIONS]

    Options:
      -o, --output <OUTPUT>  Format; json is one object per line [default: text]
                             [possible values: text, json]
          --concurrency <N>  Engine calls at once [default: 8]
          --adopt            Let this file take over from another one that names the
                             same cluster
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail apply --help
    Reconcile once and wait until every mirror is Ready

    Usage: ksail apply [OPTIONS]

    Options:
          --timeout <DURATION>  End after this long (30s, 5m, 1h), of which a tenth,
                                at most a minute, is for undoing what is half done;
                                otherwise 5m, or 15m where ksail creates the cluster
      -o, --output <OUTPUT>     Format; json is one object per line [default: text]
                                [possible values: text, json]
          --concurrency <N>     Engine calls at once [default: 8]
          --adopt               Let this file take over from another one that names
                                the same cluster
          --dry-run             Print what it would do, as `ksail diff` does, and do
                                nothing
      -h, --help                Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail diff --help
    Print what apply would do

    Usage: ksail diff [OPTIONS]

    Options:
      -o, --output <OUTPUT>  Format [default: text] [possible values: text, json]
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail status --help
    Show the mirrors and their conditions

    Usage: ksail status [OPTIONS] [HOST]

    Arguments:
      [HOST]  Only this mirror, with all of its conditions

    Options:
      -o, --output <OUTPUT>  Format; wide has more columns than table [default:
                             table] [possible values: table, wide, name, json, yaml]
          --no-headers       Without the line of headings
      -w, --watch            Look again every 2 s, and show what has changed, until
                             stopped
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    Examples:
      ksail status                  one line per mirror, and what is not well
      ksail status docker.io        every condition of one mirror
      ksail status -o json | jq '.mirrors[].conditions'
      ksail status --watch          again every 2 s, until Ctrl-C

    Exit code: 0 when all of it is Ready, 1 when not, 2 for a bad manifest or
    command line.

    $ ksail restart --help
    Restart a mirror's registry, and wait until it serves

    Usage: ksail restart [OPTIONS] <HOST>

    Arguments:
      <HOST>  Whose registry

    Options:
      -h, --help  Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    What a registry has in memory goes, what it has in its volume stays. A `ksail
    watch` beside it lets it be.

    Exit code: 0 when it serves again, 1 when not, 2 for a bad manifest or command
    line.

    $ ksail logs --help
    Print what a mirror's registry says

    Its own words, without the lines about ksail's asking every few seconds whether
    it is there.

    Usage: ksail logs [OPTIONS] <HOST>

    Arguments:
      <HOST>
              Whose registry

    Options:
          --follow
              Go on with what it says from now on, until stopped; after `logs`, -f
              is this, as everybody has it

          --requests
              Only requests: who asked for what, and the answer

          --tail <N>
              Only the last so many lines of its log

      -h, --help
              Print help (see a summary with '-h')

    Global options:
      -f, --file <FILE>
              The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in this directory
              or the closest one above

      -C, --directory <DIR>
              Do all that from this directory, as git does

          --host <ADDRESS>
              Address of the engine, as for docker; otherwise found as the docker
              CLI finds it

      -v, --verbose...
              Say more on standard error; twice for every engine call

          --no-color
              No colours (`NO_COLOR` does the same)

    Examples:
      ksail logs docker.io               what its registry has said
      ksail logs docker.io --requests -f who asks for what, as it happens

    Exit code: 0, also when stopped; 1 when there is no such container; 2 for a bad
    manifest or command line.

    $ ksail verify --help
    Prove that the cluster's nodes pull through the mirrors

    An image is pulled on each node with containerd's own client, and has to show in
    the mirror's log. Where it does not, the first hop that does not work is named:
    node file, DNS, proxy, connect, mirror, upstream or credentials.

    Usage: ksail verify [OPTIONS] [HOST]

    Arguments:
      [HOST]
              The mirror to prove; otherwise all of them

    Options:
          --image <IMAGE>
              The image to pull (alpine:3, ghcr.io/team/app:1); otherwise one the
              mirror has already

          --timeout <DURATION>
              End after this long (30s, 5m); what is not known by then is not proven
              
              [default: 2m]

      -o, --output <OUTPUT>
              Format
              
              [default: text]
              [possible values: text, json]

      -h, --help
              Print help (see a summary with '-h')

    Global options:
      -f, --file <FILE>
              The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in this directory
              or the closest one above

      -C, --directory <DIR>
              Do all that from this directory, as git does

          --host <ADDRESS>
              Address of the engine, as for docker; otherwise found as the docker
              CLI finds it

      -v, --verbose...
              Say more on standard error; twice for every engine call

          --no-color
              No colours (`NO_COLOR` does the same)

    $ ksail validate --help
    Check the manifest, without an engine

    Usage: ksail validate [OPTIONS]

    Options:
      -o, --output <OUTPUT>  Format [default: text] [possible values: text, json]
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    Exit code: 0 when it is valid, 2 when not.

    $ ksail schema --help
    Print the JSON Schema of ksail.yaml

    Usage: ksail schema [OPTIONS]

    Options:
      -h, --help  Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)

    $ ksail completions --help
    Print the completions of a shell

    bash, in ~/.bashrc:                  source <(ksail completions bash)
    zsh, in ~/.zshrc:                    source <(ksail completions zsh)
    fish, in ~/.config/fish/config.fish: ksail completions fish | source

    Usage: ksail completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>
              Which shell
              
              [possible values: bash, zsh, fish]

    Options:
      -h, --help
              Print help (see a summary with '-h')

    Global options:
      -f, --file <FILE>
              The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in this directory
              or the closest one above

      -C, --directory <DIR>
              Do all that from this directory, as git does

          --host <ADDRESS>
              Address of the engine, as for docker; otherwise found as the docker
              CLI finds it

      -v, --verbose...
              Say more on standard error; twice for every engine call

          --no-color
              No colours (`NO_COLOR` does the same)

    $ ksail version --help
    Print the versions of ksail, of the engine, and of kind and k3d

    Usage: ksail version [OPTIONS]

    Options:
      -o, --output <OUTPUT>  Format [default: text] [possible values: text, json]
      -h, --help             Print help

    Global options:
      -f, --file <FILE>      The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in
                             this directory or the closest one above
      -C, --directory <DIR>  Do all that from this directory, as git does
          --host <ADDRESS>   Address of the engine, as for docker; otherwise found
                             as the docker CLI finds it
      -v, --verbose...       Say more on standard error; twice for every engine call
          --no-color         No colours (`NO_COLOR` does the same)
    ");
}
