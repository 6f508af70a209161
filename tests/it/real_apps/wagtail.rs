//! Wagtail, a content management system on Django: its own project, as `wagtail start` makes it, and its admin.

use crate::harness::{Browser, Load, Reply, Setup, apps, get, real_virtualenv};
use std::path::Path;
use std::process::Command;

fn configuration(app: &str) -> String {
    format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/static/", to: Files(root: "static", cache: "immutable")),
        (path: "/media/", to: Files(root: "media")),
        (path: "/", to: App("cms")),
    ])],
    apps: {{"cms": (
        module: "site_of_test.wsgi", chdir: "{{dir}}", home: "{{real_venv}}", boot_timeout: "5m", {app}
        env: {{"DJANGO_SETTINGS_MODULE": "site_of_test.settings.production", "PYTHONDONTWRITEBYTECODE": "1"}},
    )}},"#
    )
}

/// The site in this directory, and the image `hen.png`.
fn prepare(directory: &Path) {
    let output = Command::new(real_virtualenv().join("bin/python"))
        .arg(apps().join("real/wagtail/prepare.py"))
        .arg(directory)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Where the form led to, if it was taken.
#[track_caller]
fn taken(reply: &Reply) -> String {
    assert_eq!(reply.status, 302, "{}", reply.text());
    reply.field("location").unwrap().to_owned()
}

/// The text between `before` and the next quote.
#[track_caller]
fn attribute(text: &str, before: &str) -> String {
    let (_, after) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    after.split('"').next().unwrap().to_owned()
}

/// Publishes a page with the photo of this number below the home page.
#[track_caller]
fn publish(editor: &mut Browser, title: &str, photo: &str) {
    let body = r#"{"blocks": [{"key": "a", "text": "Laid today.", "type": "unstyled", "depth": 0,
        "inlineStyleRanges": [], "entityRanges": []}], "entityMap": {}}"#;
    let form = [
        ("title", title),
        ("slug", &title.to_lowercase()),
        ("body", body),
        ("photo", photo),
        ("comments-TOTAL_FORMS", "0"),
        ("comments-INITIAL_FORMS", "0"),
        ("action-publish", "action-publish"),
    ];
    let list = taken(&editor.submit("/admin/pages/add/home/homepage/3/", &form));
    assert!(editor.get(&list).text().contains(title));
}

/// What a visitor sees of it: the page and its small image, made by the app and sent by the server.
#[track_caller]
fn visit(visitor: &mut Browser, title: &str) {
    let page = visitor.get(&format!("/{}/", title.to_lowercase()));
    let text = page.text();
    assert_eq!(page.status, 200, "{text}");
    assert!(text.contains(&format!("<h1>{title}</h1>")) && text.contains("Laid today."), "{text}");
    let image = visitor.get(&attribute(&text, "class=\"photo\" src=\""));
    assert_eq!((image.status, image.field("content-type")), (200, Some("image/png")));
    // The size stands in its first chunk (PNG section 11.2.2).
    assert_eq!((&image.body[1..4], &image.body[16..24]), (&b"PNG"[..], &[0, 0, 0, 200, 0, 0, 0, 150][..]));
}

/// All that the page wants of `/static/` is there, and as immutable as its name.
#[track_caller]
fn static_files_are_served(directory: &Path, visitor: &mut Browser, page: &str) -> usize {
    let names = page.split("/static/").skip(1).map(|rest| rest.split(['"', '?', '&']).next().unwrap());
    let mut seen = 0;
    for name in names.filter(|name| name.ends_with(".css") || name.ends_with(".js")) {
        let file = visitor.get(&format!("/static/{name}"));
        assert!(file.status == 200, "{name}: {}", file.status);
        assert!(file.body == std::fs::read(directory.join("static").join(name)).unwrap(), "{name}");
        assert!(file.field("cache-control").unwrap().contains("immutable"), "{name}: {:?}", file.fields);
        seen += 1;
    }
    seen
}

#[test]
fn an_editor_publishes_in_threads_and_in_processes_with_a_reload_under_load_between() {
    let setup = Setup::new(&configuration("processes: 1, threads: 4,"));
    prepare(setup.directory.path());
    let server = setup.start();
    let png = std::fs::read(server.directory().path().join("hen.png")).unwrap();
    let (mut editor, mut visitor) = (Browser::new(server.address), Browser::new(server.address));
    let away = editor.get("/admin/");
    assert_eq!((away.status, away.field("location")), (302, Some("/admin/login/?next=/admin/")));
    let login = "/admin/login/?next=/admin/";
    let wrong = editor.submit(login, &[("username", "admin"), ("password", "guess")]);
    assert!(wrong.status == 200 && wrong.text().contains("didn&#x27;t match"), "{}", wrong.text());
    let forged = visitor.post_file("/admin/images/add/", &[("title", "Forged")], "hen.png", &png);
    assert_eq!(forged.status, 403);
    let inside = [("username", "admin"), ("password", "admin"), ("next", "/admin/")];
    assert_eq!(taken(&editor.submit(login, &inside)), "/admin/");
    let admin = editor.get("/admin/").text();
    assert!(static_files_are_served(server.directory().path(), &mut visitor, &admin) > 5, "{admin}");

    taken(&editor.upload_with("/admin/images/add/", &[("title", "Hen")], "hen.png", &png));
    publish(&mut editor, "Eggs", "1");
    visit(&mut visitor, "Eggs");
    taken(&editor.upload_with("/admin/images/add/", &[("title", "Cock")], "cock.png", &png));

    let load = Load::start(server.address, 4, &["/eggs/", "/"]);
    load.wait_for(20);
    server.configure(&configuration("processes: 2, preload: true,"));
    let reload = server.command(&["reload"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    load.wait_for(20);
    load.finish().assert_flawless();

    // The session goes on, and so does the work.
    publish(&mut editor, "Chicks", "2");
    for title in ["Eggs", "Chicks", "Eggs", "Chicks"] {
        visit(&mut Browser::new(server.address), title);
    }
    let found = get(server.address, "/search/?query=Chicks").text();
    assert!(found.contains("href=\"/chicks/\""), "{found}");
    taken(&editor.submit_to("/admin/images/add/", "/admin/logout/", &[]));
    assert_eq!(editor.get("/admin/").status, 302);
}
