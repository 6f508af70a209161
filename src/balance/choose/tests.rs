use super::*;

fn up(weight: u32) -> Seen {
    Seen {
        id: u64::from(weight),
        weight,
        backup: false,
        standing: Standing::Up,
        load: 0,
        full: false,
        ramp: WHOLE,
    }
}

fn is(standing: Standing) -> Seen {
    Seen { standing, ..up(1) }
}

fn backup() -> Seen {
    Seen { backup: true, ..up(1) }
}

const ASK: Ask<'static> = Ask { tried: &[], hash: None, session: None, may_repeat: true, random: 0 };

fn picks(chooser: &mut Chooser, servers: &[Seen], count: usize) -> Vec<usize> {
    let pick = |_| match chooser.pick(servers, &ASK) {
        Picked::Server(index) => index,
        other => panic!("{other:?}"),
    };
    (0..count).map(pick).collect()
}

fn round_robin(servers: &[Seen]) -> Chooser {
    Chooser::new(Method::RoundRobin, servers.len())
}

#[test]
fn equal_weights_take_turns_and_others_their_shares_spread_smoothly() {
    let equal = [up(1), up(1), up(1)];
    assert_eq!(picks(&mut round_robin(&equal), &equal, 7), [0, 1, 2, 0, 1, 2, 0]);
    // nginx's example: never five times a in a row.
    let weighted = [up(5), up(1), up(1)];
    assert_eq!(picks(&mut round_robin(&weighted), &weighted, 7), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn who_starts_slowly_has_a_part_of_its_share() {
    let servers = [up(1), Seen { ramp: 10, ..up(1) }];
    let picks = picks(&mut round_robin(&servers), &servers, 110);
    assert_eq!(picks.iter().filter(|index| **index == 1).count(), 10);
}

#[test]
fn what_was_tried_is_not_picked_and_nobody_is_left() {
    let servers = [up(1), up(1)];
    let mut chooser = round_robin(&servers);
    for _ in 0..5 {
        assert_eq!(chooser.pick(&servers, &Ask { tried: &[0], ..ASK }), Picked::Server(1));
    }
    assert_eq!(chooser.pick(&servers, &Ask { tried: &[0, 1], ..ASK }), Picked::Nobody);
    assert_eq!(Chooser::new(Method::First, 0).pick(&[], &ASK), Picked::Nobody);
}

#[test]
fn backups_are_for_when_nobody_else_is_up() {
    let mut chooser = Chooser::new(Method::RoundRobin, 3);
    let pick = |chooser: &mut Chooser, servers: &[Seen], ask: &Ask<'_>| chooser.pick(servers, ask);
    assert_eq!(pick(&mut chooser, &[backup(), up(1), up(1)], &ASK), Picked::Server(1));
    let full = Seen { full: true, ..up(1) };
    assert_eq!(pick(&mut chooser, &[backup(), full, full], &ASK), Picked::Full(None), "it waits");
    assert_eq!(pick(&mut chooser, &[backup(), is(Standing::Down)], &ASK), Picked::Server(0));
    assert_eq!(pick(&mut chooser, &[backup(), up(1)], &Ask { tried: &[1], ..ASK }), Picked::Server(0));
}

#[test]
fn where_nobody_is_up_everybody_is_asked_but_who_was_taken_out() {
    let down = is(Standing::Down);
    let servers = [down, down, is(Standing::Disabled), is(Standing::Drained)];
    assert_eq!(picks(&mut round_robin(&servers), &servers, 4), [0, 1, 0, 1]);
    let mut chooser = round_robin(&servers);
    assert_eq!(chooser.pick(&servers, &Ask { tried: &[0, 1], ..ASK }), Picked::Nobody);
    assert_eq!(chooser.pick(&[is(Standing::Disabled)], &ASK), Picked::Nobody);
    // One that was tried is up as far as is known: no reason to ask those that are down.
    assert_eq!(chooser.pick(&[up(1), down], &Ask { tried: &[0], ..ASK }), Picked::Nobody);
}

#[test]
fn only_a_request_that_can_be_repeated_tries_who_may_be_back() {
    let servers = [is(Standing::MayBeTried), is(Standing::MayBeTried)];
    let mut chooser = round_robin(&servers);
    assert_eq!(chooser.pick(&servers, &ASK), Picked::Trial(0));
    let servers = [is(Standing::MayBeTried), up(1)];
    for _ in 0..4 {
        assert_eq!(chooser.pick(&servers, &Ask { may_repeat: false, ..ASK }), Picked::Server(1));
    }
}

#[test]
fn the_fewest_requests_for_its_weight_and_turns_among_equals() {
    let loaded = |load, weight| Seen { load, ..up(weight) };
    let mut chooser = Chooser::new(Method::LeastConnections, 3);
    assert_eq!(picks(&mut chooser, &[loaded(3, 1), loaded(2, 1), loaded(9, 1)], 2), [1, 1]);
    assert_eq!(picks(&mut chooser, &[loaded(3, 1), loaded(6, 2), loaded(6, 3)], 2), [2, 2]);
    let equal = [loaded(4, 1), loaded(4, 1), loaded(5, 1)];
    let mut chooser = Chooser::new(Method::LeastConnections, 3);
    assert_eq!(picks(&mut chooser, &equal, 4), [0, 1, 0, 1]);
    let starting = [loaded(9, 1), Seen { ramp: 1, ..loaded(0, 1) }];
    assert_eq!(picks(&mut chooser, &starting, 1), [0], "one that starts has a small share");
}

#[test]
fn of_two_drawn_the_lighter_one() {
    let loads = [5, 1, 9];
    let servers: Vec<Seen> = loads.iter().map(|load| Seen { load: *load, ..up(1) }).collect();
    let mut chooser = Chooser::new(Method::RandomTwo, 3);
    let mut counts = [0; 3];
    let mut random = 1_u64;
    for _ in 0..3_000 {
        random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
        let Picked::Server(index) = chooser.pick(&servers, &Ask { random, ..ASK }) else { panic!() };
        counts[index] += 1;
    }
    assert_eq!(counts[2], 0, "the heaviest loses against both");
    assert!((1_850..2_150).contains(&counts[1]), "{counts:?}");
    for random in [0, u64::MAX] {
        assert_eq!(chooser.pick(&[up(1)], &Ask { random, ..ASK }), Picked::Server(0));
    }
}

#[test]
fn the_first_with_room() {
    let mut chooser = Chooser::new(Method::First, 3);
    let servers = [Seen { full: true, ..up(1) }, up(1), up(1)];
    assert_eq!(picks(&mut chooser, &servers, 3), [1, 1, 1]);
}

#[test]
fn a_hash_keeps_its_server_and_moves_on_where_that_is_full() {
    let mut chooser = Chooser::new(Method::Hash, 3);
    let ask = Ask { hash: Some(hash::of(b"192.0.2.7")), ..ASK };
    let mut servers = [1, 2, 3].map(|id| Seen { id, ..up(1) });
    let Picked::Server(home) = chooser.pick(&servers, &ask) else { panic!() };
    assert_eq!(chooser.pick(&servers, &ask), Picked::Server(home));
    servers[home].full = true;
    let Picked::Server(next) = chooser.pick(&servers, &ask) else { panic!() };
    assert_ne!(next, home);
    assert_eq!(picks(&mut chooser, &[up(1), up(1)], 4), [0, 1, 0, 1], "without a key by turns");
}

#[test]
fn a_session_stays_and_waits_and_outlives_a_drain_but_no_failure() {
    let mut chooser = Chooser::new(Method::First, 2);
    let ask = Ask { session: Some(1), ..ASK };
    let mut pick = |second: Seen, ask: &Ask<'_>| chooser.pick(&[up(1), second], ask);
    assert_eq!(pick(up(1), &ask), Picked::Server(1));
    assert_eq!(pick(is(Standing::Drained), &ask), Picked::Server(1));
    assert_eq!(pick(Seen { full: true, ..up(1) }, &ask), Picked::Full(Some(1)));
    assert_eq!(pick(is(Standing::MayBeTried), &ask), Picked::Trial(1));
    assert_eq!(pick(is(Standing::Down), &ask), Picked::Server(0));
    assert_eq!(pick(is(Standing::Disabled), &ask), Picked::Server(0));
    assert_eq!(pick(up(1), &Ask { tried: &[1], ..ask }), Picked::Server(0));
    assert_eq!(pick(up(1), &Ask { session: Some(7), ..ASK }), Picked::Server(0), "of another configuration");
}

#[test]
fn who_returns_does_not_take_what_it_has_missed() {
    let servers = [up(1), up(1)];
    let mut chooser = round_robin(&servers);
    picks(&mut chooser, &servers, 7);
    chooser.forget(0);
    picks(&mut chooser, &[is(Standing::Down), up(1)], 1_000);
    let after = picks(&mut chooser, &servers, 10);
    assert_eq!(after.iter().filter(|index| **index == 0).count(), 5, "{after:?}");
}
