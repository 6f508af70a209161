use super::*;
use crate::sys::user;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

/// A directory of its own, removed at the end.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let path = fs::canonicalize(std::env::temp_dir()).unwrap();
        let path = path.join(format!("hatchery-place-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refused<T>(result: io::Result<T>) -> String {
    match result {
        Err(error) if error.raw_os_error().is_none() => error.to_string(),
        Err(error) => panic!("{error}, without a reason"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn links_are_followed_while_nobody_else_can_change_the_way() {
    let ground = Ground::new("links");
    ground.directory("real", 0o755);
    symlink("real", ground.at("relative")).unwrap();
    symlink(ground.at("relative"), ground.at("absolute")).unwrap();
    symlink("../real/../relative/x", ground.at("real/up")).unwrap();
    for way in ["real/x", "relative/x", "absolute/x", "absolute/./x", "real/../absolute/x"] {
        let place = Place::of(&ground.at(way)).unwrap();
        assert_eq!((place.path(), place.hold()), (ground.at("real/x").as_path(), Hold::Own), "{way}");
    }
    // The last name is followed if that is asked for, also to what is not there yet.
    assert_eq!(Place::of(&ground.at("real/up")).unwrap().path(), ground.at("real/up"));
    assert_eq!(Place::through_links(&ground.at("real/up")).unwrap().path(), ground.at("real/x"));
    let directory = Directory::through_links(&ground.at("absolute")).unwrap();
    assert_eq!((directory.path.as_path(), directory.hold), (ground.at("real").as_path(), Hold::Own));
    symlink("loop", ground.at("loop")).unwrap();
    let error = Place::of(&ground.at("loop/x")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    let error = Place::of(&ground.at("missing/x")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(Place::of(Path::new("/")).is_err() && Place::of(&ground.at("..")).is_err());
}

#[test]
fn no_link_is_followed_where_others_can_put_one() {
    let ground = Ground::new("open");
    let open = ground.directory("open", 0o777);
    ground.directory("real", 0o755);
    symlink("../real", open.join("link")).unwrap();
    symlink("/etc", open.join("etc")).unwrap();
    let why = refused(Place::of(&open.join("link/x")));
    assert!(why.contains("open/link` is a symbolic link") && why.contains("every user can change"), "{why}");
    assert!(refused(Place::through_links(&open.join("etc"))).contains("is a symbolic link"));
    assert!(refused(Directory::through_links(&open.join("etc"))).contains("is a symbolic link"));
    // Nor from there on, wherever the way leads.
    let deep = ground.directory("open/deep", 0o755);
    symlink("../../real", deep.join("link")).unwrap();
    assert!(refused(Place::of(&deep.join("link/x"))).contains("open/deep/link` is a symbolic link"));
    assert!(refused(Place::of(&deep.join("../link/x"))).contains("open/link`"));
    let place = Place::of(&deep.join("x")).unwrap();
    assert_eq!(place.hold(), Hold::Open(Stranger::Anybody));
    if user::is_root() {
        let theirs = ground.directory("theirs", 0o755);
        symlink("../real", theirs.join("link")).unwrap();
        std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
        assert!(refused(Place::of(&theirs.join("link/x"))).contains("the user `nobody` can change"));
        // A link of theirs in a directory of ours.
        symlink("real", ground.at("theirs-link")).unwrap();
        std::os::unix::fs::lchown(ground.at("theirs-link"), Some(65534), None).unwrap();
        assert!(refused(Place::of(&ground.at("theirs-link/x"))).contains("belongs to the user `nobody`"));
    }
}

#[test]
fn in_a_sticky_directory_links_of_ours_are_followed() {
    let ground = Ground::new("sticky");
    let sticky = ground.directory("sticky", 0o1777);
    ground.directory("real", 0o755);
    symlink("../real", sticky.join("link")).unwrap();
    assert_eq!(Place::of(&sticky.join("link/x")).unwrap().hold(), Hold::Own);
    assert_eq!(Place::of(&sticky.join("x")).unwrap().hold(), Hold::Sticky(Stranger::Anybody));
    let own = ground.directory("sticky/own", 0o755);
    assert_eq!(Place::of(&own.join("x")).unwrap().hold(), Hold::Own);
    // A second name of a link from elsewhere, which others may be able to make.
    fs::hard_link(sticky.join("link"), sticky.join("second")).unwrap();
    assert!(refused(Place::of(&sticky.join("second/x"))).contains("more than one name"));
}

#[test]
fn standard_output_and_devices_are_logs_that_the_operator_can_name() {
    for name in ["/dev/null", "/dev/stdout", "/proc/self/fd/1"] {
        let place = Place::through_links(Path::new(name)).unwrap();
        if let Err(error) = place.append(0o640, &[]) {
            // A closed or strange standard output of the test itself.
            assert!(name != "/dev/null" && error.raw_os_error().is_some(), "{name}: {error}");
        }
    }
    let fd =
        fs::File::create(std::env::temp_dir().join(format!("hatchery-fd-{}", std::process::id()))).unwrap();
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let opened = Place::through_links(Path::new(&path)).unwrap().append(0o640, &[]).unwrap();
    assert_eq!(opened.metadata().unwrap().ino(), fd.metadata().unwrap().ino());
    fs::remove_file(std::env::temp_dir().join(format!("hatchery-fd-{}", std::process::id()))).unwrap();
}

#[test]
fn a_log_is_a_file_of_one_name_where_others_can_put_something_else() {
    let ground = Ground::new("log");
    let open = ground.directory("open", 0o777);
    fs::write(ground.at("victim"), "precious").unwrap();
    let append =
        |name: &str| Place::through_links(&open.join(name)).and_then(|place| place.append(0o640, &[]));
    use io::Write as _;
    append("new").unwrap().write_all(b"one\n").unwrap();
    append("new").unwrap().write_all(b"two\n").unwrap();
    assert_eq!(fs::read(open.join("new")).unwrap(), b"one\ntwo\n");
    assert_eq!(fs::metadata(open.join("new")).unwrap().permissions().mode() & 0o777, 0o640);
    symlink("../victim", open.join("link")).unwrap();
    symlink("../made", open.join("dangling")).unwrap();
    fs::hard_link(ground.at("victim"), open.join("hard")).unwrap();
    for (name, why) in [("link", "symbolic link"), ("dangling", "symbolic link"), ("hard", "hard link")] {
        let refused = refused(append(name));
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(fs::read(ground.at("victim")).unwrap(), b"precious");
    assert!(!ground.at("made").exists());
    // The operator's own link, in a directory that only the operator can change.
    symlink("victim", ground.at("link")).unwrap();
    Place::through_links(&ground.at("link")).and_then(|place| place.append(0o640, &[])).unwrap();
    if user::is_root() {
        fs::write(open.join("theirs"), "").unwrap();
        std::os::unix::fs::chown(open.join("theirs"), Some(65534), None).unwrap();
        assert!(refused(append("theirs")).contains("belongs to the user `nobody`"));
        let place = Place::through_links(&open.join("theirs")).unwrap();
        place.append(0o640, &[65534]).unwrap();
        std::os::unix::fs::chown(&open, Some(65534), None).unwrap();
        append("theirs").unwrap();
        append("new").unwrap();
        assert!(refused(append("link")).contains("the user `nobody` can change"));
    }
}

#[test]
fn directories_are_made_ours_or_refused() {
    let ground = Ground::new("make");
    let made = Directory::own(&ground.at("a/b/c"), 0o711).unwrap();
    assert_eq!(made.path, ground.at("a/b/c"));
    assert_eq!(fs::metadata(&made.path).unwrap().permissions().mode() & 0o7777, 0o711);
    assert!(Place::of(&made.path).unwrap().make_directory(0o700).unwrap().is_none(), "it is taken");
    fs::write(made.path.join("x"), "").unwrap();
    symlink("/etc", made.path.join("y")).unwrap();
    Place::of(&made.path).unwrap().remove_directory().unwrap();
    assert!(!made.path.exists() && Path::new("/etc").exists());
    fs::write(ground.at("file"), "").unwrap();
    assert!(refused(Directory::own(&ground.at("file"), 0o755)).contains("is a file"));
}

#[test]
fn a_name_is_removed_only_while_it_is_the_same_file() {
    let ground = Ground::new("remove");
    let place = Place::of(&ground.at("x")).unwrap();
    place.remove((1, 1)).unwrap();
    fs::write(ground.at("x"), "").unwrap();
    let file = identity(&place.stat().unwrap().unwrap());
    fs::rename(ground.at("x"), ground.at("y")).unwrap();
    fs::write(ground.at("x"), "another").unwrap();
    place.remove(file).unwrap();
    assert!(ground.at("x").exists());
    assert_eq!(identity_at(&ground.at("y")), Some(file));
    Place::of(&ground.at("y")).unwrap().remove(file).unwrap();
    assert!(!ground.at("y").exists());
}

#[test]
fn what_is_made_aside_shows_up_whole_or_not_at_all() {
    let ground = Ground::new("aside");
    let open = ground.directory("open", 0o777);
    let place = Place::of(&open.join("x")).unwrap();
    let aside = Aside::new(&place).unwrap();
    fs::write(aside.path(), "whole").unwrap();
    aside.set(Access::of_mode(0o666)).unwrap();
    assert!(!open.join("x").exists());
    let file = aside.publish().unwrap();
    assert_eq!(identity_at(&open.join("x")), Some(file));
    assert_eq!(fs::metadata(open.join("x")).unwrap().permissions().mode() & 0o777, 0o666);
    // Nothing is replaced, and nothing is left.
    let aside = Aside::new(&place).unwrap();
    fs::write(aside.path(), "other").unwrap();
    assert_eq!(aside.publish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(open.join("x")).unwrap(), b"whole");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 1);
}
