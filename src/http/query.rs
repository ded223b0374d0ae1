//! The part of an address after `?`: known parameters, each at most once.
//!
//! Holds: an unknown parameter is refused. One that is silently ignored (`?afer=17`) reads the
//! wrong records.

use std::str::FromStr;

use super::error::{BAD_PARAMETER, Problem};
use super::fields::parse_urlencoded;

/// A parameter's name and what it means.
pub(super) type Parameter = (&'static str, &'static str);

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart; every name must be among `known`.
    pub(super) fn parse(text: Option<&str>, known: &[Parameter]) -> Result<Self, Problem> {
        let pairs = parse_urlencoded(text.unwrap_or_default().as_bytes())
            .map_err(|_| bad("the query is not UTF-8".to_owned()))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.iter().any(|(known, _)| known == name) {
                let known = known
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", ");
                return Err(bad(format!("{name:?} is not known here; known: {known}")));
            }
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(bad(format!("{name} is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The parameter as another type, or `default` where it is not given.
    pub(super) fn value<T: FromStr>(&self, name: &str, default: T) -> Result<T, Problem> {
        self.with(name, default, |text| text.parse().ok())
    }

    /// As [`Query::value`], read by a function.
    pub(super) fn with<T>(
        &self,
        name: &str,
        default: T,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Problem> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => read(text).ok_or_else(|| bad(format!("{name} cannot be {text:?}"))),
        }
    }
}

pub(super) fn bad(detail: String) -> Problem {
    Problem::new(BAD_PARAMETER, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_and_given_once() {
        let query =
            Query::parse(Some("after=17&wait=30s"), &[("after", ""), ("wait", "")]).unwrap();
        assert_eq!(query.value("after", 0).unwrap(), 17);
        assert_eq!(query.value("limit", 5).unwrap(), 5);
        assert_eq!(query.text("wait"), Some("30s"));
        for bad in ["afer=17", "after=1&after=2", "after=%ff"] {
            assert!(Query::parse(Some(bad), &[("after", "")]).is_err(), "{bad}");
        }
        let query = Query::parse(Some("after=x"), &[("after", "")]).unwrap();
        assert!(query.value("after", 0_u64).is_err());
    }
}
