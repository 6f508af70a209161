//! A Python callable, hosted by its interpreter with the embedded host program: of WSGI, a thread a unit; of ASGI, as many units
//! as its event loop runs requests at a time. Which it is the host finds when it has imported it.

use super::super::located::{Given, Node, Report};
use super::super::problem::Complaint;
use super::super::source::{DEFAULT_PATH, Source, find_program};
use super::super::walk::{Choice, Form, Walk};
use super::super::written::Written;
use super::{HostProgram, WebSocket};
use crate::dispatch::board::THREADS;
use crate::gateway::app::{HOST_ARGUMENTS, HOST_PROGRAM, template_program};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// An app of Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// Module, `config.wsgi`, or a file: `deploy/app.wsgi`; `trac.wsgi` is either, as it is found.
    pub module: String,
    /// Callable in it, `application`; may have dots. With `()` at its end it is a factory, called once without
    /// arguments.
    pub callable: String,
    /// The interpreter: `<home>/bin/python`, or `python3` found on PATH.
    pub python: PathBuf,
    /// How it is called.
    pub(crate) interface: Interface,
    /// Of a WSGI app: threads, that is requests at a time, per process.
    pub threads: u32,
    /// Of an ASGI app: requests at a time per process; WebSockets and event streams are not counted.
    pub(crate) max_connections: u32,
    /// Of an ASGI app: what its WebSockets may do.
    pub(crate) websocket: WebSocket,
}

/// How an app is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Interface {
    /// As it turns out to want.
    #[default]
    Auto,
    /// PEP 3333.
    Wsgi,
    /// ASGI 3.
    Asgi,
}

const INTERFACES: [(&str, Interface); 3] =
    [("Auto", Interface::Auto), ("Wsgi", Interface::Wsgi), ("Asgi", Interface::Asgi)];

/// Most threads a process can have.
const MOST_THREADS: u32 = 64;

/// Imports an app, and leaves: exit 0, or a traceback on standard error.
const IMPORT: &str = r#"
import importlib, inspect, os, runpy, sys, types
module, name = sys.argv[1:3]
script = module.endswith(".wsgi") and os.path.isfile(module) and not os.path.exists(module.replace(".", "/") + ".py")
if "/" in module or script:
    value = types.SimpleNamespace(**runpy.run_path(module, run_name="_file"))
else:
    value = importlib.import_module(module)
factory = name.endswith("()")
for part in (name[:-2] if factory else name).split("."):
    value = getattr(value, part)
if factory:
    value = value()
if not callable(value):
    raise TypeError(f"{module}:{name} is not callable, it is {value!r}")
runs = any(map(inspect.iscoroutinefunction, (value, getattr(value, "__call__", None))))
if runs and sys.argv[3] == "wsgi":
    raise TypeError(f"{module}:{name} is an ASGI app, and `interface` says Wsgi")
"#;

impl Default for Python {
    fn default() -> Self {
        Self {
            module: String::new(),
            callable: String::new(),
            python: PathBuf::new(),
            interface: Interface::default(),
            threads: 1,
            max_connections: 1000,
            websocket: WebSocket::default(),
        }
    }
}

impl Interface {
    /// As a host is told of it, and tells it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "",
            Self::Wsgi => "wsgi",
            Self::Asgi => "asgi",
        }
    }
}

impl Python {
    pub(super) fn walk(&mut self, keys: &mut dyn Walk) {
        let mut target = Target { module: self.module.clone(), callable: self.callable.clone() };
        keys.need("module", "\"config.wsgi:application\"", &mut target);
        (self.module, self.callable) = (target.module, target.callable);
        keys.key("python", &mut self.python);
        keys.key("interface", &mut Choice(&mut self.interface, &INTERFACES, &[]));
        keys.key("threads", &mut self.threads);
        keys.key("max_connections", &mut self.max_connections);
        keys.key("websocket", &mut self.websocket);
    }

    pub(super) fn check(&mut self, home: Option<&Path>, given: &Given<'_>, report: &mut Report<'_>) {
        if !given.is_good("python") {
            self.python = interpreter(home, report.source);
        }
        if let Err(complaint) = check_threads(self.threads) {
            given.complain(report, complaint);
        }
        if self.max_connections == 0 || self.max_connections as usize > THREADS {
            let complaint =
                Complaint::new("`max_connections` is out of range", format!("from 1 to {THREADS}"));
            report.add(&given.place_of("max_connections"), complaint);
        }
        if self.interface == Interface::Asgi && self.threads > 1 {
            let what = "`threads` is for WSGI: an ASGI app runs its requests in one event loop";
            report
                .add(&given.place_of("threads"), Complaint::new(what, "remove it, or see `max_connections`"));
        }
    }

    pub(super) fn program(&self) -> HostProgram<'_> {
        self.python(Cow::Borrowed(HOST_PROGRAM))
    }

    pub(super) fn template(&self) -> HostProgram<'_> {
        self.python(Cow::Owned(template_program()))
    }

    /// The interpreter reads the program from its standard input, so that process lists stay readable.
    fn python(&self, input: Cow<'static, str>) -> HostProgram<'_> {
        let settings = vec![
            ("MODULE", self.module.clone()),
            ("CALLABLE", self.callable.clone()),
            ("INTERFACE", self.interface.as_str().to_owned()),
            ("THREADS", self.threads.to_string()),
            ("MAX_CONNECTIONS", self.max_connections.to_string()),
            ("MAX_MESSAGE", self.websocket.max_message.to_string()),
        ];
        HostProgram { file: &self.python, arguments: HOST_ARGUMENTS, input, settings }
    }

    /// The path of a file, in the place of the name of a module.
    pub(super) fn script(&self) -> Option<&str> {
        Some(self.module.as_str()).filter(|module| module.contains('/'))
    }

    /// What its WebSockets may do, unless it is said to have none.
    pub(super) fn websocket(&self) -> Option<WebSocket> {
        (self.interface != Interface::Wsgi).then_some(self.websocket)
    }

    pub(super) fn units(&self) -> u16 {
        u16::try_from(self.threads).unwrap_or(u16::MAX)
    }

    /// `-c` puts the working directory first on `sys.path`.
    pub(super) fn import(&self) -> Vec<String> {
        let interface = self.interface.as_str().to_owned();
        vec!["-c".to_owned(), IMPORT.to_owned(), self.module.clone(), self.callable.clone(), interface]
    }
}

pub(crate) fn check_threads(threads: u32) -> Result<(), Complaint> {
    if threads == 0 || threads > MOST_THREADS {
        return Err(Complaint::new(
            format!("{threads} threads are out of range"),
            format!("from 1 to {MOST_THREADS}"),
        ));
    }
    Ok(())
}

/// `<home>/bin/python`, else `python3` on PATH, else where Debian has it (the environment check says if it is not
/// there).
pub(crate) fn interpreter(home: Option<&Path>, source: &dyn Source) -> PathBuf {
    match home {
        Some(home) => home.join("bin/python"),
        None => {
            let path = source.env("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned());
            find_program(source, "python3", &path).unwrap_or_else(|| PathBuf::from("/usr/bin/python3"))
        }
    }
}

/// `module:callable`, or `file:callable`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) module: String,
    pub(crate) callable: String,
}

impl Target {
    /// `config.wsgi` (its `application`), `app:app`, `shop.web:create_app()`.
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        let example =
            "for example \"config.wsgi\", \"app:app\", \"shop.web:create_app()\" or \"deploy/app.wsgi\"";
        let (module, callable) = text.split_once(':').unwrap_or((text, "application"));
        let dotted = |text: &str| text.split('.').all(identifier);
        let is_script =
            [".py", ".wsgi"].iter().any(|end| module.strip_suffix(end).is_some_and(|stem| !stem.is_empty()));
        let stem = module.strip_suffix(".py").unwrap_or(module).trim_start_matches("./").replace('/', ".");
        if (module.contains('/') || module.ends_with(".py")) && !module.ends_with(".wsgi") && dotted(&stem) {
            // As a file it could import nothing from where it lies by `from . import`.
            let kind = if module.contains('/') { "path" } else { "file" };
            let what = format!("`{module}` is a {kind}, not a module");
            return Err(Complaint::new(what, format!("did you mean \"{stem}:{callable}\"?")));
        }
        if module.contains('/') && !is_script {
            return Err(Complaint::new(
                format!("`{module}` is no file of Python: it ends in .py or .wsgi"),
                example,
            ));
        }
        if !is_script && !dotted(module) {
            return Err(Complaint::new(format!("`{module}` is not the name of a module"), example));
        }
        if !dotted(callable.strip_suffix("()").unwrap_or(callable)) {
            return Err(Complaint::new(format!("`{callable}` is not the name of a callable"), example));
        }
        // A slash is what tells a file.
        let here = if is_script && !module.contains('/') && !dotted(module) { "./" } else { "" };
        Ok(Self { module: format!("{here}{module}"), callable: callable.to_owned() })
    }
}

/// A Python identifier (Python reference §2.3, without the Unicode details).
fn identifier(text: &str) -> bool {
    text.starts_with(|char: char| char.is_alphabetic() || char == '_')
        && text.chars().all(|char| char.is_alphanumeric() || char == '_')
}

impl Form for Target {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a module such as \"config.wsgi:application\"", Self::parse)
    }

    fn write(&self) -> Written {
        Written::text(&format!("{}:{}", self.module, self.callable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "for example \"config.wsgi\", \"app:app\", \"shop.web:create_app()\" or \"deploy/app.wsgi\"";

    #[test]
    fn modules_files_and_callables() {
        for (text, module, callable) in [
            ("config.wsgi", "config.wsgi", "application"),
            ("app:app", "app", "app"),
            ("shop.web:create_app()", "shop.web", "create_app()"),
            ("shop:api.app", "shop", "api.app"),
            ("trac.wsgi", "trac.wsgi", "application"),
            ("deploy/app.wsgi:app", "deploy/app.wsgi", "app"),
            ("/srv/shop/config/wsgi.py", "/srv/shop/config/wsgi.py", "application"),
            ("my-app/wsgi.py", "my-app/wsgi.py", "application"),
            ("my-site.wsgi", "./my-site.wsgi", "application"),
            ("./trac.wsgi", "./trac.wsgi", "application"),
        ] {
            let want = Target { module: module.to_owned(), callable: callable.to_owned() };
            assert_eq!(Target::parse(text), Ok(want), "{text}");
        }
        for (text, hint) in [
            ("config/wsgi.py", "did you mean \"config.wsgi:application\"?"),
            ("./config/wsgi.py:app", "did you mean \"config.wsgi:app\"?"),
            ("config/wsgi", "did you mean \"config.wsgi:application\"?"),
            ("app.py", "did you mean \"app:application\"?"),
            ("app:", EXAMPLE),
            ("a b", EXAMPLE),
            ("my-app/wsgi", EXAMPLE),
            ("/srv/.wsgi/", EXAMPLE),
            ("app:create(1)", EXAMPLE),
        ] {
            assert_eq!(Target::parse(text).unwrap_err().hint, hint, "{text}");
        }
    }
    #[test]
    fn the_host_program_is_told_what_to_import_and_serves_a_request_a_thread() {
        let app = Python {
            module: "shop.web".to_owned(),
            callable: "create_app()".to_owned(),
            python: "/srv/.venv/bin/python".into(),
            threads: 4,
            ..Python::default()
        };
        let (program, template) = (app.program(), app.template());
        assert_eq!((program.file, program.arguments), (Path::new("/srv/.venv/bin/python"), HOST_ARGUMENTS));
        let told = [
            ("MODULE", "shop.web"),
            ("CALLABLE", "create_app()"),
            ("INTERFACE", ""),
            ("THREADS", "4"),
            ("MAX_CONNECTIONS", "1000"),
            ("MAX_MESSAGE", "16777216"),
        ];
        assert_eq!(program.settings, told.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(program.input, HOST_PROGRAM);
        assert_eq!(template, HostProgram { input: template_program().into(), ..program });
        assert_eq!(app.units(), 4);
    }
}
