//! Named cases, and random answers against a plain set of missing intervals.

use std::collections::BTreeSet;

use super::*;
use gridloom_core::seed::Rng;
use rand_core::{Rng as _, SeedableRng as _};

const HOUR: Duration = Duration::from_secs(3_600);

fn at(hours: i64) -> UtcTime {
    UtcTime::from_secs(hours * 3_600)
}

fn series(meter: u32) -> Series {
    Series {
        meter: MeterId(meter),
        period: Period::HOUR,
    }
}

fn backfill(reads_max: usize) -> Backfill {
    Backfill::new(BackfillConfig {
        intervals_max: 4,
        reads_max,
        wait_first: HOUR,
        wait_max: HOUR * 5,
    })
}

fn drain(backfill: &mut Backfill) -> Vec<Output> {
    std::iter::from_fn(|| backfill.poll_output()).collect()
}

fn span(from: i64, to: i64) -> Span {
    Span {
        from: at(from),
        to: at(to),
    }
}

fn gap(backfill: &mut Backfill, meter: u32, from: i64, to: i64, order: Order) {
    backfill
        .handle_gap(series(meter), at(from), at(to), order, at(1_000))
        .unwrap();
}

/// The only output, which must be a read.
fn read(backfill: &mut Backfill) -> (ReadId, Span) {
    match drain(backfill)[..] {
        [Output::Read { id, span, .. }] => (id, span),
        ref outputs => panic!("one read was expected, not {outputs:?}"),
    }
}

fn rows(ends: impl IntoIterator<Item = i64>, oldest_held: Option<i64>) -> Answer {
    Answer::Rows {
        ends: ends.into_iter().map(at).collect(),
        oldest_held: oldest_held.map(at),
    }
}

#[test]
fn a_gap_is_read_in_bounded_pieces_from_the_end_that_matters() {
    let cases = [
        (Order::NewestFirst, [(6, 10), (2, 6), (0, 2)]),
        (Order::OldestFirst, [(0, 4), (4, 8), (8, 10)]),
    ];
    for (order, pieces) in cases {
        let mut backfill = backfill(1);
        gap(&mut backfill, 1, 0, 10, order);
        for (from, to) in pieces {
            let (id, asked) = read(&mut backfill);
            assert_eq!(asked, span(from, to));
            backfill.handle_answer(id, rows(from + 1..=to, Some(-9)), at(1_000));
        }
        assert_eq!(drain(&mut backfill), []);
        assert!(backfill.is_empty(), "{order:?}");
    }
}

#[test]
fn gaps_join_and_so_many_meters_are_read_at_once() {
    let mut backfill = backfill(2);
    gap(&mut backfill, 1, 0, 2, Order::OldestFirst);
    let (first, _) = read(&mut backfill);
    gap(&mut backfill, 1, 6, 8, Order::OldestFirst);
    gap(&mut backfill, 1, 1, 4, Order::OldestFirst);
    gap(&mut backfill, 1, 4, 6, Order::OldestFirst);
    assert_eq!(drain(&mut backfill), [], "one read of a meter at a time");
    assert_eq!(backfill.open(series(1)).collect::<Vec<_>>(), [span(0, 8)]);
    gap(&mut backfill, 2, 0, 1, Order::OldestFirst);
    let (second, _) = read(&mut backfill);
    gap(&mut backfill, 3, 0, 1, Order::OldestFirst);
    assert_eq!(drain(&mut backfill), [], "two at once");
    backfill.handle_answer(second, rows([1], None), at(1_000));
    let (third, asked) = read(&mut backfill);
    assert_eq!(asked, span(0, 1));
    backfill.handle_interval(series(3), at(1));
    backfill.handle_answer(third, Answer::Failed, at(1_000));
    assert_eq!(drain(&mut backfill), [], "it came by push meanwhile");
    backfill.handle_answer(first, rows([1, 2], None), at(1_000));
    assert_eq!(read(&mut backfill).1, span(2, 6));
    assert_eq!(backfill.len(), 1);
}

#[test]
fn what_the_meter_overwrote_is_final() {
    let mut backfill = backfill(1);
    gap(&mut backfill, 1, 0, 3, Order::OldestFirst);
    let (id, _) = read(&mut backfill);
    backfill.handle_answer(id, rows([3], Some(3)), at(1_000));
    assert_eq!(
        drain(&mut backfill),
        [Output::Final {
            series: series(1),
            span: span(0, 2),
            reason: FinalReason::Overwritten { oldest_held: at(3) },
        }]
    );
    assert!(backfill.is_empty());
}

#[test]
fn an_empty_answer_is_believed_the_third_time() {
    let mut backfill = backfill(1);
    gap(&mut backfill, 1, 0, 2, Order::OldestFirst);
    for (wait, now) in [(1, 1_000), (2, 1_001)] {
        let (id, _) = read(&mut backfill);
        backfill.handle_answer(id, rows([], None), at(now));
        assert_eq!(drain(&mut backfill), []);
        assert_eq!(backfill.wake().utc, Some((at(now + wait), "backfill")));
        backfill.handle_meter_back(series(1), at(now));
        assert_eq!(drain(&mut backfill), [], "it was not away");
        backfill.handle_timeout(at(now + wait));
    }
    let (id, _) = read(&mut backfill);
    backfill.handle_answer(id, rows([], None), at(1_003));
    assert_eq!(
        drain(&mut backfill),
        [Output::Final {
            series: series(1),
            span: span(0, 2),
            reason: FinalReason::NotRecorded { reads: 3 },
        }]
    );
    assert!(backfill.is_empty());
}

#[test]
fn a_meter_that_is_away_is_tried_for_ever() {
    let mut backfill = backfill(1);
    gap(&mut backfill, 1, 0, 2, Order::OldestFirst);
    let mut now = at(1_000);
    for wait in [1, 2, 4, 5, 5, 5] {
        let (id, _) = read(&mut backfill);
        backfill.handle_answer(id, Answer::Failed, now);
        assert_eq!(backfill.wake().utc, Some((now + HOUR * wait, "backfill")));
        now = now + HOUR * wait;
        backfill.handle_timeout(now);
    }
    let (id, _) = read(&mut backfill);
    backfill.handle_answer(id, Answer::Failed, now);
    backfill.handle_meter_back(series(1), now);
    let (id, _) = read(&mut backfill);
    backfill.handle_answer(id, rows([1, 2], None), now);
    assert!(backfill.is_empty());
}

#[test]
fn what_is_no_gap_is_refused() {
    let mut backfill = backfill(1);
    let mut refused = |from, to| {
        let order = Order::OldestFirst;
        backfill
            .handle_gap(series(1), from, to, order, at(9))
            .is_err()
    };
    assert!(refused(at(2), at(2)));
    assert!(refused(at(2), at(1)));
    assert!(refused(at(1) + Duration::from_secs(1), at(2)));
    for nth in 0..i64::try_from(Backfill::SPANS_MAX).unwrap() {
        let order = Order::OldestFirst;
        let (from, to) = (at(nth * 2), at(nth * 2 + 1));
        let _ = backfill.handle_gap(series(1), from, to, order, at(9));
        drain(&mut backfill);
    }
    let result = backfill.handle_gap(series(1), at(9_000), at(9_001), Order::OldestFirst, at(9));
    assert_eq!(result, Err(BackfillError::MeterFull { meter: MeterId(1) }));
    let joining = backfill.handle_gap(series(1), at(1), at(2), Order::OldestFirst, at(9));
    assert_eq!(joining, Ok(()), "one that joins others needs no room");
}

/// Whatever the meter answers, each missing interval ends as filled or final, exactly once.
#[test]
fn every_missing_interval_is_filled_or_final() {
    for seed in 0..200 {
        let mut rng = Rng::seed_from_u64(seed);
        let mut draw = |below: u64| i64::try_from(rng.next_u64() % below).unwrap();
        let mut backfill = backfill(2);
        let mut missing: BTreeSet<(u32, i64)> = BTreeSet::new();
        let mut reading: Vec<(ReadId, u32, Span)> = Vec::new();
        let mut now = at(1_000);
        for step in 0.. {
            let action = draw(if step < 40 { 4 } else { 3 });
            match action {
                3 => {
                    let (meter, from) = (u32::try_from(draw(3)).unwrap(), draw(60));
                    let to = from + 1 + draw(9);
                    let order = [Order::NewestFirst, Order::OldestFirst][draw(2) as usize];
                    gap(&mut backfill, meter, from, to, order);
                    missing.extend((from + 1..=to).map(|end| (meter, end)));
                }
                2 if step < 40 => {
                    let (meter, end) = (u32::try_from(draw(3)).unwrap(), draw(60));
                    backfill.handle_interval(series(meter), at(end));
                    missing.remove(&(meter, end));
                }
                1 | 2 if !reading.is_empty() => {
                    let nth = usize::try_from(draw(reading.len() as u64)).unwrap();
                    let (id, meter, asked) = reading.swap_remove(nth);
                    let answer = if draw(4) == 0 {
                        Answer::Failed
                    } else {
                        let hours = |time: UtcTime| time.as_secs() / 3_600;
                        let ends: Vec<i64> = (hours(asked.from) + 1..=hours(asked.to))
                            .filter(|_| draw(3) > 0)
                            .collect();
                        for end in &ends {
                            missing.remove(&(meter, *end));
                        }
                        rows(ends, (draw(8) == 0).then(|| draw(30)))
                    };
                    backfill.handle_answer(id, answer, now);
                }
                _ => {
                    now = now + HOUR;
                    backfill.handle_timeout(now);
                }
            }
            for output in drain(&mut backfill) {
                match output {
                    Output::Read { id, series, span } => {
                        assert!(span.intervals(series.period) <= 4);
                        assert!(reading.iter().all(|(_, meter, _)| *meter != series.meter.0));
                        reading.push((id, series.meter.0, span));
                        assert!(reading.len() <= 2);
                    }
                    Output::Final { series, span, .. } => {
                        let mut end = span.first_end(series.period);
                        while end <= span.to {
                            let key = (series.meter.0, end.as_secs() / 3_600);
                            assert!(missing.remove(&key), "final once, and only if missing");
                            end = end + HOUR;
                        }
                    }
                }
            }
            let open: BTreeSet<(u32, i64)> = (0..3)
                .flat_map(|meter| {
                    let spans: Vec<Span> = backfill.open(series(meter)).collect();
                    spans.into_iter().flat_map(move |span| {
                        let hours = |time: UtcTime| time.as_secs() / 3_600;
                        (hours(span.from) + 1..=hours(span.to)).map(move |end| (meter, end))
                    })
                })
                .collect();
            assert_eq!(open, missing, "seed {seed} step {step}");
            if step >= 40 && missing.is_empty() {
                break;
            }
            assert!(step < 5_000, "seed {seed}: it ends");
        }
    }
}
