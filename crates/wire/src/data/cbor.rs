//! CBOR (RFC 8949) as a serde format, so that the structures that are read from JSON are read from it by the same code.
//!
//! Indefinite lengths and tags of any number are taken, nesting is bounded, bytes after the value are refused.
//! `minicbor` reads the tokens.

use std::fmt;

use minicbor::Decoder;
use minicbor::data::Type;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Lists and maps within each other. The deepest shape of any model has a tenth; what no member takes is read through.
const MAX_DEPTH: usize = 64;

/// Why bytes were not read, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CborError(String);

impl Error for CborError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<minicbor::decode::Error> for CborError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(format!("the CBOR document is broken: {error}"))
    }
}

/// Reads one value.
pub(crate) struct Cbor<'de> {
    decoder: Decoder<'de>,
    depth: usize,
}

impl<'de> Cbor<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> Self {
        Self { decoder: Decoder::new(bytes), depth: 0 }
    }

    /// Refuses what follows the value.
    pub(crate) fn end(&self) -> Result<(), CborError> {
        if self.decoder.position() == self.decoder.input().len() {
            return Ok(());
        }
        Err(CborError("the CBOR document goes on after its end".to_owned()))
    }

    /// The type of the next value, whose tags are passed over.
    fn next(&mut self) -> Result<Type, CborError> {
        loop {
            match self.decoder.datatype()? {
                Type::Tag => self.decoder.tag()?,
                other => return Ok(other),
            };
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, CborError>) -> Result<T, CborError> {
        if self.depth == MAX_DEPTH {
            return Err(CborError(format!("the CBOR document is nested more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let out = read(self);
        self.depth -= 1;
        out
    }

    /// A half: the `half` crate for one conversion would be much.
    fn half(&mut self) -> Result<f64, CborError> {
        let at = self.decoder.position() + 1;
        let bits = self.decoder.input().get(at..at + 2).ok_or_else(|| CborError("a number is cut off".to_owned()))?;
        let bits = u16::from_be_bytes([bits[0], bits[1]]);
        self.decoder.set_position(at + 2);
        let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (fraction / 1_024.0 + 1.0) * 2f64.powi(exponent - 15),
        };
        Ok(if bits >> 15 == 1 { -magnitude } else { magnitude })
    }
}

impl<'de> Deserializer<'de> for &mut Cbor<'de> {
    type Error = CborError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        match self.next()? {
            Type::Bool => visitor.visit_bool(self.decoder.bool()?),
            Type::Null | Type::Undefined => {
                self.decoder.set_position(self.decoder.position() + 1);
                visitor.visit_unit()
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => visitor.visit_u64(self.decoder.u64()?),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => visitor.visit_i64(self.decoder.i64()?),
            // Below the least number of 64 bits: as far as a member is concerned, a number that is not whole.
            Type::Int => visitor.visit_f64(i128::from(self.decoder.int()?) as f64),
            Type::F16 => visitor.visit_f64(self.half()?),
            Type::F32 => visitor.visit_f64(f64::from(self.decoder.f32()?)),
            Type::F64 => visitor.visit_f64(self.decoder.f64()?),
            Type::Bytes => visitor.visit_borrowed_bytes(self.decoder.bytes()?),
            Type::BytesIndef => {
                // Joined as they come: a list of parts that are empty would be far larger than the body.
                let mut joined = Vec::new();
                for part in self.decoder.bytes_iter()? {
                    joined.extend_from_slice(part?);
                }
                visitor.visit_byte_buf(joined)
            }
            Type::String => visitor.visit_borrowed_str(self.decoder.str()?),
            Type::StringIndef => {
                let mut joined = String::new();
                for part in self.decoder.str_iter()? {
                    joined.push_str(part?);
                }
                visitor.visit_string(joined)
            }
            Type::Array | Type::ArrayIndef => {
                let left = self.decoder.array()?;
                self.deeper(|cbor| {
                    let mut items = Items { cbor, left };
                    let out = visitor.visit_seq(&mut items)?;
                    items.finish()?;
                    Ok(out)
                })
            }
            Type::Map | Type::MapIndef => {
                let left = self.decoder.map()?;
                self.deeper(|cbor| {
                    let mut entries = Items { cbor, left };
                    let out = visitor.visit_map(&mut entries)?;
                    entries.finish()?;
                    Ok(out)
                })
            }
            other => Err(CborError(format!("the CBOR document has {other} where a value is expected"))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        match self.next()? {
            Type::Null | Type::Undefined => {
                self.decoder.set_position(self.decoder.position() + 1);
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    /// Blobs are bytes here and times are milliseconds.
    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The items of a list, or the entries of a map; how many are left is not known of an indefinite one.
struct Items<'c, 'de> {
    cbor: &'c mut Cbor<'de>,
    left: Option<u64>,
}

impl Items<'_, '_> {
    /// Whether there is another one; takes the end of an indefinite list.
    fn more(&mut self) -> Result<bool, CborError> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.cbor.decoder.datatype()? == Type::Break => {
                self.cbor.decoder.set_position(self.cbor.decoder.position() + 1);
                self.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// A visitor that stops before the end has refused what it saw; none does so without an error.
    fn finish(mut self) -> Result<(), CborError> {
        if self.more()? { Err(CborError("a list or map goes on after its end".to_owned())) } else { Ok(()) }
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = CborError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, CborError> {
        if self.more()? { seed.deserialize(&mut *self.cbor).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = CborError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, CborError> {
        if self.more()? { seed.deserialize(&mut *self.cbor).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, CborError> {
        seed.deserialize(&mut *self.cbor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CborError> {
        let mut cbor = Cbor::new(bytes);
        let value = T::deserialize(&mut cbor)?;
        cbor.end().map(|()| value)
    }

    #[test]
    fn numbers_are_as_in_rfc_8949_appendix_a() {
        for (bytes, expected) in [
            (&b"\xf9\x00\x00"[..], 0.0),
            (b"\xf9\x3c\x00", 1.0),
            (b"\xf9\x7b\xff", 65_504.0),
            (b"\xf9\x00\x01", 5.960_464_477_539_063e-8),
            (b"\xf9\x04\x00", 0.000_061_035_156_25),
            (b"\xf9\xc4\x00", -4.0),
            (b"\xf9\xfc\x00", f64::NEG_INFINITY),
            (b"\xfa\x47\xc3\x50\x00", 100_000.0),
            (b"\xfb\xc0\x10\x66\x66\x66\x66\x66\x66", -4.1),
            (b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", -18_446_744_073_709_551_616.0),
        ] {
            assert_eq!(read(bytes), Ok(expected));
        }
        assert!(read::<f64>(b"\xf9\x7e\x00").unwrap().is_nan());
        assert_eq!(read(b"\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00"), Ok(1_000_000_000_000u64));
        assert_eq!(read(b"\x39\x03\xe7"), Ok(-1_000i64));
    }

    #[test]
    fn indefinite_lengths_and_tags_are_read() {
        assert_eq!(read::<String>(b"\x7f\x65strea\x64ming\xff").unwrap(), "streaming");
        assert_eq!(read::<Vec<u8>>(b"\x9f\x01\x82\x02\x03\xff").ok(), None);
        assert_eq!(read::<Vec<u8>>(b"\xd9\xd9\xf7\xc1\x9f\x01\xc1\x02\xff").unwrap(), [1, 2]);
        assert_eq!(read::<Option<u8>>(b"\xf6"), Ok(None));
        assert_eq!(read::<Option<u8>>(b"\xf7"), Ok(None));
    }

    #[test]
    fn broken_documents_are_refused() {
        let deep = [vec![0x81; 70], vec![0x01]].concat();
        let (tags, endless) = (vec![0xc1; 1 << 20], vec![0x9f; 1 << 20]);
        for bytes in
            [&b""[..], b"\x01\x02", b"\x82\x01", b"\xff", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x1c", b"\xf9\x00"]
        {
            assert!(read::<serde::de::IgnoredAny>(bytes).is_err(), "{bytes:x?}");
        }
        for bytes in [&deep, &tags, &endless] {
            assert!(read::<serde::de::IgnoredAny>(bytes).is_err());
        }
    }
}
