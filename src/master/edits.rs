//! Edits: changes of the code of apps that are being developed (`reload_on_change`). The kernel tells of them (inotify(7)); when
//! nothing more has come for a moment, the apps whose code it was are rolled. Their settings are watched as `touch_reload`
//! watches files: a change of the configuration or of a file with variables is a reload.
//!
//! | file | what |
//! |---|---|
//! | `names` | which files are code, which directories have none |
//! | `tree` | the directories that are watched |
//! | `lull` | when nothing more comes |
//!
//! While a start or a reload is under way an edit waits for its end. Of a reload that switches, all code is new.

mod lull;
mod names;
mod tree;

use super::touch::Touch;
use super::{Master, Token};
use crate::config::{App, Config, Handler};
use crate::control::worker::{ToWorker, Trouble};
use crate::supervisor::{Input, Signal};
use crate::sys::clock;
use crate::sys::poll::Set;
use crate::timer::{Time, earliest};
use lull::Lull;
use names::Code;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tree::{Changed, Root, Tree};

/// What is watched, and what has changed.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// The configuration, and files with variables.
    settings: Touch,
    tree: Option<Tree>,
    lull: Lull,
    /// Pools whose code has changed, until nothing more comes.
    changed: BTreeSet<u16>,
    /// Pools that are to be rolled as soon as nothing else goes on.
    due: BTreeSet<u16>,
    /// Those that were due when the reload that is under way began.
    covered: BTreeSet<u16>,
    /// Something changed that pages are made of, and no code.
    pages: bool,
    /// Of the last edit that pages are to know of; 0 before the first: then it is the time.
    serial: u64,
}

impl Edits {
    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        self.settings.watch(set, Token::Settings);
        if let Some(tree) = &self.tree {
            tree.watch(set, Token::Edits);
        }
    }

    /// There may be news of settings.
    pub(super) fn settings_ready(&mut self, now: Time) {
        self.settings.ready(now);
    }

    /// There may be news of code.
    pub(super) fn ready(&mut self, now: Time) {
        let Some(tree) = &mut self.tree else { return };
        let Changed { code, pages } = tree.changed();
        if pages || !code.is_empty() {
            self.changed.extend(code);
            self.pages |= pages;
            self.lull.note(now);
        }
    }

    /// A reload reads the code anew from here on.
    pub(super) fn covered(&mut self) {
        self.covered.append(&mut self.due);
    }

    /// The reload has switched, or has not.
    pub(super) fn reload_over(&mut self, switched: bool) {
        let covered = std::mem::take(&mut self.covered);
        if !switched {
            self.due.extend(covered);
        }
    }

    /// Watches these from now on. What the ones before have still to tell is heard.
    fn follow(&mut self, roots: Vec<Root>, now: Time) {
        let tree = (!roots.is_empty()).then(|| Tree::of(roots));
        self.ready(now);
        self.tree = match tree.transpose() {
            Ok(tree) => tree,
            Err(error) => {
                let way_out = "`hatchery restart NAME` rolls an app all the same";
                log::error!(target: "hatchery", "reload_on_change: code cannot be watched for edits: {error}; {way_out}");
                None
            }
        };
        for lacking in self.tree.iter_mut().flat_map(Tree::take_lacking) {
            log::warn!(target: "hatchery", "reload_on_change: {lacking}");
        }
    }
}

impl Master {
    /// Watches what the configuration in use says.
    pub(super) fn follow_edits(&mut self, now: Time) {
        let config = &self.current.config;
        let watched = config.apps.iter().zip(&self.current.app_pools).filter(|(app, _)| app.reload_on_change);
        if self.edits.serial == 0 && config.apps.iter().any(|app| app.live_reload) {
            self.edits.serial = self.edits_serial();
        }
        let roots: Vec<Root> = watched.flat_map(|(app, pool)| roots_of(app, *pool, config)).collect();
        let settings =
            if roots.is_empty() { Vec::new() } else { settings_of(config, self.start.file.as_ref()) };
        self.edits.settings.follow("reload_on_change", &settings, now);
        self.edits.follow(roots, now);
    }

    /// When [`Self::tend_edits`] has something to do.
    pub(super) fn edits_deadline(&self, now: Time) -> Option<Time> {
        let waited_for = earliest(self.edits.settings.deadline(), self.edits.lull.deadline());
        earliest(waited_for, Some(now).filter(|_| self.may_roll() && !self.edits.due.is_empty()))
    }

    /// Whether nothing else goes on.
    fn may_roll(&self) -> bool {
        matches!(self.supervisor.mode(), "running" | "asleep")
    }

    /// Reloads if settings have changed, and rolls apps whose code has, if it is time.
    pub(super) fn tend_edits(&mut self, now: Time) {
        if let Some(path) = self.edits.settings.on_timeout(now) {
            log::info!(target: "hatchery", "{} has changed: reloading", path.display());
            self.supervisor.on(Input::Signal(Signal::Hup), now);
        }
        if self.edits.lull.is_over(now) {
            let changed = std::mem::take(&mut self.edits.changed);
            self.edits.due.extend(changed);
            if std::mem::take(&mut self.edits.pages) {
                self.pages_are_old();
            }
            if self.edits.tree.as_ref().is_some_and(Tree::is_stale) {
                self.follow_edits(now);
            }
        }
        if self.may_roll() {
            for pool in std::mem::take(&mut self.edits.due) {
                self.roll_edited(pool, now);
            }
        }
    }

    /// What the workers are to know of the app of a pool.
    fn trouble_of(&self, pool: u16) -> Vec<ToWorker> {
        match self.supervisor.trouble(pool) {
            None => vec![ToWorker::Mended { pool }],
            Some((since, text)) => {
                Trouble::parts(pool, since.0, text).into_iter().map(ToWorker::Trouble).collect()
            }
        }
    }

    /// Tells the workers what is wrong with an app, or that nothing is.
    pub(super) fn tell_trouble(&mut self, pool: u16) {
        let messages = self.trouble_of(pool);
        self.each_worker(|worker| messages.iter().for_each(|message| worker.tell(message)));
    }

    /// Pages that browsers have of apps with `live_reload` are to load themselves again.
    pub(super) fn pages_are_old(&mut self) {
        if self.current.config.apps.iter().any(|app| app.live_reload) {
            self.edits.serial = self.edits_serial() + 1;
            let message = ToWorker::Edited { serial: self.edits.serial };
            self.each_worker(|worker| worker.tell(&message));
        }
    }

    /// A browser may still have a page of a master before.
    fn edits_serial(&self) -> u64 {
        match self.edits.serial {
            0 => clock::wall().seconds.unsigned_abs() * 1000,
            serial => serial,
        }
    }

    /// Tells a new worker what is wrong, and what was edited last.
    pub(super) fn tell_troubles(&mut self, worker: u32) {
        let pools = self.current.app_pools.iter().filter(|pool| self.supervisor.trouble(**pool).is_some());
        let mut messages: Vec<ToWorker> = pools.flat_map(|pool| self.trouble_of(*pool)).collect();
        if self.edits.serial > 0 {
            messages.push(ToWorker::Edited { serial: self.edits.serial });
        }
        let child = self.children.get_mut(&worker).and_then(|child| child.held.role.worker_mut());
        if let Some(worker) = child {
            messages.iter().for_each(|message| worker.tell(message));
        }
    }

    fn roll_edited(&mut self, pool: u16, now: Time) {
        let Some(name) = self.current.app(pool).and_then(|app| self.current.config.apps.get(app)) else {
            return;
        };
        let name = name.name.clone();
        log::info!(target: "hatchery", "app {name}: its code has changed");
        self.renew_template(&name, now);
        self.supervisor.on(Input::Edited { pool }, now);
    }
}

/// Where the code of an app is, and what its pages are made of.
fn roots_of(app: &App, pool: u16, config: &Config) -> Vec<Root> {
    let code = if app.kind.command().is_some() { Code::Any } else { Code::Python };
    let served = config.sites.iter().flat_map(|site| &site.locations).filter_map(|location| match &*location
        .handler
    {
        Handler::Files(files) => Some(files.root.clone()),
        _ => None,
    });
    // A directory that is served as it is and has the app in it has code.
    let served: Vec<PathBuf> = served.filter(|root| !app.chdir.starts_with(root)).collect();
    let home = app.home.iter().cloned();
    let pages = app.live_reload;
    let left_out: Vec<PathBuf> = home.clone().chain(served.iter().cloned()).collect();
    let own = std::iter::once(&app.chdir).chain(&app.watch);
    let own = own.map(|path| Root {
        pool,
        code: Some(code),
        pages,
        path: path.clone(),
        left_out: left_out.clone(),
    });
    let served = served.into_iter().filter(|_| pages);
    own.chain(served.map(|path| Root { pool, code: None, pages, path, left_out: home.clone().collect() }))
        .collect()
}

/// Files by which apps are configured.
fn settings_of(config: &Config, file: Option<&PathBuf>) -> Vec<PathBuf> {
    let apps = config.apps.iter().filter(|app| app.reload_on_change);
    let mut files: Vec<PathBuf> =
        file.into_iter().chain(apps.flat_map(|app| &app.env_file)).cloned().collect();
    files.sort();
    files.dedup();
    files
}
