//! Faults that can be switched on to prove that the tests would find them.
//!
//! Holds: without the feature `mutants`, `is` is a constant `false` and no fault is compiled in.
//! One process runs at most one mutant, picked once at its start.

/// A fault, named after what it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// After a crash, goes on behind the sheet's unsynced tail instead of cutting it.
    SkipCut,
    /// Writes every 50th row twice.
    DoubleRow,
    /// Leaves out every 50th row.
    DropRow,
    /// Writes the second row of a batch before the first.
    SwapRows,
    /// After an abort, Kafka's sink goes on from what it remembers.
    CursorNotReread,
    /// Kafka's cursor is read before older producers are fenced.
    CursorBeforeFence,
    /// Kafka's cursor is written in a transaction of its own, behind that of its records.
    CursorOutside,
    /// All tasks keep their cursors in one control topic.
    SharedControl,
    /// The pump passes a record that is refused for good before it is set aside durably.
    ParkLate,
    /// The pump goes on from the replicated cursor, whatever the destination says.
    OwnCursor,
    /// Replaces a spreadsheet's cursor whatever it says.
    SheetsNoCas,
    /// Sends rows and cursor to a spreadsheet in two requests.
    SheetsTwoCalls,
    /// Sends rows again after an answer that was lost, without asking what became of them.
    SheetsBlindRetry,
    /// Does not wait out a request to a spreadsheet that may still arrive.
    SheetsNoWait,
    /// Writes columns where they were, wherever people have moved them.
    SheetsNoGuard,
    /// Lets the first form by name go first to Google, whoever waits.
    SheetsUnfair,
    /// Asks Google for a quarter more than the quota.
    SheetsOverQuota,
}

/// Every mutant under the name that picks it.
pub const NAMES: [(&str, Mutant); 17] = [
    ("csv-skip-cut", Mutant::SkipCut),
    ("csv-double", Mutant::DoubleRow),
    ("csv-drop-row", Mutant::DropRow),
    ("csv-reorder", Mutant::SwapRows),
    ("cursor-not-reread", Mutant::CursorNotReread),
    ("cursor-before-fence", Mutant::CursorBeforeFence),
    ("cursor-outside", Mutant::CursorOutside),
    ("shared-control", Mutant::SharedControl),
    ("park-late", Mutant::ParkLate),
    ("own-cursor", Mutant::OwnCursor),
    ("sheets-no-cas", Mutant::SheetsNoCas),
    ("sheets-two-calls", Mutant::SheetsTwoCalls),
    ("sheets-blind-retry", Mutant::SheetsBlindRetry),
    ("sheets-no-wait", Mutant::SheetsNoWait),
    ("sheets-no-guard", Mutant::SheetsNoGuard),
    ("sheets-unfair", Mutant::SheetsUnfair),
    ("sheets-over-quota", Mutant::SheetsOverQuota),
];

#[cfg(feature = "mutants")]
static PICKED: std::sync::OnceLock<Mutant> = std::sync::OnceLock::new();

/// Switches `name` on for the rest of this process's life.
///
/// Fails with words if there is no such mutant, or if another one is on.
#[cfg(feature = "mutants")]
pub fn pick(name: &str) -> Result<(), String> {
    let Some((_, mutant)) = NAMES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("no mutant is called {name}"));
    };
    let picked = PICKED.get_or_init(|| *mutant);
    if picked == mutant {
        Ok(())
    } else {
        Err(format!("{picked:?} is on already"))
    }
}

/// True if `mutant` is switched on.
#[cfg(feature = "mutants")]
pub(crate) fn is(mutant: Mutant) -> bool {
    PICKED.get() == Some(&mutant)
}

/// Never: this build has no mutants.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}
