//! The intervals a month should have and has not.

use core::fmt;

use gridloom_core::{Month, Period, UtcTime};

/// When a meter measured for its customer: `from` included, `until` excluded.
///
/// An interval belongs to it when it lies wholly inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceSpan {
    from: UtcTime,
    until: Option<UtcTime>,
}

impl ServiceSpan {
    /// A meter put into service at `from` and still there.
    pub const fn since(from: UtcTime) -> Self {
        Self { from, until: None }
    }

    /// A meter in service from `from` until `until`; `None` if that is not after `from`.
    pub fn between(from: UtcTime, until: UtcTime) -> Option<Self> {
        (until > from).then_some(Self {
            from,
            until: Some(until),
        })
    }

    /// When service began.
    pub const fn from(&self) -> UtcTime {
        self.from
    }

    /// When service ended, if it has.
    pub const fn until(&self) -> Option<UtcTime> {
        self.until
    }

    /// The same beginning with another end; `None` if that is not after the beginning.
    pub fn ending(&self, until: Option<UtcTime>) -> Option<Self> {
        match until {
            Some(until) => Self::between(self.from, until),
            None => Some(Self::since(self.from)),
        }
    }

    /// How many intervals of `month` lie wholly inside.
    pub fn intervals_in(&self, month: Month, period: Period) -> u32 {
        let month_start = month.first_day().start();
        let month_end = month.next().first_day().start();
        let first_start = period.end_of_interval_at(self.from).max(month_start);
        let until = self.until.map_or(month_end, |until| until.min(month_end));
        let covered = until.since(first_start).as_secs() / u64::from(period.as_secs());
        u32::try_from(covered).expect("a month of seconds fits u32")
    }

    /// Whether the interval ending at `end` lies wholly inside.
    pub fn covers(&self, end: UtcTime, period: Period) -> bool {
        end - period.duration() >= self.from && self.until.is_none_or(|until| end <= until)
    }
}

impl fmt::Display for ServiceSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(f, "{} to {until}", self.from),
            None => write!(f, "since {}", self.from),
        }
    }
}

/// A stretch of missing intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The start of the first missing interval.
    pub from: UtcTime,
    /// The end of the last missing interval.
    pub to: UtcTime,
    /// How many intervals are missing.
    pub intervals: u32,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.intervals == 1 { "" } else { "s" };
        write!(
            f,
            "{} to {}, {} interval{plural}",
            self.from, self.to, self.intervals
        )
    }
}

/// The gaps of `month`, in order, with adjacent missing intervals merged.
///
/// `present` gives the ends of the intervals there are, in any order; ends outside the month,
/// outside service or off the grid fill nothing. Bounded by the month: at most every second
/// interval starts a gap.
pub fn gaps(
    month: Month,
    period: Period,
    in_service: ServiceSpan,
    present: impl IntoIterator<Item = UtcTime>,
) -> Vec<Gap> {
    let begin = month.first_day().start();
    let mut present: Vec<UtcTime> = present.into_iter().filter(|&end| end > begin).collect();
    present.sort_unstable();
    let mut present = present.into_iter().peekable();
    let mut found: Vec<Gap> = Vec::new();
    for end in ends_of(month, period) {
        while present.next_if(|&there| there < end).is_some() {}
        if present.peek() == Some(&end) || !in_service.covers(end, period) {
            continue;
        }
        let from = end - period.duration();
        match found.last_mut() {
            Some(gap) if gap.to == from => {
                gap.to = end;
                gap.intervals += 1;
            }
            _ => found.push(Gap {
                from,
                to: end,
                intervals: 1,
            }),
        }
    }
    found
}

fn ends_of(month: Month, period: Period) -> impl Iterator<Item = UtcTime> {
    month.days().flat_map(move |day| {
        (1..=period.per_day()).map(move |nth| day.start() + period.duration() * nth)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn january() -> Month {
        Month::new(2013, 1).unwrap()
    }

    #[test]
    fn gaps_are_named_and_merged() {
        let period = Period::HALF_HOUR;
        let whole = ServiceSpan::since(at("2012-06-01T00:00:00Z"));
        let short = ServiceSpan::between(at("2013-01-30T10:10:00Z"), at("2013-01-30T12:00:00Z"));
        let all: Vec<UtcTime> = ends_of(january(), period).collect();
        assert_eq!(all.len(), 31 * 48);
        let without = |missing: &[&str]| -> Vec<UtcTime> {
            let missing: Vec<UtcTime> = missing.iter().map(|text| at(text)).collect();
            all.iter()
                .copied()
                .filter(|end| !missing.contains(end))
                .collect()
        };
        let cases: [(&str, ServiceSpan, Vec<UtcTime>, &[&str]); 6] = [
            ("nothing missing", whole, all.clone(), &[]),
            (
                "first, last, a pair and one",
                whole,
                without(&[
                    "2013-01-01T00:30:00Z",
                    "2013-01-10T23:30:00Z",
                    "2013-01-11T00:00:00Z",
                    "2013-01-12T12:00:00Z",
                    "2013-02-01T00:00:00Z",
                ]),
                &[
                    "2013-01-01T00:00:00Z to 2013-01-01T00:30:00Z, 1 interval",
                    "2013-01-10T23:00:00Z to 2013-01-11T00:00:00Z, 2 intervals",
                    "2013-01-12T11:30:00Z to 2013-01-12T12:00:00Z, 1 interval",
                    "2013-01-31T23:30:00Z to 2013-02-01T00:00:00Z, 1 interval",
                ],
            ),
            (
                "nothing there",
                whole,
                vec![],
                &["2013-01-01T00:00:00Z to 2013-02-01T00:00:00Z, 1488 intervals"],
            ),
            (
                "only whole intervals in service are due",
                short.unwrap(),
                vec![],
                &["2013-01-30T10:30:00Z to 2013-01-30T12:00:00Z, 3 intervals"],
            ),
            (
                "other months, repeats and ends off the grid fill nothing",
                short.unwrap(),
                vec![
                    at("2013-01-30T11:30:00Z"),
                    at("2013-01-30T11:30:00Z"),
                    at("2013-01-30T10:50:00Z"),
                    at("2013-02-28T11:00:00Z"),
                ],
                &[
                    "2013-01-30T10:30:00Z to 2013-01-30T11:00:00Z, 1 interval",
                    "2013-01-30T11:30:00Z to 2013-01-30T12:00:00Z, 1 interval",
                ],
            ),
            (
                "not yet in service",
                ServiceSpan::since(at("2013-02-01T00:00:00Z")),
                vec![],
                &[],
            ),
        ];
        for (name, span, mut present, expected) in cases {
            present.reverse();
            let found: Vec<String> = gaps(january(), period, span, present)
                .iter()
                .map(Gap::to_string)
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_span_ends_after_it_begins() {
        let noon = at("2013-01-30T12:00:00Z");
        assert_eq!(ServiceSpan::between(noon, noon), None);
        assert_eq!(
            ServiceSpan::since(noon).to_string(),
            "since 2013-01-30T12:00:00Z"
        );
    }
}
