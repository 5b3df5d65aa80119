//! Remembering: what goes into which cell.

use std::collections::BTreeSet;

use super::{Meter, Output};
use crate::access::RetainedSecurity;
use crate::keeper::Job;
use crate::memory::{
    Change, FEATURES_CELL, FITTINGS_CELL, IMAGE_CELL, LOGS_CELL, PRICES_CELL, PROFILE_CELLS,
    SECURITY_CELL, SEGMENT_CELLS, STATE_CELL, SUPERVISION_CELL, SURVEY_CELL, SURVEY_CELLS,
    SinceVersion2, State, encode_features, encode_fittings, encode_image, encode_logs,
    encode_prices, encode_profile, encode_rows, encode_security, encode_segment,
    encode_supervision, encode_survey, profile_cell,
};

impl Meter {
    pub(super) fn write(&mut self, job: Job) {
        match job {
            Job::Prices { ticket } => {
                let bytes = encode_prices(self.config.period, &self.told);
                self.remember(ticket, PRICES_CELL, bytes);
            }
            Job::Cell { ticket, name } => {
                let bytes = match name {
                    FEATURES_CELL => encode_features(&self.features),
                    LOGS_CELL => encode_logs(&self.logs),
                    FITTINGS_CELL => encode_fittings(&self.fittings),
                    SUPERVISION_CELL => encode_supervision(&self.supervision),
                    SECURITY_CELL => encode_security(&self.protection, self.link.security()),
                    IMAGE_CELL => encode_image(&self.upgrade),
                    SURVEY_CELL => encode_survey(&self.survey),
                    _ => {
                        let place = |cells: &[&str]| cells.iter().position(|cell| *cell == name);
                        match place(&SURVEY_CELLS) {
                            Some(place) => encode_rows(&self.survey, place),
                            None => {
                                let segment = place(&SEGMENT_CELLS);
                                let segment = segment.expect("there are no other cells");
                                encode_segment(&self.upgrade, segment)
                            }
                        }
                    }
                };
                self.remember(ticket, name, bytes);
            }
            Job::State { ticket } => {
                let bytes = self.state().encode();
                self.remember(ticket, STATE_CELL, bytes);
            }
            Job::Profile { ends } => {
                let period = self.config.period;
                let cells: BTreeSet<usize> =
                    ends.iter().map(|end| profile_cell(period, *end)).collect();
                for place in cells {
                    let entries = self
                        .profile
                        .iter()
                        .filter(|entry| profile_cell(period, entry.end) == place);
                    let bytes = encode_profile(entries);
                    let ticket = self.keeper.ticket();
                    self.keeper.folding_under(ticket);
                    self.remember(ticket, PROFILE_CELLS[place], bytes);
                }
            }
        }
    }

    pub(super) fn remember(&mut self, ticket: u64, cell: &'static str, bytes: Vec<u8>) {
        self.outbox.push_back(Output::Remember {
            ticket,
            cell,
            bytes,
        });
    }

    pub(super) fn state(&self) -> State {
        let metrology = &self.metrology;
        State {
            title: self.config.title,
            period: self.config.period,
            cursor: metrology.cursor,
            interval_end: self.interval_end,
            off_since: self.off_since,
            energy: metrology.energy,
            at_start: metrology.at_start,
            sums: metrology.sums,
            transmit_bound: self.link.transmit_bound(),
            received: self.link.received(),
            received_of_backup: self.link.received_of_backup(),
            captured: self.captured,
            lost: self.lost,
            last_ack: self.last_ack,
            ahead: self.ahead.clone(),
            bill: self.bill.clone(),
            changes: self
                .keeper
                .carried()
                .map(|end| match self.profile.get(end) {
                    Some(entry) => Change::Entry(*entry),
                    None => Change::Gone(end),
                })
                .collect(),
            since_2: Some(SinceVersion2 {
                clock: self.clock,
                stepped: self.stepped,
                periods: self.periods.clone(),
                block_reset: self.block_reset,
                security: RetainedSecurity::of(
                    self.link.security(),
                    &self.config.keys,
                    &self.config.access,
                ),
            }),
        }
    }
}
