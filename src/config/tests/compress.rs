//! `compress` of sites and locations: what is understood, and each mistake with its message.

use super::mistakes::each_has_its_message;
use super::*;
use crate::http::encoding::Encoding;
use crate::policy::compress::Compress;
use std::rc::Rc;

/// A site that says this, from column 40 of line 1 on, and has these locations.
fn site(compress: &str, locations: &str) -> String {
    format!("(sites: [(listen: [\":8000\"], compress: {compress}, locations: [{locations}])])")
}

/// What its only location has of it, which is written and read again.
fn of(compress: &str, location: &str) -> Compressing {
    let config = load_text(&site(compress, &format!("(path: \"/\", to: Respond(){location})"))).unwrap();
    let written = to_ron(&config);
    assert_eq!(load_text(&written).as_ref(), Ok(&config), "{written}");
    config.sites[0].locations[0].policies.compress.clone()
}

#[test]
fn a_location_has_what_it_says_or_what_its_site_says() {
    let on = Compressing::On(Rc::default());
    assert_eq!(of("true", ""), on);
    assert_eq!(of("()", ""), on);
    assert_eq!(of("false", ""), Compressing::Off);
    assert_eq!(of("true", ", compress: false"), Compressing::Off);
    assert_eq!(of("true", ", compress: None"), Compressing::Off);
    assert_eq!(of("None", ", compress: true"), on);
    let own = of("false", ", compress: (encodings: [Gzip], levels: (gzip: 9), streams: true)");
    let Compressing::On(own) = own else { panic!("{own:?}") };
    assert_eq!((&own.encodings[..], own.levels.gzip, own.levels.zstd), (&[Encoding::Gzip][..], 9, 3));
    assert_eq!((own.min, own.streams, own.types.clone()), (1024, true, Compress::default().types));
}

#[test]
fn each_mistake_has_its_message() {
    let at = |value: &str| site(value, "(path: \"/\", to: Respond())");
    let best = "files are compressed as small as it gets by `hatchery precompress`";
    let is_what = "expected true, false or ( encodings: [Zstd, …], … ), found";
    let types = "for example \"text/*\", \"application/json\" or \"*+xml\"";
    for (value, message) in [
        ("\"yes\"", format!("1:40: sites[0].compress: {is_what} the string \"yes\"")),
        ("Gzip", format!("1:40: sites[0].compress: {is_what} `Gzip`")),
        ("\"true\"", "1:40: sites[0].compress: expected true or false, found a string; write it without quotes: true".to_owned()),
        ("(levels: (gzip: 12))", format!("1:56: sites[0].compress.levels.gzip: there is no level 12 of gzip for responses; from 1 to 9; {best}")),
        ("(levels: (brotli: 11))", format!("1:58: sites[0].compress.levels.brotli: there is no level 11 of br for responses; from 0 to 9; {best}")),
        ("(levels: (zstd: 0))", format!("1:56: sites[0].compress.levels.zstd: there is no level 0 of zstd for responses; from 1 to 15; {best}")),
        ("(encodings: [])", "1:52: sites[0].compress.encodings: nothing is compressed; write compress: false for that".to_owned()),
        ("(encodings: [\"br\"])", "1:53: sites[0].compress.encodings[0]: expected the name of a coding, found the string \"br\"; write Brotli".to_owned()),
        ("(encodings: [Brotli, Brotli])", "1:61: sites[0].compress.encodings[1]: given twice; keep one of the two".to_owned()),
        ("(types: [\"html\"])", format!("1:49: sites[0].compress.types[0]: `html` is not a media type; {types}")),
        ("(types: [\"*/*\"])", format!("1:49: sites[0].compress.types[0]: `*/*` is not a media type; {types}")),
        ("(level: 5)", "1:41: sites[0].compress.level: unknown key `level`; each coding has its own scale: levels: (zstd: 3, brotli: 4, gzip: 5)".to_owned()),
    ] {
        each_has_its_message(&[(at(value), &message)]);
    }
}
