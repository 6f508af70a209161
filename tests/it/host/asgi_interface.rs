//! What an app speaks is found out.

use super::asgi_harness::{Line, app, get, sound};
use super::harness::Host;
use hatchery::control::frame::Kind;

fn failed(callable: &str, settings: &[(&str, &str)]) -> String {
    let mut host = Host::start_with("asgi_interface", callable, settings);
    let frame = host.told();
    assert_eq!(frame.header.kind, Kind::Failed, "{callable}");
    assert_eq!(host.ended(), (Some(3), String::new()), "{callable}");
    String::from_utf8(frame.payload).unwrap()
}

#[test]
fn asgi_apps_of_all_kinds_are_recognised() {
    for callable in [
        "coroutine",
        "plain",
        "other_names",
        "instance",
        "bound",
        "slotted",
        "Framework.of_class",
        "Framework.static",
        "Endpoint",
        "wrapped",
        "wrapping",
        "partial",
        "create()",
        "Framework()",
        "anonymous",
    ] {
        let host = app("asgi_interface", callable, &[]);
        sound(&Line::to(&host, 0).ask(&get("/")), "200", "served");
    }
}

#[test]
fn wsgi_apps_of_all_kinds_stay_wsgi() {
    for callable in ["wsgi", "wsgi_instance", "wsgi_wrapped", "wsgi_partial", "WsgiFramework()", "opaque"] {
        let mut host = Host::start("asgi_interface", callable, 1);
        let ready = host.told();
        assert_eq!((ready.header.kind, &*ready.payload), (Kind::Ready, &b""[..]), "{callable}");
        if callable != "opaque" {
            assert_eq!(host.connect(0, 0).ask(&super::harness::get("/")).text(), "served", "{callable}");
        }
    }
}

#[test]
fn what_is_no_app_is_refused_with_the_way_out() {
    let neither = "takes neither environ and start_response (WSGI) nor scope, receive and send (ASGI)";
    let cases = [
        ("create", neither, "; if it makes an app, write asgi_interface:create()\n"),
        ("Framework", neither, "; if it makes an app, write asgi_interface:Framework()\n"),
        ("configured", neither, "; if it makes an app, write asgi_interface:configured()\n"),
        ("create_late", neither, "; if it makes an app, write asgi_interface:create_late()\n"),
        (
            "create_late()",
            "is not callable but <coroutine object",
            "a factory of apps must not be a coroutine function\n",
        ),
        (
            "double",
            "is an app of ASGI 2, called with nothing but scope",
            "(asgiref.compatibility.guarantee_single_callable)\n",
        ),
        (
            "Double",
            "is an app of ASGI 2, called with nothing but scope",
            "(asgiref.compatibility.guarantee_single_callable)\n",
        ),
    ];
    for (callable, what, hint) in cases {
        let text = failed(callable, &[]);
        assert!(text.contains(&format!("{callable:?}").replace('"', "'")), "{callable}: {text}");
        assert!(text.contains(what) && text.ends_with(hint), "{callable}: {text}");
    }
    let mut host = Host::start("asgi_interface", "application", 1);
    let text = String::from_utf8(host.told().payload).unwrap();
    assert!(
        text.contains("module 'asgi_interface' has no 'application'; callables in it: coroutine, plain, "),
        "{text}"
    );
}

#[test]
fn an_interface_that_is_given_is_held_to() {
    let text = failed("wsgi", &[("INTERFACE", "asgi")]);
    assert!(
        text.contains("'wsgi' in module 'asgi_interface' is a WSGI app, but an ASGI app is wanted here"),
        "{text}"
    );
    let text = failed("coroutine", &[("INTERFACE", "wsgi")]);
    assert!(
        text.contains("'coroutine' in module 'asgi_interface' is an ASGI app, but a WSGI app is wanted here"),
        "{text}"
    );
    let host = app("asgi_interface", "opaque", &[("INTERFACE", "asgi")]);
    sound(&Line::to(&host, 0).ask(&get("/")), "200", "served");
}
