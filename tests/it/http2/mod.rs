//! HTTP/2, as the tools of others speak it and as nobody should.

mod floods;
mod malformed;
mod reload;
mod serving;
mod streams;
mod table;
mod tunnels;

/// What is sent in each case of the table, behind preface and settings.
pub(crate) fn streams() -> Vec<(String, Vec<u8>)> {
    let bytes = |step| match step {
        table::Step::Send(bytes) => bytes,
        table::Step::Answered(_) => Vec::new(),
    };
    let cases = table::cases().into_iter().filter(|case| !case.bare);
    cases.map(|case| (case.what, case.steps.into_iter().flat_map(bytes).collect())).collect()
}
