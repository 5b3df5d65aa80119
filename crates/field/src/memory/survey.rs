//! The cells of the periods that clients have set: what runs, and the rows by day.
//!
//! The cell of a row sorts before the one of the running interval, and cells are written in that
//! order: after a crash between the two, the row says what the other does not.

use gridloom_core::{Period, UtcTime};

use super::state::{entry, profile_cell, put_entry};
use super::{MemoryError, Writer, open};
use crate::profile::Entry;
use crate::survey::Survey;

/// What runs.
pub(crate) const SURVEY_CELL: &str = "survey-run";

const DAYS: usize = 40;

static NAMES: [[u8; 9]; DAYS] = {
    let mut names = [*b"survey-00"; DAYS];
    let digits = *b"0123456789";
    let mut number = 0;
    while number < DAYS {
        names[number][7] = digits[number / 10];
        names[number][8] = digits[number % 10];
        number += 1;
    }
    names
};

/// Every row whose day's number modulo the number of cells is the cell's place.
pub(crate) static SURVEY_CELLS: [&str; DAYS] = {
    let mut cells = [""; DAYS];
    let mut number = 0;
    while number < DAYS {
        cells[number] = match core::str::from_utf8(&NAMES[number]) {
            Ok(name) => name,
            Err(_) => panic!("a cell's name is ASCII"),
        };
        number += 1;
    }
    cells
};

const SURVEY_KIND: u8 = 10;
const ROWS_KIND: u8 = 11;
const VERSION: u8 = 1;

/// The cell of what runs.
pub(crate) fn encode_survey(survey: &Survey) -> Vec<u8> {
    let mut writer = Writer::new(SURVEY_KIND, VERSION, 256);
    writer.extend(|out| survey.encode(out));
    writer.finish()
}

/// What [`encode_survey`] wrote.
pub(crate) fn decode_survey(bytes: &[u8], days: u16) -> Result<Survey, MemoryError> {
    let cell = open(SURVEY_CELL, SURVEY_KIND, VERSION, bytes)?;
    Ok(Survey::decode(cell.rest(), days)?)
}

/// The cell of the rows at `place`.
pub(crate) fn encode_rows(survey: &Survey, place: usize) -> Vec<u8> {
    let mut writer = Writer::new(ROWS_KIND, VERSION, 1_024);
    let Some(profile) = survey.block() else {
        // The period was set back before the cell was written.
        writer.put(Period::HOUR.as_secs().to_be_bytes());
        writer.count(0);
        return writer.finish();
    };
    let period = profile.period();
    let rows: Vec<&Entry> = profile
        .iter()
        .filter(|row| profile_cell(period, row.end) == place)
        .collect();
    writer.put(period.as_secs().to_be_bytes());
    writer.count(rows.len());
    for row in rows {
        put_entry(&mut writer, row);
    }
    writer.finish()
}

/// The rows of the cell at `place`, with their period.
pub(crate) fn decode_rows(place: usize, bytes: &[u8]) -> Result<Vec<(Period, Entry)>, MemoryError> {
    let mut cell = open(SURVEY_CELLS[place], ROWS_KIND, VERSION, bytes)?;
    let period = Period::from_secs(cell.u32()?).filter(|period| period.as_secs() >= 60);
    let period = period.ok_or_else(|| cell.impossible("period"))?;
    let count = cell.count()?;
    let mut rows: Vec<(Period, Entry)> = Vec::new();
    for _ in 0..count {
        let row = entry(&mut cell, period)?;
        let last = rows.last().map(|(_, last)| last.end);
        cell.require(
            profile_cell(period, row.end) == place && last.is_none_or(|last| last < row.end),
            "row's end",
        )?;
        rows.push((period, row));
    }
    cell.finish()?;
    Ok(rows)
}

/// Whether a cell is one of these.
pub(crate) fn is_survey_cell(name: &str) -> bool {
    name == SURVEY_CELL || SURVEY_CELLS.contains(&name)
}

/// The cell of the row that ends at `end`.
pub(crate) fn rows_cell(period: Period, end: UtcTime) -> &'static str {
    SURVEY_CELLS[profile_cell(period, end)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_before_what_runs() {
        assert_eq!(SURVEY_CELLS[0], "survey-00");
        assert_eq!(SURVEY_CELLS[39], "survey-39");
        assert!(SURVEY_CELLS.is_sorted());
        assert!(SURVEY_CELLS.iter().all(|name| *name < SURVEY_CELL));
    }
}
