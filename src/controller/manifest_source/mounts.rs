//! File systems that tell only of the changes made on this machine.
//!
//! inotify(7): it "reports only events that a user-space program triggers through the filesystem API. As a result, it
//! does not catch remote events that occur on network filesystems."

use std::path::Path;

use crate::limit::FILE;

/// Network file systems, and those through which a virtual machine has its host's directories. FUSE has a name for
/// each program (`fuse.sshfs`, `fuse.grpcfuse`), most of which are one or the other.
const SHARED: [&str; 16] = [
    "9p",
    "afs",
    "ceph",
    "cifs",
    "drvfs",
    "fakeowner",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "prl_fs",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
];

/// The name of the file system a directory is on, if others can change what is there without an event.
pub(super) fn shared(directory: &Path) -> Option<String> {
    let mounts = FILE.read_text_file("/proc/self/mountinfo").ok()?;
    let kind = file_system(&mounts, directory)?;
    (SHARED.contains(&kind) || kind.starts_with("fuse.")).then(|| kind.to_owned())
}

/// What is mounted where a directory is, by proc(5)'s `mountinfo`: the deepest mount point above it, and of two in the
/// same place the later.
fn file_system<'a>(mounts: &'a str, directory: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        Some((unescaped(mount.split(' ').nth(4)?), source.split(' ').next()?))
    });
    let above = mounts.filter(|(point, _)| directory.starts_with(point));
    above.max_by_key(|(point, _)| Path::new(point).components().count()).map(|(_, kind)| kind)
}

/// A path without the `\040` that stands for a space, and its like.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escape, character)| path.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 27 0:30 / /home rw - nfs4 server:/home rw,vers=4.2
31 30 0:31 / /home/me/my\\040code rw - fuse.sshfs host:code rw
32 27 0:32 / /mnt rw - ext4 /dev/sdb rw
33 27 0:33 / /mnt rw master:1 - 9p share rw
";

    #[test]
    fn the_deepest_mount_point_counts_and_of_two_in_one_place_the_later() {
        let kind = |path: &str| file_system(MOUNTS, Path::new(path));
        assert_eq!(kind("/srv/project"), Some("ext4"));
        assert_eq!(kind("/home/me"), Some("nfs4"));
        assert_eq!(kind("/homely"), Some("ext4"));
        assert_eq!(kind("/home/me/my code/project"), Some("fuse.sshfs"));
        assert_eq!(kind("/mnt"), Some("9p"));
    }

    #[test]
    fn nothing_is_known_where_the_system_does_not_say() {
        assert_eq!(file_system("", Path::new("/srv")), None);
        assert_eq!(file_system("not what proc(5) says\n", Path::new("/srv")), None);
    }
}
