use super::*;
use crate::sys::sandbox::filter::{Refusal, program};

#[test]
fn the_kernel_takes_a_program_of_that_length() {
    let program = program(&table(1), NEWEST, Refusal::Error).unwrap();
    // BPF_MAXINSNS; a fraction of it, as each step may be run with each call.
    assert!(program.len() < 1024, "{} steps", program.len());
}

#[test]
fn the_helper_may_what_a_worker_may_and_a_resolver_does() {
    let (worker, helper) = (table(1), helper::table(1));
    assert!(worker.keys().all(|call| helper.contains_key(call)) && helper.len() > worker.len());
    assert!(program(&helper, NEWEST, Refusal::Error).unwrap().len() < 1024);
    for call in
        [libc::SYS_listen, libc::SYS_execve, libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_unshare]
    {
        assert!(!helper.contains_key(&u32::try_from(call).unwrap()), "{call}");
    }
}

#[test]
fn no_call_is_listed_twice_or_unknown() {
    let lists = FREE.iter().copied().flatten().chain(OLDER).chain(ABSENT).copied();
    let all: Vec<c_long> = lists.chain(checked(1).into_iter().map(|(call, _)| call)).collect();
    assert_eq!(table(1).len(), all.len());
    assert!(all.iter().all(|call| (0..=c_long::from(NEWEST)).contains(call)));
}
