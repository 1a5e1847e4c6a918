//! Who is to be told of a domain's instances, as people say it.

use std::str::FromStr;

use pilothouse_core::name::Name;

/// A subscriber and what of theirs is called: `NAME:OPERATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubscriberArg {
    pub(super) name: Name,
    pub(super) operation: Name,
}

impl FromStr for SubscriberArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, operation) = text.split_once(':').ok_or("expected NAME:OPERATION")?;
        let read = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        Ok(Self { name: read(name)?, operation: read(operation)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_a_name_and_an_operation() {
        let both = "desk:told".parse::<SubscriberArg>().expect("both");
        assert_eq!((both.name.as_str(), both.operation.as_str()), ("desk", "told"));
        for bad in ["desk", "desk:", ":told", "a.b:c", "a:b:c", ""] {
            assert!(bad.parse::<SubscriberArg>().is_err(), "{bad}");
        }
    }
}
