use super::*;

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn four() -> Addresses {
    addresses("192.0.2.1:4711", "198.51.100.7:80")
}

fn six() -> Addresses {
    addresses("[2001:db8::1]:65535", "[2001:db8::ffff:2]:0")
}

fn written(version: Version, addresses: Option<Addresses>) -> Vec<u8> {
    let mut out = Vec::new();
    write(version, addresses, &mut out);
    out
}

/// Of version 2, with a right length.
fn second(command: u8, family: u8, rest: &[&[u8]]) -> Vec<u8> {
    let rest = rest.concat();
    let length = (rest.len() as u16).to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, &rest].concat()
}

const FOUR: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x67, 0, 80];

/// A header with these addresses and nothing behind it.
fn whole(header: &[u8], addresses: Option<Addresses>) -> Result<Option<Header>, Mistake> {
    Ok(Some(Header { addresses, length: header.len() }))
}

#[test]
fn what_is_written_is_as_specified_and_read_again() {
    assert_eq!(written(Version::V1, Some(four())), b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 80\r\n");
    assert_eq!(written(Version::V1, Some(six())), b"PROXY TCP6 2001:db8::1 2001:db8::ffff:2 65535 0\r\n");
    assert_eq!(written(Version::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(written(Version::V2, Some(four())), second(0x21, 0x11, &[FOUR]));
    assert_eq!(written(Version::V2, None), second(0x20, 0, &[]));
    for version in [Version::V1, Version::V2] {
        for said in [None, Some(four()), Some(six())] {
            let header = written(version, said);
            assert_eq!(read(&header), whole(&header, said), "{version:?} {said:?}");
        }
    }
}

#[test]
fn both_ends_are_of_one_family() {
    for (source, destination, read_source, read_destination) in [
        ("[::ffff:192.0.2.1]:1", "198.51.100.7:2", "192.0.2.1:1", "198.51.100.7:2"),
        ("192.0.2.1:1", "[2001:db8::2]:2", "[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"),
        ("[2001:db8::2]:2", "192.0.2.1:1", "[2001:db8::2]:2", "[::ffff:192.0.2.1]:1"),
    ] {
        for version in [Version::V1, Version::V2] {
            let header = written(version, Some(addresses(source, destination)));
            let said = addresses(read_source, read_destination);
            assert_eq!(read(&header), whole(&header, Some(said)), "{version:?} {source} {destination}");
        }
    }
}

#[test]
fn a_part_of_a_header_wants_more_and_what_follows_is_left_alone() {
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'f'; 91], b"\r\n"].concat();
    assert_eq!(long.len(), 107);
    let noop = [&[4, 0x0f, 0xe1][..], &[0; 4065]].concat();
    let headers = [
        written(Version::V1, Some(four())),
        written(Version::V1, None),
        long,
        written(Version::V2, Some(six())),
        written(Version::V2, None),
        second(0x21, 0x11, &[FOUR, &noop]),
    ];
    assert_eq!(headers.last().map(Vec::len), Some(MOST));
    for header in &headers {
        for end in 0..header.len() {
            assert_eq!(read(&header[..end]), Ok(None), "{end} bytes of {}", header.escape_ascii());
        }
        let Ok(Some(Header { length, .. })) = read(header) else { panic!("{}", header.escape_ascii()) };
        let followed = [header, b"GET / HTTP/1.1\r\n".as_slice()].concat();
        assert_eq!((read(&followed), length), (read(header), header.len()));
    }
}

#[test]
fn lines_that_are_none_of_version_1() {
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'f'; 92], b"\r\n"].concat();
    for (line, mistake) in [
        ("GET / HTTP/1.1\r\n", Mistake::Absent),
        ("proxy TCP4 192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Absent),
        ("PROXY\tTCP4 192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Absent),
        (" PROXY TCP4 192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Absent),
        ("\x16\x03\x01", Mistake::Absent),
        ("PROXY \r\n", Mistake::Line),
        ("PROXY TCP4\r\n", Mistake::Line),
        ("PROXY TCP5 192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Line),
        ("PROXY UDP4 192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Line),
        ("PROXY UNKNOWN2\r\n", Mistake::Line),
        ("PROXY UNKNOWN\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4711 80\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4711 80 \r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4711 80\r\r\n", Mistake::Line),
        ("PROXY TCP4  192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4711\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4711 80 9\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4711 65536\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 04711 80\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 +4711 80\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 -1 80\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.01 198.51.100.7 4711 80\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2 198.51.100.7 4711 80\r\n", Mistake::Line),
        ("PROXY TCP4 2001:db8::1 2001:db8::2 4711 80\r\n", Mistake::Line),
        ("PROXY TCP6 192.0.2.1 198.51.100.7 4711 80\r\n", Mistake::Line),
        ("PROXY TCP6 2001:db8::1%1 2001:db8::2 4711 80\r\n", Mistake::Line),
        ("PROXY TCP6 [2001:db8::1] 2001:db8::2 4711 80\r\n", Mistake::Line),
        ("PROXY TCP4 192.0.2.1\u{a0}198.51.100.7 4711 80\r\n", Mistake::Line),
        (std::str::from_utf8(&long).unwrap(), Mistake::TooLong),
    ] {
        for behind in [
            "", "
",
        ] {
            assert_eq!(read(format!("{line}{behind}").as_bytes()), Err(mistake), "{line:?}");
        }
    }
    assert_eq!(read(b"PROXY TCP4 192.0.2.1 \xff 4711 80\r\n"), Err(Mistake::Line));
}

#[test]
fn kinds_of_version_2() {
    let (four_behind, unix) = ([0x20, 0, 1, 9], [b'/'; 216]);
    for (name, header, said) in [
        ("fields are passed over", second(0x21, 0x11, &[FOUR, &four_behind]), Ok(Some(four()))),
        ("a proxy's own", second(0x20, 0x11, &[FOUR]), Ok(None)),
        ("a proxy's own, with anything", second(0x20, 0xff, &[b"anything"]), Ok(None)),
        ("not said", second(0x21, 0, &[]), Ok(None)),
        ("not said, with a field", second(0x21, 0, &[&four_behind]), Ok(None)),
        ("not said, with anything", second(0x21, 0, &[FOUR, b"anything"]), Ok(None)),
        ("a stream of what is not said", second(0x21, 0x01, &[FOUR]), Ok(None)),
        ("over IPv4, not said what", second(0x21, 0x10, &[FOUR, b"a"]), Ok(None)),
        ("a Unix socket", second(0x21, 0x31, &[&unix, &four_behind]), Ok(None)),
        ("datagrams", second(0x21, 0x12, &[FOUR]), Ok(None)),
        ("version 1", second(0x11, 0x11, &[FOUR]), Err(Mistake::Unknown)),
        ("version 3", second(0x31, 0x11, &[FOUR]), Err(Mistake::Unknown)),
        ("command 2", second(0x22, 0x11, &[FOUR]), Err(Mistake::Unknown)),
        ("family 4", second(0x21, 0x41, &[FOUR]), Err(Mistake::Unknown)),
        ("protocol 3", second(0x21, 0x13, &[FOUR]), Err(Mistake::Unknown)),
        ("protocol 3 of what is not said", second(0x21, 0x03, &[]), Err(Mistake::Unknown)),
        ("short addresses", second(0x21, 0x11, &[&FOUR[..11]]), Err(Mistake::Length)),
        ("addresses of IPv4 for IPv6", second(0x21, 0x21, &[FOUR]), Err(Mistake::Length)),
        ("a short Unix socket", second(0x21, 0x31, &[&unix[..215]]), Err(Mistake::Length)),
        ("a field without length", second(0x21, 0x11, &[FOUR, &[4, 0]]), Err(Mistake::Length)),
        ("a field past the end", second(0x21, 0x11, &[FOUR, &[4, 0, 2, 9]]), Err(Mistake::Length)),
        ("bytes behind a field", second(0x21, 0x11, &[FOUR, &four_behind, &[0]]), Err(Mistake::Length)),
    ] {
        match said {
            Ok(said) => assert_eq!(read(&header), whole(&header, said), "{name}"),
            Err(mistake) => assert_eq!(read(&header), Err(mistake), "{name}"),
        }
    }
    let announced = [v2::SIGNATURE, &[0x20, 0, 0xff, 0xff]].concat();
    assert_eq!(read(&announced), Err(Mistake::TooLong), "before so much has come");
}

#[test]
fn a_checksum_that_is_there_must_be_right() {
    // Of "123456789" the CRC32c is known; it is over the header with zeros in its place.
    let behind = [0x20, 0, 1, 9];
    let with = |sum: &[u8]| {
        let length = (sum.len() as u16).to_be_bytes();
        second(0x21, 0x11, &[FOUR, &[3], &length, sum, &behind])
    };
    let sum = sum_of(&with(&[0; 4])).to_be_bytes();
    assert_eq!(sum_of(b"123456789"), 0xe306_9283);
    let header = with(&sum);
    assert_eq!(read(&header), whole(&header, Some(four())));
    // At 28 it says that it is a checksum.
    for at in (16..header.len()).filter(|at| *at != 28) {
        for bit in 0..8 {
            let mut other = header.clone();
            other[at] ^= 1 << bit;
            assert!(read(&other).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert_eq!(read(&with(&[0; 4])), Err(Mistake::Checksum));
    assert_eq!(read(&with(&sum[..3])), Err(Mistake::Length));
    assert_eq!(read(&with(&[0; 5])), Err(Mistake::Length));
}

/// By the textbook, beside the one that is tried.
fn sum_of(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        for bit in 0..8 {
            let flip = (sum ^ (u32::from(*byte) >> bit)) & 1 == 1;
            sum = (sum >> 1) ^ if flip { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}
