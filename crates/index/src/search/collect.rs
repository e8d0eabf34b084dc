//! Collects the first hits of a segment in a given order, and counts all.
//!
//! Within a segment every sort value becomes a number whose order is the wanted one (for keywords the term's ordinal),
//! so that a document costs a comparison and only those that get in cost an allocation. Across segments the values
//! themselves are compared.

use std::collections::BinaryHeap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, DynamicColumn, MonotonicallyMappableToU64, StrColumn};
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader};

use super::sort::{SortField, SortValue};

/// Where a sort value comes from, under one index's mapping.
#[derive(Debug, Clone)]
pub enum Source {
    /// The score.
    Score,
    /// The place in the index.
    Doc,
    /// The column of this name.
    Column(String),
    /// Nowhere: the index does not have the field.
    None,
}

/// One hit of one index.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its values of the sort fields.
    pub values: Vec<SortValue>,
    /// Its score; zero when scores were not needed.
    pub score: Score,
    /// Where it is.
    pub at: DocAddress,
}

/// What a search on one index finds.
#[derive(Debug, Default)]
pub struct Collected {
    /// The first hits, in order.
    pub hits: Vec<Found>,
    /// All hits.
    pub total: u64,
}

/// The collector.
pub struct TopHits<'a> {
    /// The order.
    pub order: &'a [SortField],
    /// Where each value of the order comes from.
    pub sources: Vec<Source>,
    /// Hits to keep.
    pub limit: usize,
    /// Whether scores are needed.
    pub scored: bool,
}

/// Orders hits by their values, then by place.
pub fn compare(order: &[SortField], a: &Found, b: &Found) -> std::cmp::Ordering {
    let by_value = order.iter().zip(a.values.iter().zip(&b.values)).map(|(field, (a, b))| field.compare(a, b));
    by_value.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then_with(|| a.at.cmp(&b.at))
}

/// A column of a segment.
enum Reader {
    Score,
    Doc(SegmentOrdinal),
    Int(Column<i64>),
    Float(Column<f64>),
    Bool(Column<bool>),
    Str(StrColumn),
    None,
}

impl Reader {
    fn open(source: &Source, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<Self> {
        let name = match source {
            Source::Score => return Ok(Self::Score),
            Source::Doc => return Ok(Self::Doc(ordinal)),
            Source::None => return Ok(Self::None),
            Source::Column(name) => name,
        };
        // A field has one type, and whole floats are kept as integers: there is one column, if any.
        let Some(handle) = segment.fast_fields().dynamic_column_handles(name)?.into_iter().next() else {
            return Ok(Self::None);
        };
        Ok(match handle.open()? {
            DynamicColumn::I64(column) => Self::Int(column),
            DynamicColumn::F64(column) => Self::Float(column),
            DynamicColumn::Bool(column) => Self::Bool(column),
            DynamicColumn::Str(column) => Self::Str(column),
            _ => Self::None,
        })
    }

    /// The value that counts for the order, as a number of the same order.
    fn read(&self, doc: DocId, score: Score, greatest: bool) -> Option<u64> {
        fn pick(values: impl Iterator<Item = u64>, greatest: bool) -> Option<u64> {
            if greatest { values.max() } else { values.min() }
        }
        match self {
            Self::Score => Some(f64::from(score).to_u64()),
            Self::Doc(segment) => Some(u64::from(*segment) << 32 | u64::from(doc)),
            Self::Int(column) => pick(column.values_for_doc(doc).map(MonotonicallyMappableToU64::to_u64), greatest),
            Self::Float(column) => pick(column.values_for_doc(doc).map(MonotonicallyMappableToU64::to_u64), greatest),
            Self::Bool(column) => pick(column.values_for_doc(doc).map(u64::from), greatest),
            Self::Str(column) => pick(column.ords().values_for_doc(doc), greatest),
            Self::None => None,
        }
    }

    /// The value behind a number.
    fn value(&self, number: u64) -> SortValue {
        match self {
            Self::Score => SortValue::Float(f64::from_u64(number)),
            Self::Doc(_) => SortValue::Int(number as i64),
            Self::Int(_) => SortValue::Int(i64::from_u64(number)),
            Self::Float(_) => SortValue::Float(f64::from_u64(number)),
            Self::Bool(_) => SortValue::Bool(number == 1),
            Self::Str(column) => {
                let mut text = String::new();
                match column.ord_to_str(number, &mut text) {
                    Ok(true) => SortValue::Str(text),
                    Ok(false) | Err(_) => SortValue::Missing,
                }
            }
            Self::None => SortValue::Missing,
        }
    }
}

/// A number of the wanted order: the lesser comes first. The upper half says where missing values stand.
fn key(number: Option<u64>, descending: bool, missing_first: bool) -> u128 {
    match number {
        None if missing_first => 0,
        None => 2 << 64,
        Some(n) => 1 << 64 | u128::from(if descending { !n } else { n }),
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    keys: Vec<u128>,
    doc: DocId,
    score_bits: u32,
}

/// Collects one segment.
pub struct SegmentTopHits {
    ordinal: SegmentOrdinal,
    order: Vec<(bool, bool)>,
    readers: Vec<Reader>,
    limit: usize,
    best: BinaryHeap<Candidate>,
    scratch: Vec<u128>,
    total: u64,
}

impl Collector for TopHits<'_> {
    type Fruit = Collected;
    type Child = SegmentTopHits;

    fn for_segment(&self, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentTopHits> {
        let readers = self.sources.iter().map(|s| Reader::open(s, ordinal, segment)).collect::<Result<_, _>>()?;
        Ok(SegmentTopHits {
            ordinal,
            order: self.order.iter().map(|f| (f.descending, f.missing_first)).collect(),
            readers,
            limit: self.limit,
            best: BinaryHeap::new(),
            scratch: Vec::new(),
            total: 0,
        })
    }

    fn requires_scoring(&self) -> bool {
        self.scored
    }

    fn merge_fruits(&self, segments: Vec<Collected>) -> tantivy::Result<Collected> {
        let mut all = Collected::default();
        for segment in segments {
            all.total += segment.total;
            all.hits.extend(segment.hits);
        }
        all.hits.sort_by(|a, b| compare(self.order, a, b));
        all.hits.truncate(self.limit);
        Ok(all)
    }
}

impl SegmentCollector for SegmentTopHits {
    type Fruit = Collected;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        if self.limit == 0 {
            return;
        }
        self.scratch.clear();
        for (reader, &(descending, missing_first)) in self.readers.iter().zip(&self.order) {
            self.scratch.push(key(reader.read(doc, score, descending), descending, missing_first));
        }
        if self.best.len() == self.limit {
            // Documents come in ascending order: of two equal ones the earlier stays.
            if self.best.peek().is_some_and(|worst| self.scratch >= worst.keys) {
                return;
            }
            self.best.pop();
        }
        self.best.push(Candidate { keys: self.scratch.clone(), doc, score_bits: score.to_bits() });
    }

    fn harvest(self) -> Collected {
        let hit = |candidate: Candidate| {
            let values = candidate.keys.iter().zip(&self.readers).zip(&self.order);
            let values = values.map(|((key, reader), &(descending, _))| {
                let number = *key as u64;
                let number = if descending { !number } else { number };
                if key >> 64 == 1 { reader.value(number) } else { SortValue::Missing }
            });
            Found {
                values: values.collect(),
                score: Score::from_bits(candidate.score_bits),
                at: DocAddress::new(self.ordinal, candidate.doc),
            }
        };
        let hits = self.best.into_sorted_vec().into_iter().map(hit).collect();
        Collected { hits, total: self.total }
    }
}
