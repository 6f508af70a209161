//! The addresses over an upgrade: addresses and generations share sockets, so that each socket is written once, and the
//! addresses name places in their list.

use super::{Listening, Socket};
use crate::config::Address;
use crate::sys::place::Access;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::rc::Rc;

/// Address, places of its sockets, sites, whether HTTPS is spoken there.
type Place = (Address, Vec<usize>, Vec<usize>, bool);

/// Each socket once, in the order in which [`deserialize`] and a trial find them.
pub(in crate::master) fn sockets(open: &[Listening]) -> Vec<Rc<Socket>> {
    let mut sockets: Vec<Rc<Socket>> = Vec::new();
    for socket in open.iter().flat_map(|listening| &listening.sockets) {
        if !sockets.iter().any(|known| Rc::ptr_eq(known, socket)) {
            sockets.push(socket.clone());
        }
    }
    sockets
}

pub(in crate::master) fn serialize<S: Serializer>(open: &[Listening], to: S) -> Result<S::Ok, S::Error> {
    let sockets = sockets(open);
    let place = |socket: &Rc<Socket>| sockets.iter().position(|known| Rc::ptr_eq(known, socket));
    let places = open.iter().map(|Listening { address, sockets, sites, is_tls, .. }| {
        (address, sockets.iter().filter_map(place).collect::<Vec<_>>(), sites, is_tls)
    });
    (&sockets, places.collect::<Vec<_>>()).serialize(to)
}

pub(in crate::master) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Listening>, D::Error> {
    let (all, places): (Vec<Rc<Socket>>, Vec<Place>) = Deserialize::deserialize(from)?;
    let listening = |(address, places, sites, is_tls): Place| Listening {
        address,
        sockets: places.into_iter().filter_map(|place| all.get(place).cloned()).collect(),
        sites,
        is_tls,
        access: Access::of_mode(0),
    };
    Ok(places.into_iter().map(listening).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Inherited;
    use super::*;
    use crate::sys::{carried, process};

    #[test]
    fn a_socket_that_addresses_share_is_one_again_and_its_file_stays() {
        let path = std::env::temp_dir().join(format!("hatchery-shared-{}.sock", std::process::id()));
        let of = |text: &str| {
            super::super::sockets(
                &Address::Unix(text.into()),
                Access::of_mode(0o666),
                &[],
                &Inherited::default(),
            )
        };
        let shared = of(path.to_str().unwrap()).unwrap();
        let address = |name: &str| Address::Passed(name.to_owned());
        let listening = |name, sites| Listening {
            address: address(name),
            sockets: shared.clone(),
            is_tls: name == "two",
            sites,
            access: Access::of_mode(0o666),
        };
        let open = [listening("one", vec![0]), listening("two", vec![1, 2])];
        let mut text = Vec::new();
        let (written, numbers) =
            carried::written(|| serialize(&open, &mut serde_json::Serializer::new(&mut text)));
        assert!(written.is_ok() && numbers.len() == 1, "{numbers:?}");
        carried::pretend([(numbers[0], process::memory_file(&[]).unwrap())].into());
        let again = deserialize(&mut serde_json::Deserializer::from_slice(&text)).unwrap();
        let [one, two] = again.as_slice() else { panic!("{again:?}") };
        assert!(Rc::ptr_eq(&one.sockets[0], &two.sockets[0]) && one.sockets[0].name() == shared[0].name());
        assert_eq!((&one.address, &two.address, &two.sites), (&address("one"), &address("two"), &vec![1, 2]));
        assert_eq!((one.is_tls, two.is_tls), (false, true));
        drop(again);
        assert!(path.exists());
        carried::own();
        drop((open, shared));
        assert!(!path.exists());
    }
}
