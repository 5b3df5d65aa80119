//! Selective access to a buffer (class 7, attribute 2): which rows and columns a client wants.
//! The buffer knows its rows; what a selection means is said once, here.

use gridloom_dlms::apdu::{DataAccessResult, SelectiveAccess};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::selection::{CaptureObject, EntryDescriptor, RangeDescriptor};

/// A part of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selection {
    /// Columns by their place, in the order wanted.
    pub(crate) columns: Vec<usize>,
    pub(crate) rows: Rows,
}

/// Rows of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rows {
    All,
    /// Whose value in a column, by its place, lies between two values, both included.
    Between {
        column: usize,
        from: Data,
        to: Data,
    },
    /// By their numbers.
    Numbered(EntryDescriptor),
}

impl Selection {
    /// What `access` selects of a buffer with these columns.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::TypeUnmatched`] for an unreadable selection,
    /// [`DataAccessResult::ScopeOfAccessViolated`] for a selector or a column that the buffer
    /// does not have.
    pub(crate) fn read(
        access: Option<&SelectiveAccess>,
        columns: &[CaptureObject],
    ) -> Result<Self, DataAccessResult> {
        let all = || (0..columns.len()).collect();
        let Some(access) = access else {
            return Ok(Self {
                columns: all(),
                rows: Rows::All,
            });
        };
        match access.selector {
            RangeDescriptor::SELECTOR => {
                let range = RangeDescriptor::from_access(access)
                    .map_err(|_| DataAccessResult::TypeUnmatched)?;
                let place = |wanted: &CaptureObject| {
                    let place = columns.iter().position(|column| column == wanted);
                    place.ok_or(DataAccessResult::ScopeOfAccessViolated)
                };
                Ok(Self {
                    columns: if range.selected.is_empty() {
                        all()
                    } else {
                        let selected = range.selected.iter();
                        selected.map(place).collect::<Result<_, _>>()?
                    },
                    rows: Rows::Between {
                        column: place(&range.restricting)?,
                        from: range.from,
                        to: range.to,
                    },
                })
            }
            EntryDescriptor::SELECTOR => {
                let entries = EntryDescriptor::from_access(access)
                    .map_err(|_| DataAccessResult::TypeUnmatched)?;
                let selected: Vec<usize> = entries.column_range(columns.len()).collect();
                if selected.is_empty() {
                    return Err(DataAccessResult::ScopeOfAccessViolated);
                }
                Ok(Self {
                    columns: selected,
                    rows: Rows::Numbered(entries),
                })
            }
            _ => Err(DataAccessResult::ScopeOfAccessViolated),
        }
    }
}
