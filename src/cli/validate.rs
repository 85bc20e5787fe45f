//! `ksail validate`

use super::surroundings::{load, manifest_path};
use super::{Exit, Global, OK, print};

pub(super) fn run(global: &Global) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let manifest = load(&path)?;
    let mirrors = match manifest.registries.mirrors.len() {
        1 => "1 mirror".to_owned(),
        n => format!("{n} mirrors"),
    };
    let mut text = format!("{}: cluster {}, {mirrors}: valid\n", path.display(), manifest.name);
    if !manifest.not_acted_on.is_empty() {
        text += &format!("accepted, but not acted on by ksail: {}\n", manifest.not_acted_on.join(", "));
    }
    for mirror in manifest.registries.mirrors.iter().filter(|mirror| !mirror.listen_address.is_loopback()) {
        text += &format!(
            "warning: {} listens on {}: other machines can read from it{}\n",
            mirror.host,
            mirror.listen_address,
            if mirror.upstream.is_none() { " and push to it" } else { "" }
        );
    }
    print(text);
    Ok(OK)
}
