//! Reading scalars from JSON. Type errors read as the services' own parser words them:
//! `NUMBER_VALUE cannot be converted to String`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::data::Decode;

/// A scalar of JSON or CBOR.
enum Token<'a> {
    Str(&'a str),
    /// CBOR's alone.
    Bytes(&'a [u8]),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Token<'_> {
    fn refuse<T>(&self, wanted: &str) -> Result<T, String> {
        let name = match self {
            Self::Str(_) => "STRING_VALUE",
            Self::Bytes(_) => "BINARY_VALUE",
            Self::Int(_) | Self::Float(_) => "NUMBER_VALUE",
            Self::Bool(true) => "TRUE_VALUE",
            Self::Bool(false) => "FALSE_VALUE",
        };
        Err(format!("{name} cannot be converted to {wanted}"))
    }
}

trait Scalar: Sized {
    fn from_token(token: Token<'_>) -> Result<Self, String>;
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<T, E> {
        T::from_token(Token::Str(v)).map_err(E::custom)
    }

    fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<T, E> {
        T::from_token(Token::Bytes(v)).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<T, E> {
        T::from_token(Token::Int(v)).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<T, E> {
        let token = i64::try_from(v).map_or(Token::Float(v as f64), Token::Int);
        T::from_token(token).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<T, E> {
        T::from_token(Token::Float(v)).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<T, E> {
        T::from_token(Token::Bool(v)).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom("Start of list found where not expected"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom("Start of structure or map found where not expected."))
    }
}

macro_rules! scalar {
    ($ty:ty, |$token:ident| $read:expr) => {
        impl Scalar for $ty {
            fn from_token($token: Token<'_>) -> Result<Self, String> {
                $read
            }
        }

        impl Decode for $ty {
            fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ScalarVisitor(PhantomData))
            }
        }
    };
}

scalar!(String, |token| match token {
    Token::Str(v) => Ok(v.to_owned()),
    other => other.refuse("String"),
});
scalar!(i64, |token| match token {
    Token::Int(v) => Ok(v),
    // 1.0 and 1e3 are whole numbers to the services; a real fraction is refused rather than cut.
    Token::Float(v) if v.fract() == 0.0 && v.abs() < 9.0e15 => Ok(v as i64),
    other => other.refuse("Long"),
});
scalar!(i32, |token| match token {
    Token::Str(_) | Token::Bytes(_) | Token::Bool(_) => token.refuse("Integer"),
    number => {
        let wide = i64::from_token(number).map_err(|_| "NUMBER_VALUE cannot be converted to Integer".to_owned())?;
        i32::try_from(wide).map_err(|_| "NUMBER_VALUE cannot be converted to Integer".to_owned())
    }
});
scalar!(f64, |token| match token {
    Token::Int(v) => Ok(v as f64),
    Token::Float(v) => Ok(v),
    Token::Str("NaN") => Ok(f64::NAN),
    Token::Str("Infinity") => Ok(f64::INFINITY),
    Token::Str("-Infinity") => Ok(f64::NEG_INFINITY),
    other => other.refuse("Double"),
});
scalar!(bool, |token| match token {
    Token::Bool(v) => Ok(v),
    other => other.refuse("Boolean"),
});

/// A scalar that JSON and CBOR write differently: `deserializer.is_human_readable()` tells which it is.
macro_rules! two_forms {
    ($ty:ty, $text:ident, $binary:ident) => {
        impl Decode for $ty {
            fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any(ScalarVisitor(PhantomData::<$text>)).map(|form| form.0)
                } else {
                    deserializer.deserialize_any(ScalarVisitor(PhantomData::<$binary>)).map(|form| form.0)
                }
            }
        }
    };
}

struct Base64(Bytes);
struct Blob(Bytes);
two_forms!(Bytes, Base64, Blob);

impl Scalar for Base64 {
    fn from_token(token: Token<'_>) -> Result<Self, String> {
        let Token::Str(text) = token else { return token.refuse("ByteBuffer") };
        // To the byte, so that the buffer becomes `Bytes` as it is.
        let padding = text.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
        let mut decoded = vec![0; (text.len() / 4 * 3).saturating_sub(padding)];
        match STANDARD.decode_slice(text, &mut decoded) {
            Ok(length) if length == decoded.len() => Ok(Self(decoded.into())),
            // What does not fit its own length is wrong; this says how.
            _ => {
                let error = STANDARD.decode(text).err().map(|error| error.to_string()).unwrap_or_default();
                Err(format!("STRING_VALUE is not valid base64: {error}"))
            }
        }
    }
}

impl Scalar for Blob {
    fn from_token(token: Token<'_>) -> Result<Self, String> {
        let Token::Bytes(bytes) = token else { return token.refuse("ByteBuffer") };
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

struct Seconds(Timestamp);
struct Millis(Timestamp);
two_forms!(Timestamp, Seconds, Millis);

/// The milliseconds of the years that a date can be written in, 1 to 9999: what is beyond cannot be meant.
const DATES: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

fn date(time: Option<Timestamp>) -> Result<Timestamp, String> {
    let dated = time.filter(|time| DATES.contains(&time.millis()));
    dated.ok_or_else(|| "NUMBER_VALUE cannot be converted to Date".to_owned())
}

impl Scalar for Seconds {
    fn from_token(token: Token<'_>) -> Result<Self, String> {
        match token {
            Token::Int(v) => date(v.checked_mul(1_000).map(Timestamp::from_millis)).map(Self),
            Token::Float(v) => date(Timestamp::from_secs_f64(v)).map(Self),
            // Query and REST bindings hand times on as text; some SDKs write them so in JSON, too.
            Token::Str(v) => v.parse().map(Self).map_err(|_| "STRING_VALUE cannot be converted to Date".to_owned()),
            other => other.refuse("Date"),
        }
    }
}

impl Scalar for Millis {
    fn from_token(token: Token<'_>) -> Result<Self, String> {
        match token {
            Token::Int(v) => date(Some(Timestamp::from_millis(v))).map(Self),
            Token::Float(v) => date(Timestamp::from_secs_f64(v / 1_000.0)).map(Self),
            other => other.refuse("Date"),
        }
    }
}
