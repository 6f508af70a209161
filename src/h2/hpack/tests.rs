//! The examples of RFC 7541 appendix C, what must hold of both sides together, and what is no block.

use super::{Decoder, Encoder, Error, Outcome, TABLE_SIZE};
use crate::http::Status;

type Field = (Vec<u8>, Vec<u8>);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Error> {
    let mut fields = Vec::new();
    let outcome =
        decoder.decode(block, usize::MAX, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    assert_eq!(outcome, Outcome::Whole);
    Ok(fields)
}

fn fields(text: &str) -> Vec<Field> {
    let field = |line: &str| {
        let (name, value) = line.trim().split_once(": ").unwrap();
        (name.as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    text.trim().lines().map(field).collect()
}

/// The entries of the decoder's table, the newest first, and what they count.
fn table(decoder: &Decoder) -> (Vec<Field>, usize) {
    let mut entries: Vec<Field> =
        decoder.entries().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    entries.reverse();
    let size = entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    (entries, size)
}

/// Decodes the blocks of an example, one after the other: each with its list, its table and what that counts.
fn example(decoder: &mut Decoder, blocks: &[(&str, &str, &str, usize)]) {
    for (block, list, entries, size) in blocks {
        assert_eq!(decode(decoder, &hex(block)), Ok(fields(list)));
        assert_eq!(table(decoder), (fields(entries), *size), "after {list}");
    }
}

#[test]
fn literals() {
    // C.2.1 to C.2.4.
    let custom = "custom-key: custom-header";
    example(
        &mut Decoder::new(),
        &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", custom, custom, 55)],
    );
    for (block, list) in [
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret"),
        ("82", ":method: GET"),
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &hex(block)), Ok(fields(list)));
        assert_eq!(table(&decoder), (Vec::new(), 0));
    }
}

/// C.3 and C.4: the same requests without and with the Huffman code.
#[test]
fn requests() {
    let first = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com";
    let second = &format!("{first}\ncache-control: no-cache");
    let third = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value";
    let tables = [
        ":authority: www.example.com",
        "cache-control: no-cache\n:authority: www.example.com",
        "custom-key: custom-value\ncache-control: no-cache\n:authority: www.example.com",
    ];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        example(
            &mut Decoder::new(),
            &[
                (blocks[0], first, tables[0], 57),
                (blocks[1], second, tables[1], 110),
                (blocks[2], third, tables[2], 164),
            ],
        );
    }
}

const RESPONSES: [&str; 3] = [
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com",
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com",
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n\
     content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

/// C.5 and C.6: responses with a table of 256 bytes, of which entries are evicted.
#[test]
fn responses() {
    let tables = [
        "location: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private\n:status: 302",
        ":status: 307\nlocation: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\ncontent-encoding: gzip\n\
         date: Mon, 21 Oct 2013 20:13:22 GMT",
    ];
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &hex("3fe1 01")), Ok(Vec::new()));
        let rows: Vec<_> =
            (0..3).map(|at| (blocks[at], RESPONSES[at], tables[at], [222, 222, 215][at])).collect();
        example(&mut decoder, &rows);
    }
}

fn encode(encoder: &mut Encoder, list: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = encoder.block(&mut out);
    for (name, value) in list {
        block.field(name, value);
    }
    out
}

#[test]
fn what_repeats_becomes_an_index() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut lengths = Vec::new();
    for count in 0..4 {
        let list =
            fields(&format!("Server: hatchery\nContent-Type: text/html\nContent-Length: 0123456{count}"));
        let mut block = Vec::new();
        let mut writer = encoder.block(&mut block);
        writer.status(Status(200));
        list.iter().for_each(|(name, value)| writer.field(name, value));
        lengths.push(block.len());
        let expected = format!(
            ":status: 200\nserver: hatchery\ncontent-type: text/html\ncontent-length: 0123456{count}"
        );
        assert_eq!(decode(&mut decoder, &block), Ok(fields(&expected)));
    }
    let kept: Vec<_> = table(&decoder).0.into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept, [&b"content-type"[..], b"server"], "what differs drives nothing out");
    assert!(lengths[2] + 14 < lengths[1] && lengths[3] == lengths[2], "{lengths:?}");
}

#[test]
fn what_is_unique_has_its_name_in_the_table_and_drives_nothing_else_out() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut write = |encoder: &mut Encoder, number: usize| {
        let (mut block, value) = (Vec::new(), format!("{number:016x}"));
        encoder.block(&mut block).unique(b"X-Request-Id", value.as_bytes());
        assert_eq!(decode(&mut decoder, &block), Ok(fields(&format!("x-request-id: {value}"))));
        assert!(encoder.entries().eq(decoder.entries()));
        (block, encoder.entries().count())
    };
    assert_eq!(write(&mut encoder, 1).1, 1);
    for number in 2..500 {
        // Not indexed, the name at 62, and the value as it is.
        let (block, entries) = write(&mut encoder, number);
        assert_eq!((&block[..3], block.len(), entries), (&[0x0f, 62 - 15, 16][..], 19, 1));
    }
    // A table in which there is no place for it.
    encoder.resize(59);
    write(&mut encoder, 1);
    assert_eq!(write(&mut encoder, 2).1, 0);
    encoder.resize(60);
    write(&mut encoder, 3);
    assert_eq!(write(&mut encoder, 4).1, 1);
}

#[test]
fn what_would_not_fit_drives_nothing_out_and_codes_are_used_where_shorter() {
    let mut encoder = Encoder::new();
    let (small, large) = (fields("a: b"), vec![(b"x".to_vec(), vec![b'a'; TABLE_SIZE - 32])]);
    for list in [&small, &small, &large, &large] {
        encode(&mut encoder, list);
    }
    assert_eq!(encode(&mut encoder, &small), [0xbe]);
    // A name of six codes of five bits; a value of codes that are longer than a byte.
    let block = encode(&mut encoder, &fields("aaaaaa: <<<<"));
    assert_eq!(block[..8], [0x00, 0x84, 0x18, 0xc6, 0x31, 0x8f, 0x04, b'<']);
}

#[test]
fn secrets_are_in_no_table_and_marked() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let list = fields("Set-Cookie: session=0123456789");
    for _ in 0..3 {
        let block = encode(&mut encoder, &list);
        // Never indexed, the name at 55.
        assert_eq!(block[..2], [0x1f, 55 - 15]);
        assert_eq!(decode(&mut decoder, &block), Ok(fields("set-cookie: session=0123456789")));
    }
    assert_eq!(table(&decoder).1, 0);
}

#[test]
fn statuses_are_one_byte_or_an_entry() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for status in (100..1000).chain([200, 204, 206, 304, 400, 404, 500, 302, 302, 302]) {
        let mut block = Vec::new();
        encoder.block(&mut block).status(Status(status));
        assert_eq!(decode(&mut decoder, &block), Ok(fields(&format!(":status: {status}"))));
        assert!(block.len() <= 5, "{status}: {block:x?}");
        if [200, 204, 206, 304, 400, 404, 500].contains(&status) {
            assert_eq!(block.len(), 1);
        }
    }
}

#[test]
fn the_table_is_as_small_as_the_other_side_wants() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let list = fields("a: b\nc: d\ne: f");
    for _ in 0..2 {
        assert_eq!(decode(&mut decoder, &encode(&mut encoder, &list)), Ok(list.clone()));
    }
    assert_eq!(encode(&mut encoder, &list), [0xc0, 0xbf, 0xbe]);
    // Nothing changes: nothing is said.
    encoder.resize(u32::MAX);
    assert_eq!(encode(&mut encoder, &list), [0xc0, 0xbf, 0xbe]);
    // Smaller, then larger: both are said, once, and one entry is left.
    encoder.resize(100);
    encoder.resize(40);
    encoder.resize(70);
    let block = encode(&mut encoder, &list);
    assert_eq!(block[..5], [0x20 | 31, 40 - 31, 0x20 | 31, 70 - 31, 0x40], "{block:x?}");
    assert_eq!(decode(&mut decoder, &block), Ok(list.clone()));
    assert!(table(&decoder).1 <= 70 && encoder.entries().eq(decoder.entries()));
    assert!(encode(&mut encoder, &list)[0] & 0xe0 != 0x20);
    // None at all, and again the usual.
    encoder.resize(0);
    let block = encode(&mut encoder, &list);
    assert_eq!(block[0], 0x20);
    assert_eq!(decode(&mut decoder, &block), Ok(list.clone()));
    assert_eq!(table(&decoder).1, 0);
    encoder.resize(u32::MAX);
    let block = encode(&mut encoder, &list);
    assert_eq!(block[..3], [0x3f, 0xe1, 0x1f], "to 4096");
    assert_eq!(decode(&mut decoder, &block), Ok(list.clone()));
}

#[test]
fn a_list_above_the_limit_keeps_the_table_in_step() {
    // An entry of some 4000 bytes, then 10,000 times its index.
    let mut block = hex("400a 6375 7374 6f6d 2d6b 6579 7f81 1e");
    let long = 0x7f + 0x01 + (0x1e << 7);
    block.extend(vec![b'x'; long]);
    block.extend([0xbe; 10_000]);
    // And behind it an entry that the next block needs.
    block.extend(hex("4001 6101 62"));
    let mut decoder = Decoder::new();
    let mut told = 0;
    assert_eq!(decoder.decode(&block, 65_536, |_, _| told += 1), Ok(Outcome::Exceeds));
    assert_eq!(told, 65_536 / (long + 10 + 32));
    assert_eq!(decode(&mut decoder, &[0xbe]), Ok(fields("a: b")));
    // To the byte.
    for (limit, outcome) in
        [(33, Outcome::Exceeds), (34, Outcome::Whole), (67, Outcome::Exceeds), (68, Outcome::Whole)]
    {
        let block = if limit < 60 { &[0xbe][..] } else { &[0xbe, 0xbe] };
        let mut told = 0;
        assert_eq!(decoder.decode(block, limit, |_, _| told += 1), Ok(outcome), "{limit}");
        assert_eq!(told, limit / 34, "{limit}");
    }
    // What is small again is told, whatever came before.
    assert_eq!(decoder.decode(&[0xbe, 0x82], 34, |_, _| ()), Ok(Outcome::Exceeds));
}

#[test]
fn names_are_taken_from_entries_that_leave() {
    // The name of the only entry, with a value for which it has to leave.
    let mut decoder = Decoder::new();
    let mut block = hex("40 03 782d61 7f 811e");
    block.extend(vec![b'1'; 0x7f + 1 + (0x1e << 7)]);
    block.extend(hex("7e 7f 811e"));
    block.extend(vec![b'2'; 0x7f + 1 + (0x1e << 7)]);
    let list = decode(&mut decoder, &block).unwrap();
    assert_eq!(list.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), [b"x-a", b"x-a"]);
    assert_eq!(table(&decoder).0, list[1..]);
    // One that is larger than the table: the name still is the right one, and the table is empty.
    let mut block = hex("7e 7f 8120");
    block.extend(vec![b'3'; 0x7f + 1 + (0x20 << 7)]);
    assert_eq!(decode(&mut decoder, &block).unwrap()[0].0, b"x-a");
    assert_eq!(table(&decoder).1, 0);
}

#[test]
fn what_is_no_block_is_told_why() {
    for (block, why) in [
        ("80", "an index of no entry"),
        ("be", "an index of no entry"),
        ("ff ff ff ff ff 0f", "an integer of more than 32 bits"),
        ("ff 80 80 80 80 80 00", "an integer of more than 32 bits"),
        ("ff 80", "the block breaks off"),
        ("7e 00", "an index of no entry"),
        ("0f 2f 00", "an index of no entry"),
        ("40", "the block breaks off"),
        ("40 01", "a string is longer than its block"),
        ("40 01 61", "the block breaks off"),
        ("00 01 61 02 62", "a string is longer than its block"),
        ("00 ff ff ff ff 0f", "a string is longer than its block"),
        ("00 81 18 00", "the padding of a string is longer than seven bits or not of ones"),
        ("00 81 ff 00", "the padding of a string is longer than seven bits or not of ones"),
        ("00 84 ff ff ff ff 00", "a string contains its end"),
        ("3f e2 1f", "a size of the table above SETTINGS_HEADER_TABLE_SIZE"),
        ("82 20", "the size of the table changes behind a field"),
        ("20 82 20", "the size of the table changes behind a field"),
    ] {
        assert_eq!(decode(&mut Decoder::new(), &hex(block)), Err(Error(why)), "{block}");
    }
    for (block, list) in [("", ""), ("20", ""), ("20 3f e1 1f", ""), ("3f e1 1f 82", ":method: GET")] {
        let list = if list.is_empty() { Vec::new() } else { fields(list) };
        assert_eq!(decode(&mut Decoder::new(), &hex(block)), Ok(list), "{block}");
    }
}

#[test]
fn a_block_that_breaks_off_is_no_other_list() {
    let mut encoder = Encoder::new();
    let list: Vec<Field> = RESPONSES.iter().flat_map(|response| fields(response)).collect();
    let whole = encode(&mut encoder, &list);
    let mut readable = 0;
    for end in 0..whole.len() {
        if let Ok(shorter) = decode(&mut Decoder::new(), &whole[..end]) {
            assert!(list.starts_with(&shorter), "cut at {end}");
            readable += 1;
        }
    }
    assert_eq!(readable, list.len(), "between fields only");
}

/// Lists of what may come, over many blocks, with changes of the size of the table in between.
#[test]
fn what_was_written_is_read() {
    let mut noise = 88_172_645_463_325_252_u64;
    let mut next = move |below: usize| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        (noise >> 33) as usize % below
    };
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for round in 0..400 {
        if next(10) == 0 {
            encoder.resize([0, 40, 100, 500, 4096, u32::MAX][next(6)]);
        }
        let list: Vec<Field> = (0..next(12))
            .map(|_| {
                let long = "n".repeat(next(200));
                let name = ["server", "x-a", "x-b", "etag", "set-cookie", &long][next(6)];
                let value: Vec<u8> = match next(3) {
                    0 => vec![b'v'; next(5)],
                    1 => (0..next(60)).map(|_| next(256) as u8).collect(),
                    _ => vec![b'w'; next(2 * TABLE_SIZE)],
                };
                (name.as_bytes().to_vec(), value)
            })
            .collect();
        assert_eq!(decode(&mut decoder, &encode(&mut encoder, &list)), Ok(list), "round {round}");
        assert!(encoder.entries().eq(decoder.entries()), "round {round}");
    }
}
