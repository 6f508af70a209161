//! Descriptors that go along when this process becomes another program: each is written as its number, which an exec does not
//! change, and the next program takes it over by reading that.
//!
//! Until it has read and made everything, the program before may have to go on with all of it. So what a process holds ends
//! by its standing:
//!
//! | this process | what it reads | what it drops |
//! |---|---|---|
//! | is the server | | is closed; a file goes with its owner |
//! | is to become it ([`inherit`]) | is taken over, once | stays open, and files stay, until it is the server ([`own`]) |
//! | only tries to ([`pretend`]) | is something else in its place | as above, for ever |

use super::inherited;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(true) };
    static WRITTEN: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
    static IN_PLACE: RefCell<Option<BTreeMap<RawFd, OwnedFd>>> = const { RefCell::new(None) };
}

/// From now on this process is to become the server.
pub(crate) fn inherit() {
    OURS.set(false);
}

/// From now on this process only tries to become it, with other descriptors in the place of those of these numbers.
pub(crate) fn pretend(in_place: BTreeMap<RawFd, OwnedFd>) {
    OURS.set(false);
    IN_PLACE.set(Some(in_place));
}

/// From now on this process is the server: what it drops ends.
pub(crate) fn own() {
    OURS.set(true);
}

/// Whether what this process holds ends with it: files of another one's must not be removed.
#[must_use]
pub(crate) fn is_ours() -> bool {
    OURS.get()
}

/// What `write` says, and the numbers of all that it has written.
pub(crate) fn written<T>(write: impl FnOnce() -> T) -> (T, Vec<RawFd>) {
    WRITTEN.take();
    let result = write();
    (result, WRITTEN.take())
}

/// The descriptor of that number.
///
/// # Errors
/// It did not come along, or was taken before.
pub(crate) fn take(number: RawFd) -> Result<OwnedFd, String> {
    let in_place = IN_PLACE.with_borrow_mut(|all| all.as_mut().map(|all| all.remove(&number)));
    in_place.unwrap_or_else(|| inherited::take(number)).ok_or_else(|| format!("descriptor {number} is lost"))
}

/// A descriptor, or what is made of one. See the module.
#[derive(Debug)]
pub(crate) struct Carried<T = OwnedFd>(ManuallyDrop<T>);

impl<T> Drop for Carried<T> {
    fn drop(&mut self) {
        if is_ours() {
            // SAFETY: it is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl<T> Carried<T> {
    /// What it holds, which ends by itself from now on.
    pub(crate) fn release(self) -> T {
        let mut all = ManuallyDrop::new(self);
        // SAFETY: `all` is neither used nor dropped afterwards.
        unsafe { ManuallyDrop::take(&mut all.0) }
    }
}

impl<T> Deref for Carried<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Carried<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: From<OwnedFd>, D: Into<OwnedFd>> From<D> for Carried<T> {
    fn from(descriptor: D) -> Self {
        Self(ManuallyDrop::new(descriptor.into().into()))
    }
}

impl<T: AsFd> Serialize for Carried<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let number = self.as_fd().as_raw_fd();
        WRITTEN.with_borrow_mut(|all| all.push(number));
        number.serialize(to)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Carried<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        take(RawFd::deserialize(from)?).map(Self::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn null() -> Carried<File> {
        File::open("/dev/null").unwrap().into()
    }

    fn read(number: RawFd) -> serde_json::Result<Carried<File>> {
        serde_json::from_str(&number.to_string())
    }

    /// Numbers that nothing else in this process comes to.
    const FAR: RawFd = 720;

    #[test]
    fn what_is_written_is_read_once_and_closed_only_by_its_owner() {
        inherited::put_at(File::open("/dev/null").unwrap().into(), FAR);
        inherit();
        let taken = read(FAR).unwrap();
        let (text, numbers) = written(|| serde_json::to_string(&taken).unwrap());
        assert_eq!((text, numbers), (FAR.to_string(), vec![FAR]));
        assert!(read(FAR).unwrap_err().to_string().starts_with("descriptor 720 is lost"));
        drop(taken);
        assert!(inherited::is_open(FAR), "the program before may need it");
        own();
        inherited::put_at(File::open("/dev/null").unwrap().into(), FAR + 1);
        drop(read(FAR + 1).unwrap());
        assert!(!inherited::is_open(FAR + 1) && read(FAR + 1).is_err());
    }

    #[test]
    fn the_program_before_finds_again_what_was_taken_over_and_is_not_owned() {
        use crate::sys::exec::{Image, become_image};
        use crate::sys::process::{Ended, fork_of_test, wait};
        let outcome = |named: &'static [RawFd]| {
            let child = fork_of_test(move |_| {
                inherited::put_at(File::open("/dev/null").unwrap().into(), FAR);
                inherit();
                drop(read(FAR).unwrap());
                let arguments = [c"sh", c"-c", c"test -e /proc/self/fd/720"].map(Into::into);
                let _error = become_image(Image::Path("/bin/sh".as_ref()), &arguments, &[], named);
                99
            });
            wait(&child.unwrap()).unwrap()
        };
        assert_eq!((outcome(&[FAR]), outcome(&[])), (Ended::Code(0), Ended::Code(1)));
    }

    #[test]
    fn who_only_tries_gets_something_else_and_ends_nothing() {
        let (known, other) = (null(), null());
        let (number, place) = (known.as_raw_fd(), other.as_raw_fd());
        pretend([(number, other.try_clone().unwrap().into())].into());
        let read_first = read(number).unwrap();
        assert!(read_first.as_raw_fd() != number && read(number).is_err() && read(place).is_err());
        assert!(!is_ours());
        drop(known);
        assert!(inherited::is_open(number));
    }
}
