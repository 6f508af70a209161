use super::*;

/// What the kernel's interpreter makes of a program: the answer to a call.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCH => architecture,
        _ => {
            let argument = arguments[(offset as usize - 16) / 8];
            if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let over = |yes: bool| usize::from(if yes { jt } else { jf });
        match u32::from(code) {
            code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => accumulator = word(k),
            code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => accumulator &= k,
            code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => at += over(accumulator == k),
            code if code == libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K => at += over(accumulator > k),
            code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => at += over(accumulator >= k),
            code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
            code if code == libc::BPF_RET | libc::BPF_K => return k,
            code => panic!("{code:#x}"),
        }
    }
}

/// What the table says, without a program.
fn meant(table: &Table, number: u32, arguments: [u64; 6]) -> u32 {
    let low = |argument: u8| arguments[usize::from(argument)] as u32;
    let holds = |check: &Check| match check {
        Check::Among { argument, ignoring, values } => values.contains(&(low(*argument) & !ignoring)),
        Check::With { argument, bits } => low(*argument) & bits == *bits,
        Check::Without { argument, bits } => low(*argument) & bits == 0,
        Check::Null { argument } => arguments[usize::from(*argument)] == 0,
        Check::Option { values } => values.contains(&(low(1), low(2))),
    };
    match table.get(&number) {
        Some(Answer::Allow(checks)) if checks.iter().all(holds) => ALLOW,
        Some(Answer::Absent) => ABSENT,
        _ => REFUSED,
    }
}

const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

fn ours() -> u32 {
    ARCHITECTURE.unwrap()
}

fn compiled(table: &Table, newest: u32) -> Vec<Instruction> {
    program(table, newest, Refusal::Error).unwrap()
}

#[test]
fn every_number_gets_the_answer_of_the_table() {
    for count in 0..40 {
        let table: Table = (0..count).map(|index| (index * 3 + 1, Answer::Allow(Vec::new()))).collect();
        let program = compiled(&table, 150);
        for number in 0..=150 {
            let wanted = meant(&table, number, [0; 6]);
            assert_eq!(run(&program, ours(), number, [0; 6]), wanted, "{number} of {count}");
        }
        // Newer than the table, of the x32 interface, and none at all (-1).
        for number in [151, 1000, 0x4000_0000, 0x4000_0001, u32::MAX] {
            assert_eq!(run(&program, ours(), number, [0; 6]), ABSENT, "{number}");
        }
        // i386, by int 0x80.
        assert_eq!(run(&program, libc::EM_386 as u32 | 0x4000_0000, 1, [0; 6]), ABSENT);
    }
}

#[test]
fn arguments_are_checked_all_together() {
    let checks = vec![
        Check::Among { argument: 0, ignoring: 0x80, values: vec![1, 2, 10] },
        Check::With { argument: 3, bits: 0x11 },
        Check::Without { argument: 4, bits: 0x2000_0000 },
        Check::Null { argument: 5 },
        Check::Option { values: vec![(6, 1), (1, 13), (1, 83)] },
    ];
    let table = Table::from([(7, Answer::Allow(checks)), (9, Answer::Absent)]);
    let program = compiled(&table, 20);
    let answer = |arguments| {
        let answer = run(&program, ours(), 7, arguments);
        assert_eq!(answer, meant(&table, 7, arguments), "{arguments:x?}");
        answer == ALLOW
    };
    let good = [2, 1, 13, 0x13, 0, 0];
    assert!(answer(good));
    // The kernel ignores the high words of integers, and not those of pointers.
    assert!(answer([1 << 40 | 0x8a, 6, 1, 1 << 33 | 0x11, 1 << 61, 0]));
    let mut others = Vec::new();
    for (place, values) in [
        (0, &[0_u64, 3, 0x102, u64::MAX][..]),
        (1, &[0, 6, 2]),
        (2, &[1, 0, 84]),
        (3, &[0, 1, 0x10]),
        (4, &[0x2000_0000, u64::MAX]),
        (5, &[1, 1 << 32, u64::MAX]),
    ] {
        others.extend(values.iter().map(|value| {
            let mut arguments = good;
            arguments[place] = *value;
            arguments
        }));
    }
    for arguments in others {
        assert!(!answer(arguments), "{arguments:x?}");
    }
    assert_eq!(run(&program, ours(), 9, [0; 6]), ABSENT);
}

#[test]
fn a_long_list_of_values_and_many_calls_are_jumped_over_rightly() {
    let values: Vec<u32> = (0..300).map(|value| value * 2).collect();
    let check = Check::Among { argument: 1, ignoring: 0, values };
    let table: Table = (0..5).map(|number| (number, Answer::Allow(vec![check.clone()]))).collect();
    let program = compiled(&table, 10);
    for number in 0..6 {
        for value in 0..620 {
            let arguments = [0, value, 0, 0, 0, 0];
            assert_eq!(run(&program, ours(), number, arguments), meant(&table, number, arguments));
        }
    }
}
