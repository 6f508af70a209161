//! A master of root's in a container with users of its own, as rootless Podman makes it: /proc, and what the host's users
//! have put there, show as nobody's.

use crate::harness::{Directory, binary};
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// Runs a program of the shell as root of a user and mount namespace of its own; exits with 77 where there are none.
const INSIDE: &str = r#"
import ctypes, os, sys
asks, told = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    if ctypes.CDLL(None).unshare(0x10000000 | 0x00020000):
        os._exit(77)
    os.write(asks[1], b"x")
    os.read(told[0], 1)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)
    os.execv("/bin/sh", ["sh", "-euc", sys.argv[1], "sh", *sys.argv[2:]])
os.close(asks[1])
if os.read(asks[0], 1):
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as file:
            file.write("0 100000 65536")
    os.write(told[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// A root directory of the container's, with the directory of the test as `/host`, and the binary from stdin.
const CONTAINER: &str = r#"
mount --bind "$1" /mnt
mount -t tmpfs -o mode=755 none "$1"
cd "$1"
mkdir dev etc host
for way in usr lib lib64 bin proc; do
    if [ -d /$way ]; then mkdir $way; mount --rbind /$way $way; fi
done
mount --bind /mnt host
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/1 dev/stdout
cat > hatchery
chmod 755 hatchery
cp host/hatchery.ron etc
cat > etc/passwd <<END
root:x:0:0::/:/bin/sh
nobody:x:65534:65534::/:/bin/false
END
exec chroot . /bin/sh -euc "$2" < /dev/null
"#;

/// What this program of the shell says and exits with in the container, if there can be one.
fn inside(program: &str) -> Option<(Option<i32>, String)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("nothing to test: only root can map users");
        return None;
    }
    let directory = Directory::new();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory.write(
        "hatchery.ron",
        "(control: \"/etc/c.sock\", log: (access: (path: \"/dev/stdout\")), sites: [(listen: [\"127.0.0.1:0\"], \
         locations: [(path: \"/\", to: Respond(status: 204))])])\n",
    );
    let mut command = Command::new("python3");
    command.args(["-c", INSIDE, CONTAINER]).arg(directory.path()).arg(program);
    let output = command.stdin(File::open(binary()).unwrap()).output().unwrap();
    if output.status.code() == Some(77) {
        eprintln!("nothing to test: no user namespaces");
        return None;
    }
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn standard_output_and_descriptors_are_followed_through_a_proc_of_nobodys() {
    let Some((code, said)) = inside(
        "test \"$(stat -c %u /proc)\" = 65534
        /hatchery check -c /etc/hatchery.ron
        /hatchery check -c /dev/fd/3 3< /etc/hatchery.ron",
    ) else {
        return;
    };
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("symbolic link") && !said.contains("no account"), "{said}");
}

#[test]
fn a_configuration_of_the_host_is_read_with_one_warning() {
    // It and its directory are of root outside, who shows as 65534: not the account `nobody` in here.
    let Some((code, said)) = inside("/hatchery check -c /host/hatchery.ron") else { return };
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a user of the host (shown as 65534) can change it"), "{said}");
    assert_eq!(said.matches("no account").count(), 1, "{said}");
    let other = "cp /etc/hatchery.ron /etc/other.ron; chown 1:1 /etc/other.ron
        echo 'other:x:1:1::/:/bin/sh' >> /etc/passwd; /hatchery check -c /etc/other.ron";
    let Some((code, said)) = inside(other) else { return };
    assert_eq!(code, Some(2), "an account of the container's: {said}");
}
