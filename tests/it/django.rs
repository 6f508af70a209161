//! The shop of `tests/apps/shop`: a real Django project with database, admin, uploads and streams.

use crate::harness::{
    Browser, Connection, SOON, Server, Setup, apps, get, holds, noise, reply_to, sha256, virtualenv,
    wait_until,
};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `manage.py` on the shop whose files are in `var`.
fn manage(var: &Path, arguments: &[&str]) {
    let output = Command::new(virtualenv().join("bin/python"))
        .arg("manage.py")
        .args(arguments)
        .current_dir(apps().join("shop"))
        .env("SHOP_VAR", var)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "manage.py {arguments:?}: {output:?}");
}

/// A shop with its own database, sample products and the user admin/admin, started with its own `hatchery.ron`.
fn shop() -> (Server, PathBuf) {
    shop_with(&[])
}

fn shop_with(more: &[(&str, &str)]) -> (Server, PathBuf) {
    let mut setup = Setup::flags(&["run", "-c", "{apps}/shop/hatchery.ron"]);
    let var = setup.directory.path().join("var");
    manage(&var, &["migrate", "--verbosity", "0"]);
    manage(&var, &["collectstatic", "--noinput", "--verbosity", "0"]);
    manage(&var, &["demo"]);
    std::fs::create_dir_all(var.join("media")).unwrap();
    let all = [
        ("SHOP_VAR", "{dir}/var"),
        ("SHOP_VENV", "{venv}"),
        ("SHOP_LISTEN", "{address}"),
        ("SHOP_HTTPS", "unix:{dir}/https.sock"),
        ("SHOP_PRELOAD", "false"),
    ];
    for (name, value) in all.iter().chain(more) {
        setup = setup.env(name, value);
    }
    (setup.start(), var)
}

#[test]
fn the_shop_is_there_over_https_and_http2_too() {
    let (_server, var) = shop();
    let socket = var.with_file_name("https.sock");
    let mut curl = Command::new("curl");
    curl.arg("--unix-socket").arg(socket).args([
        "-sk",
        "--http2",
        "-w",
        "HTTP/%{http_version}",
        "https://localhost/",
    ]);
    let page = String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned();
    assert!(page.contains("Ostrich egg") && page.ends_with("HTTP/2"), "{page}");
}

/// `scripts/https` runs it where there is a Chromium.
#[test]
#[ignore = "needs Chromium"]
fn a_browser_loads_the_shop_over_http2() {
    let (server, var) = shop_with(&[("SHOP_LISTEN", "unix:{dir}/http.sock"), ("SHOP_HTTPS", "{address}")]);
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--ignore-certificate-errors",
        "--dump-dom",
    ]);
    chromium.arg(format!("--user-data-dir={}", var.with_file_name("profile").display()));
    chromium.arg(format!("https://{}/", server.address));
    let output = chromium.output().unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("Ostrich egg"), "{output:?}");
    let line = server.wait_log("\"GET / HTTP/2.0\" 200");
    assert!(line.contains("Chrome/"), "{line}");
    // What the page names comes over the same protocol.
    server.wait_log("GET /static/shop/");
    assert!(!server.log().iter().any(|line| line.contains("HTTP/1.1\"")), "{:#?}", server.log());
}

#[test]
fn pages_come_from_the_database() {
    let (server, _) = shop();
    let mut browser = Browser::new(server.address);
    let home = browser.get("/");
    assert_eq!(home.status, 200);
    assert!(home.text().contains("Ostrich egg"), "{}", home.text());
    assert_eq!(browser.get("/healthz").text(), "ok\n");
    assert_eq!(browser.get("/product/9999/").status, 404);
    let redirect = browser.get("/upload");
    assert_eq!((redirect.status, redirect.field("location")), (301, Some("/upload/")));
    assert_eq!(get(server.address, "/robots.txt").field("content-type"), Some("text/plain"));

    let text = home.text();
    let (before, _) = text.split_once("\">Ostrich egg").unwrap();
    let product = before.rsplit('"').next().unwrap().to_owned();
    let ordered = browser.submit(&product, &[("customer", "Zo\u{eb} & co"), ("quantity", "3")]);
    assert_eq!(ordered.status, 302, "{}", ordered.text());
    let order = browser.get(ordered.field("location").unwrap()).text();
    assert!(order.contains("Zo\u{eb} &amp; co") && order.contains("89.70"), "{order}");
    // The form is shown again with what is wrong; a form without its token is refused.
    let refused = browser.submit(&product, &[("customer", "X"), ("quantity", "1000")]);
    assert!(refused.status == 200 && refused.text().contains("There are only 1 left"), "{}", refused.text());
    let (forged, _) = reply_to(
        server.address,
        format!("POST {product} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", server.address),
    );
    assert_eq!(forged.status, 403);
    let (stranger, _) = reply_to(server.address, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(stranger.status, 400);
}

#[test]
fn a_preloaded_shop_takes_orders_in_every_process() {
    let (server, _) = shop_with(&[("SHOP_PRELOAD", "true")]);
    assert_eq!(server.pool("shop").templates.len(), 1);
    assert!(!server.log().iter().any(|line| line.contains("not prepared")), "{:?}", server.log());
    for _ in 0..2 {
        let processes = server.ready("shop");
        for _ in 0..8 {
            let mut browser = Browser::new(server.address);
            let home = browser.get("/").text().to_owned();
            let (before, _) = home.split_once("\">Ostrich egg").unwrap();
            let product = before.rsplit('"').next().unwrap().to_owned();
            let ordered = browser.submit(&product, &[("customer", "Zo\u{eb}"), ("quantity", "1")]);
            assert!(ordered.status == 302 || ordered.status == 200, "{}", ordered.text());
        }
        server.kill_and_wait("shop", processes[0], processes.len());
    }
}

#[test]
fn the_admin_logs_in_adds_and_logs_out() {
    let (server, _) = shop();
    let mut browser = Browser::new(server.address);
    let away = browser.get("/admin/");
    assert_eq!((away.status, away.field("location")), (302, Some("/admin/login/?next=/admin/")));
    let wrong = browser.submit("/admin/login/?next=/admin/", &[("username", "admin"), ("password", "guess")]);
    assert!(wrong.status == 200 && wrong.text().contains("Please enter the correct"), "{}", wrong.text());
    let inside =
        browser.submit("/admin/login/?next=/admin/", &[("username", "admin"), ("password", "admin")]);
    assert_eq!((inside.status, inside.field("location")), (302, Some("/admin/")), "{}", inside.text());
    assert!(browser.cookie("sessionid").is_some());
    assert!(browser.get("/admin/").text().contains("Henhouse shop"));

    let product = [("name", "D\u{f6}ner egg"), ("description", "New."), ("price", "1.20"), ("in_stock", "7")];
    let added = browser.submit("/admin/shop/product/add/", &product);
    assert_eq!(
        (added.status, added.field("location")),
        (302, Some("/admin/shop/product/")),
        "{}",
        added.text()
    );
    let list = browser.get("/admin/shop/product/").text();
    assert!(list.contains("D\u{f6}ner egg") && list.contains("was added successfully"), "{list}");
    assert!(Browser::new(server.address).get("/").text().contains("D\u{f6}ner egg"));

    // The page with the form that logs out is the admin itself; it posts to /admin/logout/.
    let out = browser.submit_to("/admin/", "/admin/logout/", &[]);
    assert!(out.status == 200 || out.status == 302, "{}", out.text());
    assert!(browser.cookie("sessionid").is_none());
    assert_eq!(browser.get("/admin/").status, 302);
}

#[test]
fn static_files_are_those_on_disk() {
    let (server, var) = shop();
    let manifest = std::fs::read(var.join("static/staticfiles.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let mut connection = Connection::open(server.address).unwrap();
    let paths = manifest["paths"].as_object().unwrap();
    assert!(paths.len() > 50, "{}", paths.len());
    for (plain, hashed) in paths {
        for (name, hashed) in [(plain.as_str(), false), (hashed.as_str().unwrap(), true)] {
            let reply = connection.get(&format!("/static/{name}")).unwrap();
            assert_eq!(reply.status, 200, "{name}");
            assert!(reply.body == std::fs::read(var.join("static").join(name)).unwrap(), "{name} differs");
            let control = reply.field("cache-control").unwrap();
            assert_eq!(control.contains("immutable"), hashed, "{name}: {control}");
            assert!(!reply.closes());
        }
    }
    let css = format!("/static/{}", paths["shop/shop.css"].as_str().unwrap());
    assert!(get(server.address, "/").text().contains(&css));
    assert!(connection.get(&css).unwrap().field("content-type").unwrap().starts_with("text/css"));
}

#[test]
fn uploads_are_stored_byte_for_byte() {
    let (server, var) = shop();
    for (chunked, seed) in [(false, 1), (true, 2)] {
        let mut browser = Browser::new(server.address);
        browser.chunked = chunked;
        let contents = noise(5 << 20, seed);
        let reply = browser.upload("/upload/", &format!("file-{seed}.bin"), &contents);
        assert_eq!(reply.status, 201, "{}", reply.text());
        let stored = reply.json();
        assert_eq!((&stored["size"], &stored["sha256"]), (&(5 << 20).into(), &sha256(&contents).into()));
        let url = stored["url"].as_str().unwrap();
        let file = var.join("media").join(url.strip_prefix("/media/").unwrap());
        assert!(std::fs::read(file).unwrap() == contents, "chunked: {chunked}");
        assert!(browser.get(url).body == contents, "chunked: {chunked}");
    }
    let mut browser = Browser::new(server.address);
    let too_large = browser.upload("/upload/", "large.bin", &noise(21 << 20, 3));
    assert_eq!(too_large.status, 413);
}

#[test]
fn a_large_stream_costs_no_memory() {
    let (server, _) = shop();
    let stream = |size: usize| {
        let mut connection = Connection::open(server.address).unwrap();
        let reply = connection.get(&format!("/stream?size={size}")).unwrap();
        assert_eq!((reply.status, reply.body.len()), (200, size));
        let expected = (0..=255).collect::<Vec<u8>>();
        assert!(reply.body.chunks(256).all(|block| block == &expected[..block.len()]));
    };
    let tree = || [server.ready("worker"), server.ready("shop")].concat();
    for pool in ["worker", "shop"] {
        server.wait_ready(SOON, pool, server.pool(pool).processes.0 as usize);
    }
    // Once through every process first, so that what is loaded and grown once is not counted.
    for _ in 0..8 {
        stream(1 << 20);
    }
    let before: Vec<_> = tree().iter().map(|process| (*process, process.memory("VmHWM"))).collect();
    for _ in 0..2 {
        stream(50 << 20);
    }
    assert_eq!(tree().len(), before.len());
    for (process, memory) in before {
        let grown = process.memory("VmHWM").saturating_sub(memory);
        assert!(grown < 4 << 20, "{} grew by {grown} bytes from {memory}", process.title());
    }
}

/// A project in two modules; what is read from the database while the URLs are imported leaves a connection.
const SETTINGS: &str = r#"
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls_of_test", SECRET_KEY="x", USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "test.sqlite3"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["."]}],
)
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"#;
const URLS: &str = r#"
import os
from django.db import connection
from django.shortcuts import render
from django.urls import path
print("URLs imported by", os.getpid())
with connection.cursor() as cursor:
    cursor.execute("select 1")
def held(request):
    files = [os.path.basename(os.readlink("/proc/self/fd/" + fd)) for fd in os.listdir("/proc/self/fd") if fd > "2"]
    return render(request, "held.html", {"pid": os.getpid(), "files": [name for name in files if "sqlite" in name]})
urlpatterns = [path("held", held)]
"#;

/// The two modules, preloaded in three processes.
fn preloaded(urls: &str) -> Setup {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "settings_of_test", chdir: "{dir}", home: "{venv}", preload: true, processes: 3)},"#,
    );
    setup.directory.write("settings_of_test.py", SETTINGS);
    setup.directory.write("urls_of_test.py", urls);
    setup.directory.write("held.html", "{{ pid }} holds {{ files|length }}");
    setup
}

#[test]
fn a_template_prepares_the_first_request_and_leaves_no_connection() {
    let server = preloaded(URLS).start();
    assert_eq!(server.ready("site").len(), 3);
    server.wait_log("URLs imported by");
    let held = get(server.address, "/held").text().to_owned();
    assert!(held.ends_with(" holds 0"), "{held}");
    let template = server.pool("site").templates[0].pid;
    let imports: Vec<_> = server.log().into_iter().filter(|line| line.contains("URLs imported by")).collect();
    assert!(
        imports.len() == 1 && imports[0].ends_with(&format!(" {template:?}")),
        "{template:?}: {imports:?}"
    );
}

// ---- a URL configuration that cannot be loaded ----------------------------------------------------------------------

const PAGES: &str = "
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path('', lambda request: HttpResponse('WORD'))]
";

/// A project of three files, started with this `urls.py`; `more`: other keys of its app.
fn project(urls: &str, more: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    apps: {{"site": (module: "wsgi", chdir: "{{dir}}/site", home: "{{venv}}", processes: 2{more})}},"#
    ));
    let settings = "SECRET_KEY = 'x'\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'urls'\n";
    setup.directory.write("site/project_settings.py", settings);
    let wsgi = "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'project_settings'\n\
                from django.core.wsgi import get_wsgi_application\n\
                django = get_wsgi_application()\n\
                def application(environ, start_response):  # as middleware around it\n    \
                    return django(environ, start_response)\n";
    setup.directory.write("site/wsgi.py", wsgi);
    setup.directory.write("site/urls.py", urls);
    setup.start().tolerant(&["URL configuration", "reload", "Internal Server Error", "app site"])
}

#[test]
fn a_reload_whose_views_cannot_be_imported_is_refused() {
    for more in ["", ", preload: true"] {
        let server = project(&PAGES.replace("WORD", "first"), more);
        assert_eq!(get(server.address, "/").text(), "first");
        let before = server.ready("site");
        server.directory().write("site/part.py", "app_name = 'part'\nurlpatterns = None\n");
        let include =
            "from django.urls import include, path\nurlpatterns = [path('part/', include('part'))]\n";
        for (urls, why) in [
            ("import views_of_nobody\n", "No module named 'views_of_nobody'"),
            // Looked into only by the first request for a name in it.
            (include, "does not appear to have any patterns in it"),
        ] {
            server.directory().write("site/urls.py", urls);
            let refused = server.command(&["reload", "--wait"]);
            let said = refused.stdout + &refused.stderr;
            assert_eq!(refused.code, Some(1), "{said}");
            assert!(said.contains("URL configuration cannot be loaded") && said.contains(why), "{said}");
            assert_eq!(get(server.address, "/").text(), "first");
        }
        assert_eq!(server.ready("site"), before);
        server.directory().write("site/urls.py", PAGES.replace("WORD", "second"));
        assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
        assert_eq!(get(server.address, "/").text(), "second");
    }
}

#[test]
fn no_process_is_replaced_by_one_whose_views_cannot_be_imported() {
    for more in ["", ", preload: true"] {
        let server = project(&PAGES.replace("WORD", "first"), more);
        let before = server.ready("site");
        server.directory().write("site/urls.py", "import views_of_nobody\n");
        let refused = server.command(&["restart", "site"]);
        let said = refused.stdout + &refused.stderr;
        assert_eq!(refused.code, Some(1), "{said}");
        assert!(said.contains("URL configuration cannot be loaded"), "{said}");
        assert!(said.contains("No module named 'views_of_nobody'"), "{said}");
        assert_eq!(server.ready("site"), before);
        // One that dies is not replaced by such a one, either.
        before[0].signal(Signal::SIGKILL);
        wait_until(SOON, "its replacement fails", || {
            let failed = "app site: could not start: its URL configuration cannot be loaded";
            let log = server.log();
            holds(log.iter().filter(|line| line.contains(failed)).count() >= 2, log)
        });
        assert_eq!(server.ready("site"), before[1..]);
        for _ in 0..4 {
            assert_eq!(get(server.address, "/").text(), "first");
        }
        server.directory().write("site/urls.py", PAGES.replace("WORD", "second"));
        server.wait_ready(SOON, "site", 2);
        assert_eq!(server.command(&["restart", "site"]).code, Some(0));
        assert_eq!(get(server.address, "/").text(), "second");
    }
}

#[test]
fn a_start_whose_views_cannot_be_imported_says_so_and_serves() {
    for more in ["", ", preload: true"] {
        let server = project("import views_of_nobody\n", more);
        let told = server.wait_log(": its URL configuration cannot be loaded, so that no page");
        assert!(told.contains(" ERROR "), "{told}");
        server.wait_log("No module named 'views_of_nobody'");
        assert_eq!(get(server.address, "/").status, 500);
        assert_eq!(server.ready("site").len(), 2);
    }
}
