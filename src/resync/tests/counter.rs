//! Event tokens.

use super::*;

/// RFC 4226 appendix D: counters 0 to 9 of the standard seed.
fn codes(counters: std::ops::RangeInclusive<u64>) -> Vec<Code> {
    let generator = standard_generator();
    counters.map(|counter| generator.code(counter)).collect()
}

fn accepted(counter: u64) -> CounterVerdict {
    CounterVerdict::Accepted {
        counter,
        next_counter: counter + 1,
    }
}

#[test]
fn look_ahead() {
    let generator = standard_generator();
    let judge = |next, code: &str| accept_counter(&generator, next, &Code::parse(code).unwrap(), 10);
    assert_eq!(judge(0, "755224"), accepted(0));
    assert_eq!(judge(0, "520489"), accepted(9));
    assert_eq!(judge(3, "969429"), accepted(3));
    assert_eq!(judge(4, "969429"), CounterVerdict::Rejected, "used");
    let tenth = standard_generator().code(10);
    assert_eq!(
        accept_counter(&generator, 0, &tenth, 10),
        CounterVerdict::Rejected,
        "one beyond"
    );
    assert_eq!(accept_counter(&generator, 1, &tenth, 10), accepted(10));
}

#[test]
fn consecutive_codes_resync() {
    let generator = standard_generator();
    assert_eq!(search_counters(&generator, 0, &codes(57..=58), 100), accepted(58));
    assert_eq!(search_counters(&generator, 0, &codes(99..=100), 100), accepted(100));
    assert_eq!(search_counters(&generator, 0, &codes(57..=59), 100), accepted(59));
    assert_eq!(
        search_counters(&generator, 0, &codes(100..=101), 100),
        CounterVerdict::Rejected,
        "beyond"
    );
    assert_eq!(
        search_counters(&generator, 58, &codes(57..=58), 100),
        CounterVerdict::Rejected,
        "the first is used"
    );
    let [a, _, c] = &codes(57..=59)[..] else { panic!() };
    assert_eq!(
        search_counters(&generator, 0, &[a.clone(), c.clone()], 100),
        CounterVerdict::Rejected,
        "one left out"
    );
    assert_eq!(
        search_counters(&generator, 0, &[c.clone(), a.clone()], 100),
        CounterVerdict::Rejected,
        "reversed"
    );
    for count in [57..=57, 57..=61] {
        assert_eq!(
            search_counters(&generator, 0, &codes(count), 100),
            CounterVerdict::Rejected
        );
    }
}

/// For every number of presses that nobody sent, as far as two codes and three codes are looked for.
#[test]
fn after_a_resync_the_next_code_passes_and_every_earlier_one_fails_for_every_gap() {
    let generator = standard_generator();
    let all = codes(0..=1_003);
    for (count, look_ahead) in [(2, RESYNC_LOOK_AHEAD), (3, MAX_LOOK_AHEAD)] {
        for gap in 0..look_ahead as usize {
            let last = gap + count - 1;
            let verdict = search_counters(&generator, 0, &all[gap..=last], look_ahead);
            let CounterVerdict::Accepted { next_counter, .. } = verdict else {
                panic!("{count} codes after {gap} presses");
            };
            assert_eq!(next_counter, last as u64 + 1);
            for earlier in all[..=last].iter().rev().take(40).chain(&all[..=last.min(9)]) {
                assert_eq!(
                    accept_counter(&generator, next_counter, earlier, 10),
                    CounterVerdict::Rejected,
                    "after {gap} presses"
                );
            }
            assert_eq!(
                accept_counter(&generator, next_counter, &all[last + 1], 10),
                accepted(next_counter)
            );
        }
    }
}

#[test]
fn the_work_does_not_depend_on_the_codes() {
    let work = |codes: &[Code]| {
        let generator = standard_generator();
        let _ = search_counters(&generator, 20, codes, 100);
        generator.computed()
    };
    for given in [
        codes(20..=21),
        codes(119..=120),
        codes(0..=1),
        vec![wrong_code(), wrong_code()],
    ] {
        assert_eq!(work(&given), 101);
    }
}

#[test]
fn a_code_of_two_counters_is_refused() {
    let (first, second) = TWINS;
    let code = standard_generator().code(first);
    assert_eq!(
        accept_counter(&standard_generator(), first, &code, 10),
        CounterVerdict::Rejected
    );
    assert_eq!(
        accept_counter(&standard_generator(), first + 1, &code, 10),
        accepted(second)
    );
}

#[test]
fn the_end_of_counting() {
    let generator = standard_generator();
    assert_eq!(
        accept_counter(&generator, u64::MAX, &wrong_code(), 10),
        CounterVerdict::Rejected
    );
    let last = generator.code(u64::MAX - 1);
    assert_eq!(
        accept_counter(&generator, u64::MAX - 1, &last, 1),
        accepted(u64::MAX - 1)
    );
    let _ = accept_counter(&generator, 0, &wrong_code(), u32::MAX);
    assert!(generator.computed() <= 1_003, "the look-ahead is capped");
}
