//! Passwords of clients: threads hash them (`worker::reader`), and what was right once is known for a while, by a keyed hash under
//! a key that this process alone has. What is asked several times at once, as a browser does for all parts of a page, is hashed
//! once. Somebody who is in no file costs as much as somebody who is.

use super::owner::Owner;
use crate::config::credentials::{Credentials, UserFile};
use crate::policy::auth::Login;
use crate::policy::chain::Checked;
use crate::policy::htpasswd::Users;
use crate::policy::password::Hash;
use crate::secret::Secret;
use crate::sys::fd;
use ring::hmac;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many different ones wait or are hashed at a time; more are turned away.
const QUEUE: usize = 64;

/// So many right ones are known at least, and twice as many at most.
const KNOWN: usize = 1024;

/// Of a password of a user of a file.
type Digest = [u8; 32];

/// See the module.
pub(super) struct Passwords {
    files: HashMap<PathBuf, File>,
    key: hmac::Key,
    /// Right ones; those of before, which are forgotten when there are as many again.
    known: HashSet<Digest>,
    before: HashSet<Digest>,
    /// What is hashed, by the number of its job.
    jobs: HashMap<u64, Job>,
    /// What has come of it, for those who wait.
    checked: HashMap<Owner, Checked>,
    next: u64,
}

struct File {
    text: Secret,
    users: Users,
    /// Which reading of it: a password that was right for an older one need not be any more.
    reading: u64,
}

struct Job {
    digest: Digest,
    waiting: Vec<Owner>,
}

/// What there is to do for a password.
pub(super) enum Ask {
    /// Nothing: it is known.
    Known(Checked),
    /// To wait.
    Waits,
    /// To have this done by a thread, under this number, and to wait.
    Hash(u64, Hashing),
}

/// A password to be hashed.
pub(super) struct Hashing {
    hash: Arc<Hash>,
    counts: bool,
    password: Secret,
}

impl Hashing {
    /// Whether it is the right one. It takes its time.
    pub(super) fn is_right(&self) -> bool {
        // Both are found out, so that the time tells neither.
        self.hash.is_of(&self.password.0) & self.counts
    }
}

impl Passwords {
    /// Those of the files in `credentials`.
    pub(super) fn of(credentials: &Credentials) -> Self {
        let mut key = Secret(vec![0; 32]);
        fd::randomize(&mut key.0);
        let mut passwords = Self {
            files: HashMap::new(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key.0),
            known: HashSet::new(),
            before: HashSet::new(),
            jobs: HashMap::new(),
            checked: HashMap::new(),
            next: 0,
        };
        passwords.renew(credentials);
        passwords
    }

    /// Takes in the files that have changed.
    pub(super) fn renew(&mut self, credentials: &Credentials) {
        self.files.retain(|path, _| credentials.users.iter().any(|file| file.path == *path));
        for UserFile { path, text } in &credentials.users {
            if self.files.get(path).is_some_and(|file| file.text == *text) {
                continue;
            }
            // The master has understood it.
            let users = Users::parse(&text.0).unwrap_or_default();
            self.next += 1;
            self.files.insert(path.clone(), File { text: text.clone(), users, reading: self.next });
        }
    }

    /// Asks whether a password is the user's of this file.
    pub(super) fn ask(&mut self, owner: Owner, path: &Path, login: &Login) -> Ask {
        let Some(file) = self.files.get(path) else { return Ask::Known(Checked::Unknown) };
        let digest = digest(&self.key, file.reading, login);
        if self.known.contains(&digest) || self.before.contains(&digest) {
            return Ask::Known(Checked::Right);
        }
        if let Some(job) = self.jobs.values_mut().find(|job| job.digest == digest) {
            job.waiting.push(owner);
            return Ask::Waits;
        }
        if self.jobs.len() >= QUEUE {
            return Ask::Known(Checked::Busy);
        }
        // Which hash somebody unknown is compared with is always the same, and nobody can foresee it.
        let random = hmac::sign(&self.key, login.user());
        let random = random.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let Some((hash, counts)) = file.users.hash_of(login.user(), random) else {
            return Ask::Known(Checked::Wrong);
        };
        self.next += 1;
        self.jobs.insert(self.next, Job { digest, waiting: vec![owner] });
        Ask::Hash(self.next, Hashing { hash, counts, password: Secret(login.password().to_vec()) })
    }

    /// A thread has found out about one; who has waited for it. `None`: no thread could.
    pub(super) fn take_in(&mut self, number: u64, right: Option<bool>) -> Vec<Owner> {
        let Some(job) = self.jobs.remove(&number) else { return Vec::new() };
        let checked = match right {
            Some(true) => Checked::Right,
            Some(false) => Checked::Wrong,
            None => Checked::Busy,
        };
        // Of a file that has changed meanwhile it is under another digest than what is asked for from now on.
        if right == Some(true) {
            if self.known.len() >= KNOWN {
                self.before = std::mem::take(&mut self.known);
            }
            self.known.insert(job.digest);
        }
        self.checked.extend(job.waiting.iter().map(|owner| (*owner, checked)));
        job.waiting
    }

    /// What has come of the password of who has waited.
    pub(super) fn take(&mut self, owner: Owner) -> Option<Checked> {
        self.checked.remove(&owner)
    }

    /// Somebody waits no more. The number of the job that nobody waits for then.
    pub(super) fn leave(&mut self, owner: Owner) -> Option<u64> {
        self.checked.remove(&owner);
        let (number, job) = self.jobs.iter_mut().find(|(_, job)| job.waiting.contains(&owner))?;
        job.waiting.retain(|waiting| *waiting != owner);
        job.waiting.is_empty().then_some(*number)
    }

    /// Of these jobs nothing will come: no thread has begun with them.
    pub(super) fn forget(&mut self, number: u64) {
        self.jobs.remove(&number);
    }
}

/// The number of the reading, and each text behind its length.
fn digest(key: &hmac::Key, reading: u64, login: &Login) -> Digest {
    let mut context = hmac::Context::with_key(key);
    context.update(&reading.to_le_bytes());
    for text in [login.user(), login.password()] {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text);
    }
    context.sign().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{RequestHead, Span, Version};
    use crate::slab::Slab;

    const ALICE: &str = "alice:$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4\n";

    fn credentials(text: &str) -> Credentials {
        let users = vec![UserFile { path: "/u".into(), text: Secret(text.as_bytes().to_vec()) }];
        Credentials { users, ..Credentials::default() }
    }

    fn login(credentials: &str) -> Login {
        let raw = format!("GET /authorizationBasic {credentials}").into_bytes();
        let span = |start, end| Span { start, end };
        let fields = vec![(span(5, 18), span(18, raw.len() as u32))];
        Login::of(&RequestHead::new(raw, span(0, 3), span(4, 5), Version::Http11, fields)).unwrap()
    }

    fn owner(stream: u32) -> Owner {
        Owner { client: Slab::new().insert_with(|_| ()), stream }
    }

    fn ask(passwords: &mut Passwords, stream: u32, login: &Login) -> Ask {
        passwords.ask(owner(stream), Path::new("/u"), login)
    }

    /// alice:secret, alice:wrong, carol:secret
    const RIGHT: &str = "YWxpY2U6c2VjcmV0";
    const WRONG: &str = "YWxpY2U6d3Jvbmc=";
    const NOBODY: &str = "Y2Fyb2w6c2VjcmV0";

    #[test]
    fn a_right_one_is_known_until_the_file_changes_and_no_other_is() {
        let mut passwords = Passwords::of(&credentials(ALICE));
        let (right, wrong, nobody) = (login(RIGHT), login(WRONG), login(NOBODY));
        for (login, wanted) in [(&wrong, false), (&nobody, false), (&right, true)] {
            let Ask::Hash(number, hashing) = ask(&mut passwords, 1, login) else { panic!("known") };
            assert_eq!(hashing.is_right(), wanted);
            assert_eq!(passwords.take_in(number, Some(wanted)), [owner(1)]);
            let checked = passwords.take(owner(1));
            assert_eq!(checked, Some(if wanted { Checked::Right } else { Checked::Wrong }));
        }
        assert!(matches!(ask(&mut passwords, 2, &right), Ask::Known(Checked::Right)));
        assert!(matches!(ask(&mut passwords, 2, &wrong), Ask::Hash(..)), "a wrong one is not known");
        passwords.renew(&credentials(ALICE));
        assert!(matches!(ask(&mut passwords, 2, &right), Ask::Known(Checked::Right)), "the same file");
        passwords.renew(&credentials(&format!("{ALICE}# more\n")));
        assert!(matches!(ask(&mut passwords, 2, &right), Ask::Hash(..)), "it may have another password");
        passwords.renew(&Credentials::default());
        assert!(matches!(ask(&mut passwords, 2, &right), Ask::Known(Checked::Unknown)));
    }

    #[test]
    fn what_many_ask_is_hashed_once_and_those_who_leave_are_forgotten() {
        let mut passwords = Passwords::of(&credentials(ALICE));
        let right = login(RIGHT);
        let Ask::Hash(number, _) = ask(&mut passwords, 1, &right) else { panic!("known") };
        for stream in 2..5 {
            assert!(matches!(ask(&mut passwords, stream, &right), Ask::Waits));
        }
        assert_eq!(passwords.leave(owner(1)), None, "others wait for it");
        assert_eq!(passwords.take_in(number, None), [owner(2), owner(3), owner(4)]);
        assert_eq!(passwords.take(owner(2)), Some(Checked::Busy));
        assert_eq!(passwords.leave(owner(3)), None);
        assert_eq!(passwords.take(owner(3)), None);
        let Ask::Hash(number, _) = ask(&mut passwords, 9, &right) else { panic!("known") };
        assert_eq!(passwords.leave(owner(9)), Some(number));
        passwords.forget(number);
        assert!(matches!(ask(&mut passwords, 9, &right), Ask::Hash(..)), "it is not waited for in vain");
    }

    #[test]
    fn more_than_can_be_hashed_are_turned_away_but_for_those_that_are_known() {
        let mut passwords = Passwords::of(&credentials(ALICE));
        let right = login(RIGHT);
        let Ask::Hash(number, _) = ask(&mut passwords, 1, &right) else { panic!("known") };
        passwords.take_in(number, Some(true));
        let many = |count: usize| {
            let text = format!("u{count:03}:x");
            login(&crate::control::digits::base64url(text.as_bytes()))
        };
        for count in 0..QUEUE {
            assert!(matches!(ask(&mut passwords, 2, &many(count)), Ask::Hash(..)), "{count}");
        }
        assert!(matches!(ask(&mut passwords, 2, &many(QUEUE)), Ask::Known(Checked::Busy)));
        assert!(matches!(ask(&mut passwords, 2, &right), Ask::Known(Checked::Right)));
    }
}
