//! A filter of system calls (seccomp(2)) from a table: what each call may be given, and the error for everything else. A
//! search by halves finds the call in some seven comparisons; where the kernel can prove that a call is allowed whatever
//! its arguments (since Linux 5.11) it does not even run the program for it.

use std::collections::BTreeMap;
use std::io;

/// One instruction of classic BPF.
type Instruction = libc::sock_filter;

/// What an argument must be. The kernel takes flags, options and numbers from the low word and ignores the high one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// One of these, not counting the bits in `ignoring`.
    Among { argument: u8, ignoring: u32, values: Vec<u32> },
    /// Every one of these bits is set.
    With { argument: u8, bits: u32 },
    /// None of these bits is set.
    Without { argument: u8, bits: u32 },
    /// A null pointer: both words are zero.
    Null { argument: u8 },
    /// The second and third argument (counted from 1) are one of these pairs: level and option of a socket.
    Option { values: Vec<(u32, u32)> },
}

/// The answer to a call that is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is made if all of this holds.
    Allow(Vec<Check>),
    /// ENOSYS, as on a kernel without it: whoever makes it knows another way.
    Absent,
}

/// What the filter does with a call that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It fails: EPERM for calls that were known when the table was made, ENOSYS for later ones.
    Error,
    /// SIGSYS ends the process, after it has said which call it was.
    #[cfg(debug_assertions)]
    Trap,
}

/// The table: an answer for each number.
pub(super) type Table = BTreeMap<u32, Answer>;

/// The value for `seccomp_data.arch` of this machine (linux/audit.h): its ELF number, 64 bits, little endian.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_0000 | libc::EM_X86_64 as u32)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_0000 | libc::EM_AARCH64 as u32)
} else {
    None
};

/// Where things are in seccomp_data(2): the number, the architecture, and from 16 on the arguments, low word first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn low(argument: u8) -> u32 {
    16 + 8 * argument as u32
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The program for a table. Numbers above `newest` are of calls that nobody knew when it was made, or of another
/// interface (x32 has bit 30 set).
///
/// # Errors
/// `Unsupported` on a machine whose numbers the table does not hold.
pub(super) fn program(table: &Table, newest: u32, refusal: Refusal) -> io::Result<Vec<Instruction>> {
    let architecture = ARCHITECTURE.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    let (refused, unknown) = match refusal {
        Refusal::Error => (libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, ABSENT),
        #[cfg(debug_assertions)]
        Refusal::Trap => (libc::SECCOMP_RET_TRAP, libc::SECCOMP_RET_TRAP),
    };
    let calls: Vec<(u32, &Answer)> = table.iter().map(|(number, answer)| (*number, answer)).collect();
    let mut instructions = vec![
        load(ARCH),
        jump(libc::BPF_JEQ, architecture, 1, 0),
        // Another processor's calls (int 0x80 on x86-64) have other numbers.
        give(unknown),
        load(NUMBER),
        jump(libc::BPF_JGT, newest, 0, 1),
        give(unknown),
    ];
    instructions.extend(search(&calls, refused));
    Ok(instructions)
}

/// With the number loaded: finds its answer. Every way through ends in one.
fn search(calls: &[(u32, &Answer)], refused: u32) -> Vec<Instruction> {
    let (smaller, others) = calls.split_at(calls.len() / 2);
    match (smaller, others) {
        ([], []) => vec![give(refused)],
        ([], [(number, answer), ..]) => {
            let mut instructions = vec![jump(libc::BPF_JEQ, *number, 1, 0), give(refused)];
            match answer {
                Answer::Absent => instructions.push(give(ABSENT)),
                Answer::Allow(checks) => {
                    instructions.extend(checks.iter().flat_map(|check| require(check, refused)));
                    instructions.push(give(ALLOW));
                }
            }
            instructions
        }
        (_, others) => {
            let middle = others.first().map_or(u32::MAX, |(number, _)| *number);
            let below = search(smaller, refused);
            let mut instructions = match u8::try_from(below.len()) {
                Ok(over) => vec![jump(libc::BPF_JGE, middle, over, 0)],
                // A condition jumps over 255 at most.
                Err(_) => vec![jump(libc::BPF_JGE, middle, 0, 1), skip(below.len())],
            };
            instructions.extend(below);
            instructions.extend(search(others, refused));
            instructions
        }
    }
}

/// Goes on behind it if the check holds, else gives the answer `refused`.
fn require(check: &Check, refused: u32) -> Vec<Instruction> {
    let mut instructions = match check {
        Check::Among { argument, ignoring, values } => {
            let mut instructions = vec![load(low(*argument)), mask(!ignoring)];
            for (left, value) in (0..values.len()).rev().zip(values) {
                // Over the values that are left and the refusal.
                instructions.extend([jump(libc::BPF_JEQ, *value, 0, 1), skip(2 * left + 1)]);
            }
            instructions
        }
        Check::With { argument, bits } => {
            vec![load(low(*argument)), mask(*bits), jump(libc::BPF_JEQ, *bits, 1, 0)]
        }
        Check::Without { argument, bits } => {
            vec![load(low(*argument)), mask(*bits), jump(libc::BPF_JEQ, 0, 1, 0)]
        }
        Check::Null { argument } => vec![
            load(low(*argument)),
            jump(libc::BPF_JEQ, 0, 0, 2),
            load(low(*argument) + 4),
            jump(libc::BPF_JEQ, 0, 1, 0),
        ],
        Check::Option { values } => {
            let mut instructions = Vec::new();
            for (left, (level, option)) in (0..values.len()).rev().zip(values) {
                instructions.extend([
                    load(low(1)),
                    jump(libc::BPF_JEQ, *level, 0, 3),
                    load(low(2)),
                    jump(libc::BPF_JEQ, *option, 0, 1),
                    skip(5 * left + 1),
                ]);
            }
            instructions
        }
    };
    instructions.push(give(refused));
    instructions
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
    // The codes of classic BPF have 16 bits.
    Instruction { code: code as u16, jt, jf, k }
}

fn load(offset: u32) -> Instruction {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn mask(bits: u32) -> Instruction {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, bits)
}

/// Leaves out `yes` or `no` instructions.
fn jump(condition: u32, value: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, yes, no, value)
}

/// Leaves out any number of instructions.
fn skip(instructions: usize) -> Instruction {
    // The kernel takes 4096 at most.
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, u32::try_from(instructions).unwrap_or(u32::MAX))
}

fn give(answer: u32) -> Instruction {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer)
}

/// Puts a program into force, for good, for this thread and those it makes.
///
/// # Errors
/// EINVAL without seccomp in the kernel, EACCES without `no_new_privs`.
pub(super) fn install(program: &mut [Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program is `len` living instructions, which the kernel copies after it has checked them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
