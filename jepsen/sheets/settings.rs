//! Switches: what nobody outside Google knows, and what tests need smaller than it is.

use crate::json::put;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Two batches on one spreadsheet at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overlap {
    /// The second waits.
    Serial,
    /// The second is refused with 409.
    Refuse409,
    /// The second is refused with 503, and not applied.
    Refuse503,
    /// Both are judged by what was there when they began, and both are applied.
    Both,
}

/// Deleting metadata that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NoMatch {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "400")]
    Refused,
}

/// Metadata when a person restores an earlier version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Restored {
    /// As it was then.
    Restored,
    /// As it is now.
    Kept,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) no_match_delete: NoMatch,
    /// Integers that are 0 are left out of answers.
    pub(crate) omit_zeros: bool,
    pub(crate) overlap: Overlap,
    pub(crate) restored_metadata: Restored,
    /// 403 or 404 for a spreadsheet that is not shared.
    pub(crate) unshared: u16,
    /// A minute of the quota.
    pub(crate) minute_ms: u64,
    pub(crate) writes_per_user: u64,
    pub(crate) writes_per_project: u64,
    pub(crate) reads_per_user: u64,
    pub(crate) reads_per_project: u64,
    /// Sent with 429, if anything.
    pub(crate) retry_after_s: Option<u64>,
    /// How long a token holds, and how long the token endpoint says that it does.
    pub(crate) token_life_ms: u64,
    pub(crate) token_told_s: u64,
    /// How far this fake's clock is ahead of the machine's.
    pub(crate) skew_ms: i64,
    /// How long a batch is under way.
    pub(crate) work_ms: u64,
    /// Reads show what was there so long ago.
    pub(crate) stale_reads_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            no_match_delete: NoMatch::Ok,
            omit_zeros: false,
            overlap: Overlap::Serial,
            restored_metadata: Restored::Restored,
            unshared: 403,
            minute_ms: 60_000, // this and the quotas: as Google documents them
            writes_per_user: 60,
            writes_per_project: 300,
            reads_per_user: 60,
            reads_per_project: 300,
            retry_after_s: None, // Google sends none
            token_life_ms: 3_600_000,
            token_told_s: 3_599,
            skew_ms: 0,
            work_ms: 0,
            stale_reads_ms: 0,
        }
    }
}

impl Settings {
    /// The same with what `changes` names.
    pub(crate) fn with(&self, changes: &Value) -> anyhow::Result<Self> {
        let mut all = serde_json::to_value(self)?;
        let changes = changes.as_object();
        for (name, value) in changes.into_iter().flatten() {
            put(&mut all, name.as_str(), value.clone());
        }
        let settings: Self = serde_json::from_value(all)?;
        anyhow::ensure!(
            [403, 404].contains(&settings.unshared),
            "unshared is 403 or 404"
        );
        anyhow::ensure!(settings.minute_ms > 0, "minute_ms is at least 1");
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NoMatch, Overlap, Settings};

    #[test]
    fn what_is_named_is_changed_and_what_is_unknown_is_refused() {
        let usual = Settings::default();
        let changes = json!({"no_match_delete": "400", "overlap": "refuse503", "minute_ms": 2000});
        let changed = usual.with(&changes).unwrap();
        assert_eq!(
            (changed.no_match_delete, changed.overlap),
            (NoMatch::Refused, Overlap::Refuse503)
        );
        assert_eq!((changed.minute_ms, changed.writes_per_user), (2000, 60));
        assert!(usual.with(&json!({"nope": 1})).is_err());
        assert!(usual.with(&json!({"unshared": 500})).is_err());
        assert_eq!(usual.with(&json!({})).unwrap(), usual);
    }
}
