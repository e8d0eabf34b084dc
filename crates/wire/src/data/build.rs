//! Building structures from JSON or CBOR, straight into their typed members, with no document in between.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::data::Structure;
use crate::data::cbor::{Cbor, CborError};
use crate::model::{Kind, Location, Member, Shape};

/// Items of one list of a request, far more than any model allows: the memory of a longer one would be a multiple of its
/// text's before validation could refuse it.
const MAX_ITEMS: usize = 100_000;

/// Which required members a structure's request lacked, a bit a member by its place in the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing(u64);

impl Missing {
    /// Whether the member at this place is missing.
    pub fn contains(self, index: usize) -> bool {
        index < 64 && self.0 & (1 << index) != 0
    }

    fn set(&mut self, index: usize, missing: bool) {
        let bit = 1 << index;
        self.0 = if missing { self.0 | bit } else { self.0 & !bit };
    }
}

/// A generated structure, for decoding.
pub trait Build: Structure + Default {
    /// Its table.
    const SHAPE: &'static Shape;

    /// Reads the next value of `map` into the member at this place; `false` for a null.
    fn set<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<bool, A::Error>;

    /// Notes the required members that were not there.
    fn set_missing(&mut self, _: Missing) {}

    /// Sets the member that is the body.
    fn set_payload(&mut self, _: Bytes) {}
}

/// A type that a member can have.
pub trait Decode: Sized {
    /// Reads a value that is not null.
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Which members of the outermost structure are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Those of the body's document.
    Body,
    /// Those that REST carries elsewhere.
    Bound,
}

/// Fills a structure from JSON text, keeping what the text does not mention.
pub(crate) fn decode_json<T: Build>(target: &mut T, json: &[u8], accept: Accept) -> Result<(), serde_json::Error> {
    // All of it, and at once: from bytes, what no member takes would be passed over unseen.
    let text = std::str::from_utf8(json).map_err(|_| serde_json::Error::custom("the body is not UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_any(StructureVisitor { target, accept })?;
    deserializer.end()
}

/// The same from CBOR, of which all is the body's.
pub(crate) fn decode_cbor<T: Build>(target: &mut T, cbor: &[u8]) -> Result<(), CborError> {
    let mut deserializer = Cbor::new(cbor);
    deserializer.deserialize_any(StructureVisitor { target, accept: Accept::Body })?;
    deserializer.end()
}

/// Reads an optional member.
pub fn optional<'de, T: Decode, A: MapAccess<'de>>(slot: &mut Option<T>, map: &mut A) -> Result<bool, A::Error> {
    *slot = map.next_value::<Nullable<T>>()?.0;
    Ok(slot.is_some())
}

/// Reads a required member; a null leaves it as it is.
pub fn required<'de, T: Decode, A: MapAccess<'de>>(slot: &mut T, map: &mut A) -> Result<bool, A::Error> {
    let Some(value) = map.next_value::<Nullable<T>>()?.0 else { return Ok(false) };
    *slot = value;
    Ok(true)
}

/// Passes over a value.
pub fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    map.next_value::<IgnoredAny>()?;
    Ok(false)
}

// ---- Structures ----

struct StructureVisitor<'t, T> {
    target: &'t mut T,
    accept: Accept,
}

impl<'de, T: Build> Visitor<'de> for StructureVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a structure")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Kind::Structure(members) = &T::SHAPE.kind else { return Err(A::Error::custom("not a structure")) };
        let mut missing = self.target.missing();
        for (i, member) in members.iter().enumerate() {
            if member.required && takes(self.accept, member) {
                missing.set(i, true);
            }
        }
        let mut next = 0;
        while let Some(found) = map.next_key_seed(KeySeed { members, from: next })? {
            match found {
                Some(i) if takes(self.accept, &members[i]) => {
                    next = i + 1;
                    let present = self.target.set(i, &mut map)?;
                    if members[i].required {
                        missing.set(i, !present);
                    }
                }
                _ => {
                    skip(&mut map)?;
                }
            }
        }
        self.target.set_missing(missing);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("Start of list found where not expected"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom("Unexpected field type: STRING_VALUE where a structure is expected"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom("Unexpected field type: BOOLEAN_VALUE where a structure is expected"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom("Unexpected field type: NUMBER_VALUE where a structure is expected"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.visit_i64(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.visit_i64(0)
    }
}

fn takes(accept: Accept, member: &Member) -> bool {
    match accept {
        Accept::Body => member.location == Location::Body,
        Accept::Bound => member.location != Location::Body,
    }
}

impl<T: Build> Decode for T {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut target = T::default();
        deserializer.deserialize_any(StructureVisitor { target: &mut target, accept: Accept::Body })?;
        Ok(target)
    }
}

/// Finds a key's place in the table without allocating; most senders keep one order, so the search starts after the
/// member before.
struct KeySeed {
    members: &'static [Member],
    from: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        let matches = |(_, member): &(usize, &Member)| member.wire == key;
        let after = self.members.iter().enumerate().skip(self.from).find(matches);
        Ok(after.or_else(|| self.members.iter().enumerate().take(self.from).find(matches)).map(|(i, _)| i))
    }
}

// ---- Null ----

struct Nullable<T>(Option<T>);

impl<'de, T: Decode> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(NullableVisitor(PhantomData))
    }
}

struct NullableVisitor<T>(PhantomData<T>);

impl<'de, T: Decode> Visitor<'de> for NullableVisitor<T> {
    type Value = Nullable<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E: Error>(self) -> Result<Nullable<T>, E> {
        Ok(Nullable(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Nullable<T>, E> {
        Ok(Nullable(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Nullable<T>, D::Error> {
        T::decode(deserializer).map(|value| Nullable(Some(value)))
    }
}

// ---- Lists and maps ----

impl<T: Decode> Decode for Vec<T> {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Decode> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut out = Vec::new();
        while let Some(Nullable(item)) = items.next_element::<Nullable<T>>()? {
            if out.len() == MAX_ITEMS {
                return Err(A::Error::custom(format!("a list has more than {MAX_ITEMS} items")));
            }
            out.push(item.ok_or_else(|| A::Error::custom("null found in a list"))?);
        }
        Ok(out)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Vec<T>, A::Error> {
        Err(A::Error::custom("Start of structure or map found where not expected."))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Vec<T>, E> {
        Err(E::custom("Unexpected field type: STRING_VALUE where a list is expected"))
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MapVisitor(PhantomData))
    }
}

struct MapVisitor<T>(PhantomData<T>);

impl<'de, T: Decode> Visitor<'de> for MapVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some((key, Nullable(value))) = map.next_entry::<String, Nullable<T>>()? {
            // A null value is the same as no entry, as for members.
            if let Some(value) = value {
                out.insert(key, value);
            }
        }
        Ok(out)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom("Start of list found where not expected"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("Unexpected field type: STRING_VALUE where a map is expected"))
    }
}
