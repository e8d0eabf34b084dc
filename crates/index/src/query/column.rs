//! Documents with a value in a range: reads the field's column and marks what lies inside.
//!
//! tantivy's own range query steps through its column lazily and, combined with exclusions, breaks a rule of its own
//! that its debug builds check; marking first costs about a nanosecond a document and has no such states.

use std::ops::{Bound, RangeInclusive};

use tantivy::columnar::{Column, DynamicColumn, StrColumn};
use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{BitSet, DocId, DocSet, Score, SegmentReader};

use crate::mapping::Scalar;

/// Documents that are read at a time.
const BLOCK: u32 = 1 << 16;

/// The query.
#[derive(Debug, Clone)]
pub struct ColumnRange {
    /// The column's name.
    pub column: String,
    /// From here.
    pub lower: Bound<Scalar>,
    /// To here.
    pub upper: Bound<Scalar>,
}

impl ColumnRange {
    fn matching(&self, reader: &SegmentReader) -> tantivy::Result<BitSet> {
        let mut found = BitSet::with_max_value(reader.max_doc());
        for handle in reader.fast_fields().dynamic_column_handles(&self.column)? {
            match handle.open()? {
                DynamicColumn::I64(column) => mark(&column, integers(&self.lower, &self.upper), &mut found),
                DynamicColumn::F64(column) => mark(&column, floats(&self.lower, &self.upper), &mut found),
                DynamicColumn::Str(column) => {
                    mark(column.ords(), ordinals(&column, &self.lower, &self.upper)?, &mut found);
                }
                // Other kinds are never written.
                _ => {}
            }
        }
        Ok(found)
    }
}

fn mark<T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static>(
    column: &Column<T>,
    range: Option<RangeInclusive<T>>,
    found: &mut BitSet,
) {
    let Some(range) = range else { return };
    // The column's own filter takes for granted that the range touches its values.
    if *range.start() > column.max_value() || *range.end() < column.min_value() {
        return;
    }
    let (mut from, end) = (0, column.num_docs());
    let mut docs = Vec::new();
    while from < end {
        let to = end.min(from.saturating_add(BLOCK));
        docs.clear();
        column.get_docids_for_value_range(range.clone(), from..to, &mut docs);
        for &doc in &docs {
            found.insert(doc);
        }
        from = to;
    }
}

/// Integers between two bounds; `None` when there are none.
fn integers(lower: &Bound<Scalar>, upper: &Bound<Scalar>) -> Option<RangeInclusive<i64>> {
    // Casts of floats to integers saturate, and the ends of the range are whole numbers.
    let first = match lower {
        Bound::Included(Scalar::Int(n)) => *n,
        Bound::Excluded(Scalar::Int(n)) => n.checked_add(1)?,
        Bound::Included(Scalar::Float(n)) => n.ceil() as i64,
        Bound::Excluded(Scalar::Float(n)) => (n.floor() as i64).checked_add(1)?,
        Bound::Unbounded => i64::MIN,
        Bound::Included(_) | Bound::Excluded(_) => return None,
    };
    let last = match upper {
        Bound::Included(Scalar::Int(n)) => *n,
        Bound::Excluded(Scalar::Int(n)) => n.checked_sub(1)?,
        Bound::Included(Scalar::Float(n)) => n.floor() as i64,
        Bound::Excluded(Scalar::Float(n)) => (n.ceil() as i64).checked_sub(1)?,
        Bound::Unbounded => i64::MAX,
        Bound::Included(_) | Bound::Excluded(_) => return None,
    };
    (first <= last).then_some(first..=last)
}

/// Floats between two bounds; `None` when there are none.
fn floats(lower: &Bound<Scalar>, upper: &Bound<Scalar>) -> Option<RangeInclusive<f64>> {
    let number = |scalar: &Scalar| match scalar {
        Scalar::Int(n) => Some(*n as f64),
        Scalar::Float(n) => Some(*n),
        Scalar::Str(_) | Scalar::Bool(_) => None,
    };
    let first = match lower {
        Bound::Included(scalar) => number(scalar)?,
        Bound::Excluded(scalar) => number(scalar)?.next_up(),
        Bound::Unbounded => f64::NEG_INFINITY,
    };
    let last = match upper {
        Bound::Included(scalar) => number(scalar)?,
        Bound::Excluded(scalar) => number(scalar)?.next_down(),
        Bound::Unbounded => f64::INFINITY,
    };
    (first <= last).then_some(first..=last)
}

/// Ordinals of the texts between two bounds; `None` when there are none.
fn ordinals(
    column: &StrColumn,
    lower: &Bound<Scalar>,
    upper: &Bound<Scalar>,
) -> tantivy::Result<Option<RangeInclusive<u64>>> {
    let text = |bound: &Bound<Scalar>| match bound {
        Bound::Included(Scalar::Str(s)) => Some(Bound::Included(s.clone())),
        Bound::Excluded(Scalar::Str(s)) => Some(Bound::Excluded(s.clone())),
        Bound::Unbounded => Some(Bound::Unbounded),
        Bound::Included(_) | Bound::Excluded(_) => None,
    };
    let (Some(lower), Some(upper)) = (text(lower), text(upper)) else { return Ok(None) };
    let (lower, upper) = column.dictionary().term_bounds_to_ord(lower, upper)?;
    let first = match lower {
        Bound::Included(ordinal) => ordinal,
        Bound::Excluded(ordinal) => ordinal.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let last = match upper {
        Bound::Included(ordinal) => Some(ordinal),
        Bound::Excluded(ordinal) => ordinal.checked_sub(1),
        Bound::Unbounded => Some(u64::MAX),
    };
    Ok(last.filter(|last| first <= *last).map(|last| first..=last))
}

impl Query for ColumnRange {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for ColumnRange {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let docs = BitSetDocSet::from(self.matching(reader)?);
        Ok(Box::new(ConstScorer::new(docs, boost)))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        explain("ColumnRange", self.scorer(reader, 1.0)?, doc)
    }
}

/// Explains that a query of a constant score matches a document, or that it does not.
pub fn explain(what: &'static str, mut scorer: Box<dyn Scorer>, doc: DocId) -> tantivy::Result<Explanation> {
    if scorer.doc() > doc || scorer.seek(doc) != doc {
        return Err(tantivy::TantivyError::InvalidArgument(format!("document {doc} does not match")));
    }
    Ok(Explanation::new(what, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_either_kind_of_number() {
        let (int, float) = (Scalar::Int, Scalar::Float);
        assert_eq!(integers(&Bound::Excluded(int(1)), &Bound::Included(float(3.5))), Some(2..=3));
        assert_eq!(integers(&Bound::Excluded(float(1.5)), &Bound::Excluded(float(4.0))), Some(2..=3));
        assert_eq!(integers(&Bound::Excluded(int(i64::MAX)), &Bound::Unbounded), None);
        assert_eq!(integers(&Bound::Included(int(2)), &Bound::Included(int(1))), None);
        assert_eq!(floats(&Bound::Included(int(1)), &Bound::Excluded(float(2.0))), Some(1.0..=2f64.next_down()));
        assert_eq!(floats(&Bound::Unbounded, &Bound::Unbounded), Some(f64::NEG_INFINITY..=f64::INFINITY));
    }
}
