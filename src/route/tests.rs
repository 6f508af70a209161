//! Each rule of the order, then the whole against a naive reading of the rules.

use super::*;

fn exact(path: &str) -> Matcher {
    Matcher::Exact(path.into())
}

fn prefix(path: &str) -> Matcher {
    Matcher::Prefix { path: path.into(), over_regex: false }
}

fn over(path: &str) -> Matcher {
    Matcher::Prefix { path: path.into(), over_regex: true }
}

fn regex(pattern: &str) -> Matcher {
    Matcher::Regex(Regex::new(pattern).unwrap())
}

fn site(locations: &[Matcher]) -> Table {
    guarded(&locations.iter().map(|matcher| (matcher.clone(), Guard::default())).collect::<Vec<_>>())
}

fn guarded(locations: &[(Matcher, Guard)]) -> Table {
    Table::new(vec![SiteSpec { names: Vec::new(), locations: locations.to_vec() }])
}

/// A request with a method, and the conditions that hold for it.
#[derive(Clone, Copy, Debug)]
struct Asked(&'static str, &'static [usize]);

impl Asks for Asked {
    fn method(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn holds(&self, condition: usize) -> bool {
        self.1.contains(&condition)
    }
}

/// Where there are no guards, nobody asks for the request.
struct Nobody;

impl Asks for Nobody {
    fn method(&self) -> &[u8] {
        panic!("asked for the method")
    }

    fn holds(&self, condition: usize) -> bool {
        panic!("asked for {condition}")
    }
}

fn name(text: &str) -> HostPattern {
    match (text.strip_prefix('~'), text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(regex), ..) => HostPattern::Regex(Regex::new(regex).unwrap()),
        (_, Some(suffix), _) => HostPattern::Suffix(suffix.into()),
        (.., Some(prefix)) => HostPattern::Prefix(prefix.into()),
        _ => HostPattern::Exact(text.into()),
    }
}

fn hosts(sites: &[&[&str]]) -> Table {
    let spec = |names: &&[&str]| SiteSpec {
        names: names.iter().map(|text| name(text)).collect(),
        locations: Vec::new(),
    };
    Table::new(sites.iter().map(spec).collect())
}

#[test]
fn the_contract_s_example() {
    let table = site(&[
        exact("/robots.txt"),
        prefix("/static/"),
        prefix("/media/"),
        prefix("/api/"),
        prefix("/admin/"),
        prefix("/old/"),
        prefix("/cgi-bin/"),
        regex("\\.php$"),
        prefix("/"),
    ]);
    for (path, expected) in [
        ("/robots.txt", 0),
        ("/static/a.css", 1),
        ("/static/", 1),
        ("/static", 8),
        ("/api/v1/x", 3),
        ("/index.php", 7),
        ("/static/x.php", 7),
        ("/", 8),
        ("/anything/else", 8),
    ] {
        assert_eq!(table.location(0, path.as_bytes(), &Nobody), Some(expected), "{path}");
    }
}

#[test]
fn prefixes_end_at_segments() {
    let table = site(&[prefix("/api"), prefix("/api/v1"), prefix("/static/"), prefix("/apix/y")]);
    for (path, expected) in [
        ("/api", Some(0)),
        ("/api/", Some(0)),
        ("/api/x", Some(0)),
        ("/apix", None),
        ("/apix/y", Some(3)),
        ("/apix/yz", None),
        ("/api/v1", Some(1)),
        ("/api/v1/x", Some(1)),
        ("/api/v10", Some(0)),
        ("/static", None),
        ("/static/", Some(2)),
        ("/staticx/", None),
        ("/", None),
        ("", None),
        ("*", None),
    ] {
        assert_eq!(table.location(0, path.as_bytes(), &Nobody), expected, "{path}");
    }
}

#[test]
fn regexes_in_order_between_the_two_kinds_of_prefix() {
    let table = site(&[
        prefix("/"),
        regex("^/media/.*\\.jpg$"),
        regex("\\.jpg$"),
        over("/static/"),
        exact("/static/x.jpg"),
    ]);
    for (path, expected) in [
        ("/a.jpg", 2),
        ("/media/a.jpg", 1),
        ("/media/a.png", 0),
        ("/static/a.jpg", 3),
        ("/static/x.jpg", 4),
        ("/other", 0),
    ] {
        assert_eq!(table.location(0, path.as_bytes(), &Nobody), Some(expected), "{path}");
    }
    // Only the longest prefix is asked whether it wins over expressions.
    let table = site(&[over("/a/"), prefix("/a/b/"), regex("c$")]);
    assert_eq!(table.location(0, b"/a/c", &Nobody), Some(0));
    assert_eq!(table.location(0, b"/a/b/c", &Nobody), Some(2));
    assert_eq!(table.location(0, b"/a/b/d", &Nobody), Some(1));
}

#[test]
fn a_path_that_is_no_utf8_meets_expressions_too() {
    let table = site(&[regex("^/secret"), prefix("/")]);
    assert_eq!(table.location(0, b"/secret/\xff", &Nobody), Some(0));
    assert_eq!(table.location(0, b"/\xff", &Nobody), Some(1));
}

#[test]
fn the_first_of_equal_paths_counts() {
    let table = site(&[prefix("/a"), over("/a"), exact("/b"), exact("/b"), regex("^/a$")]);
    assert_eq!(table.location(0, b"/b", &Nobody), Some(2));
    assert_eq!(table.location(0, b"/a", &Nobody), Some(4));
    assert_eq!(table.location(0, b"/a/x", &Nobody), Some(0));
}

#[test]
fn hosts_in_order() {
    let table = hosts(&[
        &["*.example"],
        &["shop.example", "*.shop.example"],
        &[],
        &["a.shop.example"],
        &["SHOP.Example"],
        &[],
    ]);
    let all = [0, 1, 2, 3, 4, 5];
    for (host, expected) in [
        ("shop.example", 1),
        ("a.shop.example", 3),
        ("b.shop.example", 1),
        ("c.a.shop.example", 1),
        ("other.example", 0),
        ("example", 2),
        (".example", 2),
        ("xexample", 2),
        ("", 2),
        ("192.0.2.1", 2),
    ] {
        assert_eq!(table.site(&all, host.as_bytes()), Some(expected), "{host}");
    }
    // Only the sites on the listener count, in every step.
    assert_eq!(table.site(&[0, 3], b"shop.example"), Some(0));
    assert_eq!(table.site(&[3, 4], b"shop.example"), Some(4));
    assert_eq!(table.site(&[3, 4], b"b.shop.example"), None);
    assert_eq!(table.site(&[5, 3], b"b.shop.example"), Some(5));
    assert_eq!(table.site(&[], b"shop.example"), None);
    assert_eq!(table.site(&[77], b"nobody"), None);
}

#[test]
fn hosts_by_their_beginning_and_by_expressions() {
    let table = hosts(&[
        &["~^s[0-9]+\\.", "shop.*"],
        &["*.example"],
        &["~^shop", "www.shop.*"],
        &["shop.co.*"],
        &["~\\.uk$"],
        &[],
    ]);
    let all = [0, 1, 2, 3, 4, 5];
    for (host, expected) in [
        ("shop.example", 1),
        ("shop.de", 0),
        ("shop.co.uk", 3),
        ("shop.co", 0),
        ("www.shop.de", 2),
        ("shop", 2),
        ("shopping.de", 2),
        ("s1.uk", 0),
        ("s.uk", 4),
        ("other", 5),
        ("", 5),
    ] {
        assert_eq!(table.site(&all, host.as_bytes()), Some(expected), "{host}");
    }
    assert_eq!(table.site(&[2, 4], b"shop.co.uk"), Some(2));
    assert_eq!(table.site(&[1, 3], b"s1.uk"), None);
}

#[test]
fn what_is_left_of_the_path() {
    let table =
        site(&[prefix("/static/"), prefix("/blog"), exact("/x/favicon.ico"), regex("php$"), prefix("/")]);
    for (location, path, rest, file) in [
        (0, "/static/css/a.css", "css/a.css", "css/a.css"),
        (0, "/static/", "", ""),
        (1, "/blog", "", ""),
        (1, "/blog/post", "/post", "/post"),
        (2, "/x/favicon.ico", "", "favicon.ico"),
        (3, "/a.php", "/a.php", "/a.php"),
        (4, "/a", "a", "a"),
        (99, "/a", "/a", "/a"),
        (0, "/s", "", ""),
    ] {
        assert_eq!(table.rest(0, location, path.as_bytes()), rest.as_bytes(), "{path}");
        assert_eq!(table.file(0, location, path.as_bytes()), file.as_bytes(), "{path}");
    }
    assert_eq!(table.location(9, b"/", &Nobody), None);
}

/// The rules as one would say them, without any index.
fn naive_location(locations: &[Matcher], path: &str) -> Option<usize> {
    let find = |takes: &dyn Fn(&Matcher) -> bool| locations.iter().position(takes);
    if let Some(found) = find(&|matcher| matches!(matcher, Matcher::Exact(exact) if exact == path)) {
        return Some(found);
    }
    let takes = |prefix: &str| {
        path == prefix
            || (path.starts_with(prefix) && (prefix.ends_with('/') || path[prefix.len()..].starts_with('/')))
    };
    let mut longest: Option<(usize, &str, bool)> = None;
    for (index, matcher) in locations.iter().enumerate() {
        if let Matcher::Prefix { path, over_regex } = matcher
            && takes(path)
            && longest.is_none_or(|(_, have, _)| path.len() > have.len())
        {
            longest = Some((index, path, *over_regex));
        }
    }
    if let Some((index, _, true)) = longest {
        return Some(index);
    }
    find(&|matcher| matches!(matcher, Matcher::Regex(regex) if regex.is_match(path)))
        .or(longest.map(|(index, ..)| index))
}

fn naive_site(sites: &[Vec<HostPattern>], candidates: &[usize], host: &str) -> Option<usize> {
    let mut best: Option<(usize, usize)> = None;
    for site in candidates {
        for pattern in &sites[*site] {
            let score = match pattern {
                HostPattern::Exact(name) if name == host => usize::MAX,
                HostPattern::Suffix(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => {
                    2000 + suffix.len()
                }
                HostPattern::Prefix(prefix) if host.len() > prefix.len() && host.starts_with(prefix) => {
                    1000 + prefix.len()
                }
                _ => continue,
            };
            if best.is_none_or(|(_, have)| score > have) {
                best = Some((*site, score));
            }
        }
    }
    best.map(|(site, _)| site).or(candidates.iter().copied().find(|site| sites[*site].is_empty()))
}

/// xorshift64 with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Few letters and much structure, so that paths often meet.
    fn path(&mut self) -> String {
        let mut path = String::from("/");
        for _ in 0..self.below(7) {
            path.push(['a', 'b', '/', '.', '0'][self.below(5)]);
        }
        path
    }

    fn host(&mut self) -> String {
        let labels = 1 + self.below(3);
        let labels: Vec<_> = (0..labels).map(|_| ["a", "b", "ab"][self.below(3)]).collect();
        labels.join(".")
    }
}

#[test]
fn locations_agree_with_the_naive_reading() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut taken = 0;
    for _ in 0..2000 {
        let locations: Vec<_> = (0..random.below(12))
            .map(|_| match random.below(5) {
                0 => exact(&random.path()),
                1 => over(&random.path()),
                2 => regex(["a$", "^/b", "\\.", "0/a"][random.below(4)]),
                _ => prefix(&random.path()),
            })
            .collect();
        let table = site(&locations);
        for _ in 0..30 {
            let path = random.path();
            let expected = naive_location(&locations, &path);
            assert_eq!(table.location(0, path.as_bytes(), &Nobody), expected, "{path} in {locations:?}");
            taken += usize::from(expected.is_some());
        }
    }
    assert!((10_000..50_000).contains(&taken), "{taken}: the generator has gone stale");
}

#[test]
fn hosts_agree_with_the_naive_reading() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2000 {
        let sites: Vec<Vec<HostPattern>> = (0..1 + random.below(5))
            .map(|_| {
                (0..random.below(3))
                    .map(|_| match random.below(3) {
                        0 => HostPattern::Exact(random.host()),
                        1 => HostPattern::Prefix(format!("{}.", random.host())),
                        _ => HostPattern::Suffix(format!(".{}", random.host())),
                    })
                    .collect()
            })
            .collect();
        let spec = |names: &Vec<HostPattern>| SiteSpec { names: names.clone(), locations: Vec::new() };
        let table = Table::new(sites.iter().map(spec).collect());
        let candidates: Vec<usize> = (0..sites.len()).filter(|_| random.below(4) > 0).collect();
        for _ in 0..20 {
            let host = random.host();
            let expected = naive_site(&sites, &candidates, &host);
            assert_eq!(
                table.site(&candidates, host.as_bytes()),
                expected,
                "{host} in {sites:?} {candidates:?}"
            );
        }
    }
}

fn takes(methods: &[&str], when: Option<usize>, unless: Option<usize>) -> Guard {
    Guard { methods: methods.iter().map(ToString::to_string).collect(), when, unless }
}

#[test]
fn a_location_that_does_not_admit_a_request_is_not_there_for_it() {
    let open = Guard::default();
    let table = guarded(&[
        (prefix("/a/"), takes(&["POST"], None, None)),
        (prefix("/a/"), takes(&[], Some(7), None)),
        (prefix("/a/"), open.clone()),
        (prefix("/"), open.clone()),
        (exact("/a/x"), takes(&["GET"], Some(7), Some(8))),
        (over("/a/over/"), takes(&["GET"], None, None)),
        (regex("\\.php$"), takes(&[], None, Some(8))),
        (regex("p$"), open),
    ]);
    for (asked, path, expected) in [
        (Asked("POST", &[]), "/a/b", 0),
        (Asked("POST", &[7]), "/a/b", 0),
        (Asked("GET", &[7]), "/a/b", 1),
        (Asked("GET", &[]), "/a/b", 2),
        (Asked("GET", &[7]), "/a/x", 4),
        (Asked("HEAD", &[7]), "/a/x", 4),
        (Asked("GET", &[7, 8]), "/a/x", 1),
        (Asked("PUT", &[7]), "/a/x", 1),
        (Asked("GET", &[]), "/a/x", 2),
        (Asked("GET", &[]), "/a/over/x.php", 5),
        (Asked("PUT", &[]), "/a/over/x.php", 6),
        (Asked("PUT", &[8]), "/a/over/x.php", 7),
        (Asked("GET", &[]), "/b", 3),
    ] {
        assert_eq!(table.location(0, path.as_bytes(), &asked), Some(expected), "{asked:?} {path}");
    }
}

#[test]
fn a_request_that_lacks_only_the_method_is_told_which_are_taken() {
    let table = guarded(&[
        (prefix("/a/"), takes(&["GET", "POST"], None, None)),
        (exact("/a/x"), takes(&["DELETE", "GET"], None, None)),
        (regex("x$"), takes(&["PUT"], Some(7), None)),
    ]);
    let methods = |path: &str, asked| table.methods(0, path.as_bytes(), &asked);
    assert_eq!(methods("/a/b", Asked("PUT", &[])), ["GET", "POST", "HEAD"]);
    assert_eq!(methods("/a/x", Asked("PATCH", &[])), ["GET", "POST", "HEAD", "DELETE"]);
    assert_eq!(methods("/x", Asked("GET", &[7])), ["PUT"]);
    assert!(methods("/x", Asked("GET", &[])).is_empty() && methods("/b", Asked("GET", &[])).is_empty());
}

#[test]
fn guarded_locations_agree_with_the_naive_reading_of_those_that_admit() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut taken = 0;
    for _ in 0..2000 {
        let locations: Vec<_> = (0..random.below(12))
            .map(|_| {
                let matcher = match random.below(5) {
                    0 => exact(&random.path()),
                    1 => over(&random.path()),
                    2 => regex(["a$", "^/b", "\\.", "0/a"][random.below(4)]),
                    _ => prefix(&random.path()),
                };
                let methods: &[&str] = [&[][..], &[], &["GET"], &["POST", "PUT"]][random.below(4)];
                let index = |choice: usize| (choice < 3).then_some(choice);
                (matcher, takes(methods, index(random.below(6)), index(random.below(6))))
            })
            .collect();
        let table = guarded(&locations);
        for _ in 0..30 {
            let path = random.path();
            let asked = Asked(
                ["GET", "HEAD", "POST", "DELETE"][random.below(4)],
                [&[][..], &[0], &[1, 2], &[0, 1, 2]][random.below(4)],
            );
            let there: Vec<_> =
                (0..locations.len()).filter(|index| locations[*index].1.admits(&asked)).collect();
            let matchers: Vec<_> = there.iter().map(|index| locations[*index].0.clone()).collect();
            let expected = naive_location(&matchers, &path).map(|index| there[index]);
            assert_eq!(
                table.location(0, path.as_bytes(), &asked),
                expected,
                "{asked:?} {path} in {locations:?}"
            );
            taken += usize::from(expected.is_some());
        }
    }
    assert!((5_000..50_000).contains(&taken), "{taken}: the generator has gone stale");
}
