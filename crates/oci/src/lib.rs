//! Names and data of the container specifications, without any input or output: the vocabulary that every other
//! crate of Hull speaks.
//!
//! [`Digest`], [`Reference`], [`Platform`] and [`Signal`] are parsed once, where text enters, and are valid from then
//! on. The documents of the OCI specifications come from `oci_spec`, re-exported as [`runtime`] and [`image`].

pub mod digest;
mod platform;
mod reference;
mod signal;

pub use digest::Digest;
pub use oci_spec::{image, runtime};
pub use platform::Platform;
pub use reference::Reference;
pub use signal::Signal;

pub use platform::Error as PlatformError;
pub use reference::Error as ReferenceError;
pub use signal::Invalid as InvalidSignal;

/// Serialises a type as its text and parses it from text: one definition for all names of this crate.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
use serde_as_text;
