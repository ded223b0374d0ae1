//! Quotas: so many calls a minute for each user, and for each project.
//!
//! Holds: a call that is refused costs nothing. A minute begins when the one before it ends, for all
//! at once. Inferred: Google says only that quotas are "refilled every minute".

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::batch::Caller;
use crate::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Read,
    Write,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
        }
    }
}

/// The quota that is used up, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    class: Class,
    is_user: bool,
    size: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    granted: u64,
    refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// By minute, class, and user or project.
    counts: BTreeMap<(u64, Class, bool, String), Count>,
}

const MINUTES_KEPT: u64 = 10_000;

impl Quota {
    /// `at_ms` counts from any moment before the first call.
    pub(crate) fn take(
        &mut self,
        class: Class,
        caller: &Caller,
        settings: &Settings,
        at_ms: u64,
    ) -> Result<(), Exceeded> {
        let minute = at_ms / settings.minute_ms;
        self.counts
            .retain(|(other, ..), _| other + MINUTES_KEPT > minute);
        let (user, project) = match class {
            Class::Read => (settings.reads_per_user, settings.reads_per_project),
            Class::Write => (settings.writes_per_user, settings.writes_per_project),
        };
        let keys = [
            (true, &caller.user, user),
            (false, &caller.project, project),
        ];
        let keys = keys.map(|(is_user, name, size)| {
            let key = (minute, class, is_user, name.clone());
            (
                key,
                Exceeded {
                    class,
                    is_user,
                    size,
                },
            )
        });
        let full = keys.iter().find(|(key, limit)| {
            self.counts
                .get(key)
                .is_some_and(|count| count.granted >= limit.size)
                || limit.size == 0
        });
        let exceeded = full.map(|(_, limit)| *limit);
        for (key, _) in keys {
            let count = self.counts.entry(key).or_default();
            *(if exceeded.is_some() {
                &mut count.refused
            } else {
                &mut count.granted
            }) += 1;
        }
        exceeded.map_or(Ok(()), Err)
    }

    pub(crate) fn to_json(&self) -> Value {
        let counts = self
            .counts
            .iter()
            .map(|((minute, class, is_user, name), count)| {
                json!({
                    "minute": minute,
                    "class": class.name(),
                    "of": if *is_user { "user" } else { "project" },
                    "name": name,
                    "granted": count.granted,
                    "refused": count.refused,
                })
            });
        counts.collect()
    }
}

impl Exceeded {
    pub(crate) fn new(class: Class, is_user: bool, size: u64) -> Self {
        Self {
            class,
            is_user,
            size,
        }
    }

    /// Google's body of a 429.
    pub(crate) fn to_json(self, project: &str) -> Value {
        let Self {
            class,
            is_user,
            size,
        } = self;
        let (class, kind) = (class.name(), class.name().to_lowercase());
        let (user, unit) = if is_user {
            ("PerUser", "/{user}")
        } else {
            ("", "")
        };
        let words = if is_user { " per user" } else { "" };
        let number = number_of(project);
        json!({"error": {
            "code": 429,
            "message": format!(
                "Quota exceeded for quota metric '{class} requests' and limit '{class} requests per \
                 minute{words}' of service 'sheets.googleapis.com' for consumer \
                 'project_number:{number}'."),
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMIT_EXCEEDED",
                    "domain": "googleapis.com",
                    "metadata": {
                        "consumer": format!("projects/{number}"),
                        "quota_limit": format!("{class}RequestsPerMinute{}",
                            if is_user { user } else { "PerProject" }),
                        "quota_limit_value": size.to_string(),
                        "quota_location": "global",
                        "quota_metric": format!("sheets.googleapis.com/{kind}_requests"),
                        "quota_unit": format!("1/min/{{project}}{unit}"),
                        "service": "sheets.googleapis.com",
                    },
                },
                {
                    "@type": "type.googleapis.com/google.rpc.Help",
                    "links": [{
                        "description": "Request a higher quota limit.",
                        "url": "https://cloud.google.com/docs/quotas/help/request_increase",
                    }],
                },
            ],
        }})
    }
}

/// A number for a project: Google tells this, not the name.
pub(crate) fn number_of(project: &str) -> u64 {
    let bytes = project.bytes();
    let mixed = bytes.fold(17_u64, |number, byte| {
        number.wrapping_mul(31).wrapping_add(byte.into())
    });
    100_000_000_000 + mixed % 900_000_000_000
}

#[cfg(test)]
mod tests {
    use super::{Class, Exceeded, Quota};
    use crate::batch::Caller;
    use crate::settings::Settings;

    fn caller(user: &str) -> Caller {
        Caller {
            user: user.to_owned(),
            project: "p".to_owned(),
        }
    }

    #[test]
    fn each_user_and_the_project_have_their_quota_and_it_comes_back() {
        let settings = Settings {
            minute_ms: 1000,
            writes_per_user: 2,
            writes_per_project: 3,
            ..Settings::default()
        };
        let mut quota = Quota::default();
        let mut take = |user, at_ms| quota.take(Class::Write, &caller(user), &settings, at_ms);
        assert_eq!([take("a", 0), take("a", 1)], [Ok(()); 2]);
        assert_eq!(take("a", 999), Err(Exceeded::new(Class::Write, true, 2)));
        assert_eq!(take("b", 999), Ok(()));
        assert_eq!(take("b", 999), Err(Exceeded::new(Class::Write, false, 3)));
        assert_eq!([take("a", 1000), take("a", 1001)], [Ok(()); 2]);
        assert_eq!(
            quota.take(Class::Read, &caller("a"), &settings, 999),
            Ok(())
        );
    }

    #[test]
    fn the_body_says_which_quota_and_how_much() {
        let body = Exceeded::new(Class::Write, true, 60).to_json("p");
        let metadata = &body["error"]["details"][0]["metadata"];
        assert_eq!(metadata["quota_limit"], "WriteRequestsPerMinutePerUser");
        assert_eq!(metadata["quota_limit_value"], "60");
        let body = Exceeded::new(Class::Read, false, 300).to_json("p");
        let metadata = &body["error"]["details"][0]["metadata"];
        assert_eq!(metadata["quota_limit"], "ReadRequestsPerMinutePerProject");
    }
}
