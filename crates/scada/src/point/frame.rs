//! The columns of an image.

use gridloom_core::UtcTime;

use super::catalogue::Catalogue;
use super::quality::Quality;
use super::update::PointId;
use super::value::{Shape, Value};

/// The value, quality and times of every point at one moment, by column.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    shapes: Vec<Shape>,
    raw: Vec<i64>,
    quality: Vec<Quality>,
    source: Vec<UtcTime>,
    server: Vec<UtcTime>,
}

/// One row, to be moved from one frame to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) raw: i64,
    pub(crate) quality: Quality,
    pub(crate) source: UtcTime,
    pub(crate) server: UtcTime,
}

impl Frame {
    /// The frame of a catalogue, in which nothing has been reported.
    pub(crate) fn new(catalogue: &Catalogue) -> Self {
        let count = catalogue.len();
        Self {
            shapes: catalogue
                .iter()
                .map(|(_, point)| point.kind.shape())
                .collect(),
            raw: vec![0; count],
            quality: vec![Quality::NEVER_REPORTED; count],
            source: vec![UtcTime::default(); count],
            server: vec![UtcTime::default(); count],
        }
    }

    /// The value; zero, off or intermediate before the first report.
    pub fn value(&self, point: PointId) -> Value {
        self.shape(point).value(self.raw(point))
    }

    /// The quality.
    pub fn quality(&self, point: PointId) -> Quality {
        self.quality[point.index()]
    }

    /// When it was measured, by the station's clock where that is known.
    pub fn source_time(&self, point: PointId) -> UtcTime {
        self.source[point.index()]
    }

    /// When we heard it.
    pub fn server_time(&self, point: PointId) -> UtcTime {
        self.server[point.index()]
    }

    /// What the point holds.
    pub fn shape(&self, point: PointId) -> Shape {
        self.shapes[point.index()]
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub(crate) fn raw(&self, point: PointId) -> i64 {
        self.raw[point.index()]
    }

    pub(crate) fn row(&self, point: PointId) -> Row {
        let place = point.index();
        Row {
            raw: self.raw[place],
            quality: self.quality[place],
            source: self.source[place],
            server: self.server[place],
        }
    }

    pub(crate) fn set_row(&mut self, point: PointId, row: Row) {
        let place = point.index();
        self.raw[place] = row.raw;
        self.quality[place] = row.quality;
        self.source[place] = row.source;
        self.server[place] = row.server;
    }

    pub(crate) fn set_quality(&mut self, point: PointId, quality: Quality) {
        self.quality[point.index()] = quality;
    }

    pub(crate) fn set_times(&mut self, point: PointId, source: UtcTime, server: UtcTime) {
        self.source[point.index()] = source;
        self.server[point.index()] = server;
    }
}
