use super::*;
use crate::sys::sandbox::filter::{Refusal, program};

#[test]
fn the_kernel_takes_a_program_of_that_length() {
    let program = program(&table(1), NEWEST, Refusal::Error).unwrap();
    // BPF_MAXINSNS; a fraction of it, as each step may be run with each call.
    assert!(program.len() < 1024, "{} steps", program.len());
}

#[test]
fn no_call_is_listed_twice_or_unknown() {
    let lists = FREE.iter().copied().flatten().chain(OLDER).chain(ABSENT).copied();
    let all: Vec<c_long> = lists.chain(checked(1).into_iter().map(|(call, _)| call)).collect();
    assert_eq!(table(1).len(), all.len());
    assert!(all.iter().all(|call| (0..=c_long::from(NEWEST)).contains(call)));
}
