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
    let mut present: Vec<UtcTime> = present
        .into_iter()
        .filter(|&end| period.day_of(end).month() == month)
        .collect();
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
