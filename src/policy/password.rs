//! Passwords as files keep them: a hash that takes long to make, with what it was made by. What can be tried fast is refused, and so
//! is what would hold up this machine.

use crate::secret::Hidden;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use sha_crypt::ShaCrypt;

/// bcrypt: each one more doubles the time; 14 is a second.
const MOST_COST: u32 = 14;

/// Argon2: memory in KiB, passes over it, and both together.
const MOST_MEMORY: u32 = 256 << 10;
const MOST_PASSES: u32 = 32;
const MOST_WORK: u64 = 1 << 20;
const MOST_LANES: u32 = 16;

/// SHA-crypt.
const MOST_ROUNDS: u32 = 1_000_000;

/// Longer ones are wrong: SHA-crypt takes time by the square of the length.
const LONGEST: usize = 256;

/// A password as it is kept.
#[derive(Clone, Debug)]
pub struct Hash {
    kind: Kind,
    text: Hidden,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bcrypt,
    Argon2,
    ShaCrypt,
}

/// Why a hash is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Of a kind that is broken by trying: its name.
    Weak(&'static str),
    /// Of a kind that is not known here: its name.
    Unknown(&'static str),
    /// It would take too long, or too much memory: what is too much.
    Costly(&'static str),
    /// It is cut or mistyped: of which kind it seems to be.
    Damaged(&'static str),
    /// There is no hash.
    Plain,
}

impl Hash {
    /// A hash as it stands in a file.
    ///
    /// # Errors
    /// It is of no use.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let kind = kind(text)?;
        match kind {
            Kind::Bcrypt => check_bcrypt(text),
            Kind::Argon2 => check_argon2(text),
            Kind::ShaCrypt => check_sha_crypt(text),
        }?;
        Ok(Self { kind, text: Hidden(text.to_owned()) })
    }

    /// Whether it is of this password. It takes as long whatever the password is, but for one that is longer than all.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        let text = &self.text.0;
        match self.kind {
            _ if password.len() > LONGEST => false,
            Kind::Bcrypt => bcrypt::verify(password, text).unwrap_or(false),
            Kind::Argon2 => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Kind::ShaCrypt => ShaCrypt::default().verify_password(password, text.as_str()).is_ok(),
        }
    }
}

fn kind(text: &str) -> Result<Kind, Unfit> {
    let starts = |with: &str| text.starts_with(with);
    if ["$2y$", "$2b$", "$2a$"].into_iter().any(starts) {
        return Ok(Kind::Bcrypt);
    }
    if starts("$argon2id$") || starts("$argon2i$") {
        return Ok(Kind::Argon2);
    }
    if starts("$5$") || starts("$6$") {
        return Ok(Kind::ShaCrypt);
    }
    // Traditional crypt(3) has two characters of salt and eleven of hash.
    let is_crypt = || {
        text.len() == 13
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
    };
    Err(match text {
        _ if starts("$apr1$") || starts("$1$") => Unfit::Weak("MD5 (apr1)"),
        _ if starts("{SHA}") || starts("{SSHA}") => Unfit::Weak("SHA-1"),
        _ if starts("$2x$") || starts("$2$") => Unfit::Weak("bcrypt of an old, faulty version"),
        _ if starts("$argon2d$") => Unfit::Unknown("argon2d"),
        _ if starts("$y$") || starts("$7$") => Unfit::Unknown("(ye)scrypt"),
        _ if starts("{") || starts("$") => Unfit::Unknown("another"),
        _ if is_crypt() => Unfit::Weak("crypt(3)"),
        _ => Unfit::Plain,
    })
}

fn check_bcrypt(text: &str) -> Result<(), Unfit> {
    let damaged = || Unfit::Damaged("bcrypt");
    let (cost, rest) = text.get(4..).and_then(|rest| rest.split_once('$')).ok_or_else(damaged)?;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    if cost.len() != 2 || rest.len() != 53 || !rest.bytes().all(is_digit) {
        return Err(damaged());
    }
    match cost.parse::<u32>() {
        Ok(4..=MOST_COST) => Ok(()),
        Ok(15..=31) => Err(Unfit::Costly("a cost of more than 14")),
        _ => Err(damaged()),
    }
}

fn check_argon2(text: &str) -> Result<(), Unfit> {
    let damaged = || Unfit::Damaged("argon2");
    let hash = PasswordHash::new(text).map_err(|_| damaged())?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err(damaged());
    }
    let params = Params::try_from(&hash).map_err(|_| damaged())?;
    let (memory, passes) = (params.m_cost(), params.t_cost());
    if memory > MOST_MEMORY {
        return Err(Unfit::Costly("more than 256 MiB of memory"));
    }
    if passes > MOST_PASSES || u64::from(memory) * u64::from(passes) > MOST_WORK {
        return Err(Unfit::Costly("too many passes"));
    }
    if params.p_cost() > MOST_LANES {
        return Err(Unfit::Costly("more than 16 lanes"));
    }
    Ok(())
}

fn check_sha_crypt(text: &str) -> Result<(), Unfit> {
    let damaged = || Unfit::Damaged("SHA-crypt");
    let mut parts = text.get(3..).ok_or_else(damaged)?.split('$');
    let mut salt = parts.next().ok_or_else(damaged)?;
    if let Some(rounds) = salt.strip_prefix("rounds=") {
        match rounds.parse::<u32>() {
            Ok(1000..=MOST_ROUNDS) => {}
            Ok(rounds) if rounds > MOST_ROUNDS => return Err(Unfit::Costly("more than 1,000,000 rounds")),
            _ => return Err(damaged()),
        }
        salt = parts.next().ok_or_else(damaged)?;
    }
    let hash = parts.next().ok_or_else(damaged)?;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    let is_whole = hash.len() == length && parts.next().is_none() && salt.len() <= 16;
    (is_whole && hash.bytes().all(is_digit)).then_some(()).ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of `secret`.
    const GOOD: [&str; 8] = [
        "$2y$05$SUB6tEkW57tm2w3UOtoAQeW1FQP/P2J5pC8A3A/PkpNU5Al2mdWN2",
        "$2b$05$SUB6tEkW57tm2w3UOtoAQeW1FQP/P2J5pC8A3A/PkpNU5Al2mdWN2",
        "$2a$05$SUB6tEkW57tm2w3UOtoAQeW1FQP/P2J5pC8A3A/PkpNU5Al2mdWN2",
        "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
        SHA_ROUNDS,
        ARGON2ID,
        ARGON2I,
    ];
    const SHA_ROUNDS: &str = "$5$rounds=1500$abcdefgh$qXUmNmbLEOn5YPWvewYoPCAAHp5vzLn73xcpCUC256C";
    const ARGON2ID: &str =
        "$argon2id$v=19$m=512,t=2,p=1$YWJjZGVmZ2hzYWx0c2FsdA$QP82SEAjyJzDgoqnUQmj/5Bf8PWaCTb8ZJzEn2qH+6c";
    const ARGON2I: &str =
        "$argon2i$v=19$m=256,t=3,p=2$YWJjZGVmZ2hzYWx0c2FsdA$x78Ly4/zjfmXzQqYQyBtJNAdEZbG4JFvlC06HyXZYfQ";

    #[test]
    fn each_kind_knows_its_password_and_no_other() {
        for text in GOOD {
            let hash = Hash::parse(text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
            assert!(hash.is_of(b"secret"), "{text}");
            for other in [&b"secreT"[..], b"", b"secret ", &[b'a'; 300]] {
                assert!(!hash.is_of(other), "{text}: {other:?}");
            }
            assert!(!format!("{hash:?}").contains("abcdefgh"), "it is shown");
        }
    }

    #[test]
    fn what_is_weak_too_costly_or_damaged_is_refused() {
        use Unfit::{Costly, Damaged, Plain, Unknown, Weak};
        let bcrypt = |cost: &str| GOOD[0].replace("$05$", cost);
        let argon2 = |params: &str| {
            let (head, tail) = ARGON2ID.split_once("m=").unwrap();
            format!("{head}{params}{}", &tail[tail.find('$').unwrap()..])
        };
        for (text, why) in [
            ("$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/".to_owned(), Weak("MD5 (apr1)")),
            ("$1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/".to_owned(), Weak("MD5 (apr1)")),
            ("nKHqsJBm7dyfY".to_owned(), Weak("crypt(3)")),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned(), Weak("SHA-1")),
            ("$y$j9T$abc$def".to_owned(), Unknown("(ye)scrypt")),
            ("{PLAIN}x".to_owned(), Unknown("another")),
            ("secret".to_owned(), Plain),
            (String::new(), Plain),
            (bcrypt("$15$"), Costly("a cost of more than 14")),
            (bcrypt("$31$"), Costly("a cost of more than 14")),
            (bcrypt("$03$"), Damaged("bcrypt")),
            (bcrypt("$5$"), Damaged("bcrypt")),
            (GOOD[0][..59].to_owned(), Damaged("bcrypt")),
            ("$2y$".to_owned(), Damaged("bcrypt")),
            (GOOD[3][..50].to_owned(), Damaged("SHA-crypt")),
            (format!("{}$", GOOD[3]), Damaged("SHA-crypt")),
            (SHA_ROUNDS.replace("=1500$", "=999999999$"), Costly("more than 1,000,000 rounds")),
            (SHA_ROUNDS.replace("=1500$", "=x$"), Damaged("SHA-crypt")),
            (argon2("m=4194304,t=1,p=1"), Costly("more than 256 MiB of memory")),
            (argon2("m=262144,t=5,p=1"), Costly("too many passes")),
            (argon2("m=64,t=33,p=1"), Costly("too many passes")),
            (argon2("m=4096,t=1,p=200"), Costly("more than 16 lanes")),
            (argon2("m=1,t=1,p=1"), Damaged("argon2")),
            ("$argon2id$v=19$m=64,t=1,p=1".to_owned(), Damaged("argon2")),
            (ARGON2ID.replace("argon2id", "argon2d"), Unknown("argon2d")),
        ] {
            assert_eq!(Hash::parse(&text).err(), Some(why), "{text}");
        }
    }
}
