use super::*;
use crate::buf::Segment;
use crate::gateway::tests::request;
use crate::http::BodyLength;

// ---- the request ------------------------------------------------------------------------------------------------------

fn scripts(index: &str) -> Scripts {
    Scripts { root: PathBuf::from("/srv/blog/"), index: index.to_owned() }
}

/// The records in `wire`: kind and content.
fn records(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while !wire.is_empty() {
        let (header, rest) = wire.split_first_chunk::<8>().unwrap();
        assert_eq!((&header[..1], &header[2..4], &header[6..]), (&[1][..], &[0, 1][..], &[0, 0][..]));
        let (content, rest) = rest.split_at(u16::from_be_bytes([header[4], header[5]]).into());
        records.push((header[1], content.to_vec()));
        wire = rest;
    }
    records
}

fn pairs(wire: &[u8]) -> Vec<(String, String)> {
    let all: Vec<u8> =
        records(wire).into_iter().filter(|(kind, _)| *kind == PARAMS).flat_map(|(_, part)| part).collect();
    let (mut rest, mut pairs) = (&all[..], Vec::new());
    let length = |rest: &mut &[u8]| {
        let (length, size) = match rest[0] {
            short @ ..0x80 => (usize::from(short), 1),
            _ => ((u32::from_be_bytes(rest[..4].try_into().unwrap()) & !(1 << 31)) as usize, 4),
        };
        *rest = &rest[size..];
        length
    };
    while !rest.is_empty() {
        let (name, value) = (length(&mut rest), length(&mut rest));
        let (text, behind) = rest.split_at(name + value);
        let (name, value) = text.split_at(name);
        pairs.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()));
        rest = behind;
    }
    pairs
}

#[test]
fn a_request_is_three_streams() {
    let mut wire = Vec::new();
    let long = "x".repeat(70_000);
    let fields = [("Cookie", "a=1"), ("X-Long", long.as_str())];
    request(&fields, |request| encode(request, None, Some(5), &mut wire)).unwrap();
    let kinds: Vec<(u8, usize)> = records(&wire).iter().map(|(kind, part)| (*kind, part.len())).collect();
    assert_eq!((kinds[0], kinds[1]), ((BEGIN_REQUEST, 8), (PARAMS, RECORD.into())));
    assert_eq!((kinds.len(), kinds[3]), (4, (PARAMS, 0)), "its body is still to come");
    assert_eq!(records(&wire)[0].1, [0, 1, 1, 0, 0, 0, 0, 0], "a responder that keeps the connection");
    let told = pairs(&wire);
    for (name, value) in [
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/a/x"),
        ("CONTENT_LENGTH", "5"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_X_LONG", &long),
    ] {
        assert!(told.contains(&(name.to_owned(), value.to_owned())), "{name} is missing");
    }
    assert!(!told.iter().any(|(name, _)| name == "SCRIPT_FILENAME"));

    let mut wire = Vec::new();
    request(&[], |request| encode(request, None, None, &mut wire)).unwrap();
    assert_eq!(records(&wire).last(), Some(&(STDIN, Vec::new())), "there is no body: it has ended");
}

#[test]
fn a_path_names_its_script_and_nothing_else_does() {
    for (index, path, wanted) in [
        ("index.php", "/", Some(("/index.php", ""))),
        ("index.php", "/admin/", Some(("/admin/index.php", ""))),
        ("index.php", "/admin.php", Some(("/admin.php", ""))),
        ("index.php", "/index.php/a/b.php/c", Some(("/index.php", "/a/b.php/c"))),
        ("index.php", "/index.php/", Some(("/index.php", "/"))),
        ("index.php", "/a.php.jpg/", Some(("/a.php.jpg/index.php", ""))),
        ("index.php", "/upload.jpg/x.php", Some(("/upload.jpg/x.php", ""))),
        ("index.php", "/upload.jpg", None),
        ("index.php", "/a.phps", None),
        ("index.php", "/A.PHP", None),
        ("index.php", "*", None),
        ("/index.php", "/", Some(("/index.php", ""))),
        ("/app/web.php", "/2024/hello", Some(("/app/web.php", ""))),
        ("/index.php", "/upload.jpg", Some(("/index.php", ""))),
        ("/index.php", "/other.php/x", Some(("/other.php", "/x"))),
    ] {
        let scripts = scripts(index);
        let split = scripts.split(path.as_bytes());
        let split = split.map(|(script, info)| (String::from_utf8(script.into()).unwrap(), info.to_vec()));
        let wanted = wanted.map(|(script, info)| (script.to_owned(), info.as_bytes().to_vec()));
        assert_eq!(split, wanted, "{index} {path}");
    }
}

#[test]
fn php_is_told_which_file_it_is() {
    let mut wire = Vec::new();
    let scripts = scripts("/index.php");
    request(&[], |request| {
        let request = Request { path: b"/a/b.php/c", ..*request };
        encode(&request, Some(&scripts), None, &mut wire)
    })
    .unwrap();
    let told = pairs(&wire);
    for (name, value) in [
        ("SCRIPT_FILENAME", "/srv/blog/a/b.php"),
        ("DOCUMENT_ROOT", "/srv/blog/"),
        ("SCRIPT_NAME", "/a/b.php"),
        ("PATH_INFO", "/c"),
        ("REDIRECT_STATUS", "200"),
    ] {
        let values: Vec<&str> =
            told.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, [value], "{name}");
    }
    let mut wire = Vec::new();
    request(&[], |request| {
        let request = Request { path: b"/old/a/b.php/c", mount: "/old", ..*request };
        encode(&request, Some(&scripts), None, &mut wire)
    })
    .unwrap();
    let told = pairs(&wire);
    for (name, value) in
        [("SCRIPT_FILENAME", "/srv/blog/a/b.php"), ("SCRIPT_NAME", "/old/a/b.php"), ("PATH_INFO", "/c")]
    {
        assert!(told.contains(&(name.to_owned(), value.to_owned())), "{name} below a prefix: {told:?}");
    }
    let refused = request(&[], |request| {
        let scripts = Scripts { index: "index.php".to_owned(), ..scripts.clone() };
        encode(request, Some(&scripts), None, &mut Vec::new())
    });
    assert_eq!(refused, Err(Fault::Request(NO_SCRIPT)));
}

#[test]
fn a_body_is_put_into_records() {
    let long = vec![7; 70_000];
    let (mut piece, mut out) = (Queue::new(), Queue::new());
    piece.extend(b"abc");
    body(&mut piece, &mut out);
    piece.push(Segment::from(long.clone()));
    body(&mut piece, &mut out);
    // Nothing: an empty record would end it.
    body(&mut piece, &mut out);
    end_body(&mut out);
    let mut wire = Vec::new();
    out.slices(usize::MAX, |slice| wire.extend_from_slice(slice));
    let (first, second) = long.split_at(RECORD.into());
    let wanted = [b"abc".to_vec(), first.to_vec(), second.to_vec(), Vec::new()];
    assert_eq!(records(&wire), wanted.map(|content| (STDIN, content)));
}

// ---- the response -----------------------------------------------------------------------------------------------------

/// A record with this much padding.
fn padded(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let mut wire = Vec::new();
    record(kind, content.len() as u16, &mut wire);
    wire[6] = padding;
    wire.extend_from_slice(content);
    wire.extend(std::iter::repeat_n(b'p', padding.into()));
    wire
}

fn said(text: &str) -> Vec<u8> {
    padded(STDOUT, text.as_bytes(), (8 - text.len() % 8) as u8 % 8)
}

fn ended(status: u8) -> Vec<u8> {
    padded(END_REQUEST, &[0, 0, 0, 0, status, 0, 0, 0], 3)
}

/// How it went: status, body, what came on STDERR, the end, and whether the connection can be used again.
type Told = (Option<u16>, Vec<u8>, String, Option<Event>, bool);

fn told(method: Method, pieces: &[&[u8]], closes: bool) -> Told {
    let mut response = Response::new(method);
    let (mut status, mut body, mut log, mut end) = (None, Vec::new(), Vec::new(), None);
    let mut poll = |response: &mut Response| {
        log.extend(response.said().unwrap_or_default());
        while let Some(event) = response.poll() {
            assert_eq!(end, None, "something after the end");
            match event {
                Event::Head { head, .. } => status = Some(head.status.0),
                Event::Body(bytes) => body.extend(bytes),
                event => end = Some(event),
            }
        }
    };
    for piece in pieces {
        response.feed(piece);
        poll(&mut response);
    }
    if closes {
        response.eof();
        poll(&mut response);
    }
    (status, body, String::from_utf8(log).unwrap(), end, response.reusable())
}

fn play(method: Method, wire: &[Vec<u8>], closes: bool) -> Told {
    let wire = wire.concat();
    let whole = told(method, &[&wire], closes);
    assert_eq!(whole, told(method, &wire.chunks(1).collect::<Vec<_>>(), closes), "whole and byte by byte");
    whole
}

#[test]
fn a_response_ends_with_its_request_and_leaves_the_connection() {
    for (method, wire, status, body, log) in [
        (Method::Get, vec![said("X: y\n\n"), said("o"), said("k"), said("")], 200, "ok", ""),
        (Method::Get, vec![said("Sta"), said("tus: 404 No\r\n\r\nok")], 404, "ok", ""),
        (Method::Get, vec![said("Content-Length: 2\n\nok")], 200, "ok", ""),
        (Method::Get, vec![said("Content-Length: 2\n\nok and more"), said("x")], 200, "ok", ""),
        (Method::Get, vec![said("Status: 204 No\n\n")], 204, "", ""),
        (Method::Head, vec![said("Content-Length: 2\n\n"), said("ok")], 200, "", ""),
        (
            Method::Get,
            vec![
                padded(STDERR, b"PHP mess", 0),
                said("X: y\n\no"),
                padded(STDERR, b"age\nend", 1),
                said("k"),
            ],
            200,
            "ok",
            "PHP message\nend",
        ),
    ] {
        let open = play(method, &wire, false);
        assert_eq!((open.3, open.4), (None, false), "not before END_REQUEST: {wire:?}");
        let wire = [wire, vec![ended(0)]].concat();
        let wanted = (Some(status), body.as_bytes().to_vec(), log.to_owned(), Some(Event::End), true);
        assert_eq!(play(method, &wire, false), wanted, "{wire:?}");
        let more = [wire, vec![b"x".to_vec()]].concat();
        assert!(!play(method, &more, false).4, "kept although something follows");
        assert!(!play(method, &more, true).4);
    }
}

#[test]
fn what_is_no_response_is_a_fault_and_its_connection_is_not_kept() {
    let other = |at: usize, byte: u8| {
        let mut wire = said("X: y\n\nok");
        wire[at] = byte;
        wire
    };
    let head = said("X: y\n\nbo");
    for (wire, fault) in [
        (vec![], Fault::Closed),
        (vec![b"\x01\x06".to_vec()], Fault::Truncated),
        (vec![said("X: y\n")], Fault::Truncated),
        (vec![padded(STDERR, b"died", 0)], Fault::Truncated),
        (vec![head.clone()], Fault::Truncated),
        (vec![head.clone(), b"\x01\x03\0\x01\0\x08\0\0\0\0".to_vec()], Fault::Truncated),
        (vec![said("Content-Length: 9\n\nbo")], Fault::Truncated),
        (vec![said("Content-Length: 9\n\nbo"), ended(0)], Fault::WrongLength),
        (vec![ended(0)], Fault::Malformed(Flaw::Record)),
        (vec![said("X: y\n"), ended(0)], Fault::Malformed(Flaw::Record)),
        (vec![said("no field\n\n"), ended(0)], Fault::Malformed(Flaw::Field)),
        (vec![said("Transfer-Encoding: chunked\n\n0\r\n\r\n"), ended(0)], Fault::Malformed(Flaw::Coding)),
        (vec![ended(1)], Fault::Declined),
        (vec![ended(2)], Fault::Declined),
        (vec![ended(3)], Fault::Declined),
        (vec![head.clone(), ended(2)], Fault::Truncated),
        (vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()], Fault::Malformed(Flaw::Record)),
        (vec![other(0, 2)], Fault::Malformed(Flaw::Record)),
        (vec![other(1, 11)], Fault::Malformed(Flaw::Record)),
        (vec![other(1, STDIN)], Fault::Malformed(Flaw::Record)),
        (vec![other(2, 1)], Fault::Malformed(Flaw::Record)),
        (vec![other(3, 0)], Fault::Malformed(Flaw::Record)),
        (vec![head, padded(END_REQUEST, &[0; 9], 0)], Fault::Malformed(Flaw::Record)),
    ] {
        let (_, _, _, end, reusable) = play(Method::Get, &wire, true);
        assert_eq!((end, reusable), (Some(Event::Broken(fault)), false), "{wire:?}");
    }
    let long: Vec<Vec<u8>> = (0..3).map(|_| padded(STDOUT, &[b'x'; 30_000], 0)).collect();
    let (_, _, _, end, _) = told(Method::Get, &[&long.concat()], false);
    assert_eq!(end, Some(Event::Broken(Fault::HeadTooLarge)));
}

#[test]
fn what_is_complete_need_not_end_in_order() {
    let whole = said("Content-Length: 2\n\nok");
    let (status, body, _, end, reusable) = play(Method::Get, std::slice::from_ref(&whole), true);
    assert_eq!((status, body, end, reusable), (Some(200), b"ok".to_vec(), Some(Event::End), false));
    // Nobody waits for a program that does not stop.
    let mut response = Response::new(Method::Get);
    response.feed(&whole);
    while response.poll().is_some() {}
    let more = padded(STDOUT, &[b'x'; 60_000], 0);
    response.feed(&more);
    assert_eq!(response.poll(), None);
    response.feed(&more);
    assert_eq!((response.poll(), response.reusable()), (Some(Event::End), false));
}

#[test]
fn what_is_said_on_the_side_is_bounded_and_told_by_lines() {
    let mut response = Response::new(Method::Get);
    response.feed(&padded(STDERR, b"one\ntwo\nth", 0));
    assert_eq!(response.said(), Some(b"one\ntwo\n".to_vec()));
    assert_eq!(response.said(), None);
    response.feed(&padded(STDERR, &[b'x'; 60_000], 0));
    let line = response.said().unwrap();
    assert_eq!((line.len(), line.starts_with(b"thxx")), (LINE_MAX, true));
    assert!(response.said.is_empty() && response.poll().is_none());
}

#[test]
fn an_encoder_ends_what_it_announced() {
    let out = |body: BodyLength, pieces: &[&[u8]]| {
        let (mut encoder, mut out) = (crate::gateway::Protocol::FastCgi.body(body), Queue::new());
        pieces.iter().for_each(|piece| encoder.push(Segment::from(piece.to_vec()), &mut out));
        encoder.finish(None, &mut out);
        let mut wire = Vec::new();
        out.slices(usize::MAX, |slice| wire.extend_from_slice(slice));
        records(&wire)
    };
    let stdin = |text: &str| (STDIN, text.as_bytes().to_vec());
    assert_eq!(out(BodyLength::Known(4), &[b"ab", b"", b"cdef"]), [stdin("ab"), stdin("cd"), stdin("")]);
    assert_eq!(out(BodyLength::Known(0), &[]), [stdin("")]);
}
