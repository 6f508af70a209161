//! From exec to READY or FAILED.

use super::harness::{Host, apps, get};
use hatchery::control::frame::Kind;

fn failed(module: &str, callable: &str) -> String {
    let mut host = Host::start(module, callable, 1);
    let frame = host.told();
    assert_eq!(frame.header.kind, Kind::Failed, "{}", host.stderr());
    let (code, stderr) = host.ended();
    assert_eq!((code, stderr.as_str()), (Some(3), ""));
    let text = String::from_utf8(frame.payload).unwrap();
    assert!(
        !text.contains("<stdin>") && !text.contains("importlib"),
        "frames of the host are trimmed: {text}"
    );
    text
}

#[test]
fn a_syntax_error_shows_file_and_line() {
    let text = failed("broken_syntax", "application");
    let file = apps().join("broken_syntax.py");
    assert!(text.contains(&format!("File \"{}\", line 1", file.display())), "{text}");
    assert!(text.contains("SyntaxError"), "{text}");
}

#[test]
fn a_failing_import_shows_the_app_s_own_frames() {
    let text = failed("broken_import", "application");
    assert!(text.starts_with("Traceback"), "{text}");
    assert!(text.contains("line 8, in <module>") && text.contains("line 5, in settings"), "{text}");
    assert!(
        text.contains("ModuleNotFoundError: No module named 'no_such_dependency' (the interpreter is /"),
        "{text}"
    );
}

#[test]
fn a_missing_module_says_where_it_was_looked_for() {
    for module in ["no_such_module", "no_such_package.wsgi"] {
        let text = failed(module, "application");
        assert!(text.contains(&format!("cannot import '{module}'")), "{text}");
        assert!(text.contains(&format!("looked in {}", apps().display())), "{text}");
    }
}

#[test]
fn a_missing_or_useless_callable_is_named() {
    let text = failed("hostile", "app");
    assert!(text.contains("module 'hostile' has no 'app'; callables in it: "), "{text}");
    let text = failed("hostile", "holder.nothing");
    assert!(text.contains("has no 'holder.nothing'"), "{text}");
    let text = failed("hostile", "number");
    assert!(text.contains("'number' in module 'hostile' is not callable but 5"), "{text}");
    let text = failed("hostile", "create");
    let said = "'create' in module 'hostile' takes neither environ and start_response (WSGI) nor scope, receive and send \
                (ASGI); if it makes an app, write hostile:create()";
    assert!(text.contains(said), "{text}");
    let text = failed("broken_exit", "application");
    assert!(text.contains("SystemExit: settings are missing"), "{text}");
}

#[test]
fn a_process_that_cannot_start_its_threads_is_not_ready() {
    let mut host = Host::start("broken_threads", "application", 2);
    let frame = host.told();
    assert_eq!(frame.header.kind, Kind::Failed);
    let text = String::from_utf8_lossy(&frame.payload).into_owned();
    assert!(text.starts_with("cannot start 2 threads: can't start new thread; "), "{text}");
    assert_eq!(host.ended().0, Some(3));
}

#[test]
fn callables_may_be_deep_or_made_by_a_factory() {
    for callable in ["application", "holder.inner", "create()", "proxy"] {
        let mut host = Host::start("hostile", callable, 1);
        assert_eq!(host.told().header.kind, Kind::Ready, "{callable}");
        assert_eq!(host.connect(0, 0).get("/hello").text(), "hello");
    }
}

#[test]
fn the_app_finds_a_clean_process() {
    let host = Host::hostile(1);
    let answer = host.connect(0, 0).get("/process");
    let text = answer.text();
    let here = apps().display().to_string();
    for line in [
        "argv=['hatchery', 'hostile:application']\n",
        "settings=[]\n",
        &format!("path='{here}'\n"),
        &format!("cwd='{here}'\n"),
        "main='hostile'\n",
        "thread=True\n",
        "child='[True, False, False]'\n",
        "stdin='/dev/null'\n",
        "buffered=False\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", host.pid())).unwrap();
    assert_eq!(comm, "app hostile\n");
}

#[test]
fn environ_is_what_pep_3333_wants() {
    let host = Host::hostile(1);
    let mut ask = get("/dump/caf\u{e9}");
    ask.query = "a=%20";
    ask.fields =
        &[("Host", b"shop.example"), ("X-Latin", b"caf\xe9"), ("Cookie", b"a=1"), ("Cookie", b"b=2")];
    let text = host.connect(0, 0).ask(&ask).text();
    for line in [
        "PATH_INFO='/dump/caf\u{c3}\u{a9}'\n",
        "QUERY_STRING='a=%20'\n",
        "SCRIPT_NAME=''\n",
        "HTTP_COOKIE='a=1; b=2'\n",
        "HTTP_X_LATIN='caf\u{e9}'\n",
        "wsgi.version=(1, 0)\n",
        "wsgi.url_scheme='http'\n",
        "wsgi.multithread=False\n",
        "wsgi.multiprocess=False\n",
        "wsgi.run_once=False\n",
        "wsgi.input_terminated=True\n",
        "SERVER_PROTOCOL='HTTP/1.1'\n",
        "type=dict\n",
    ] {
        let bytes: String = line.chars().collect();
        let latin: Vec<u8> = bytes.chars().map(|character| character as u8).collect();
        let shown = String::from_utf8_lossy(&latin).into_owned();
        assert!(text.contains(&shown), "{shown}{text}");
    }
    assert!(!text.contains("CONTENT_LENGTH") && !text.contains("PATH="), "{text}");
}
