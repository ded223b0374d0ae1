//! The only place that prints: progress for eyes, and the last word.
//!
//! With `--json` the last word alone goes to standard output, and progress to standard error.

use std::io::Write as _;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Say {
    pub(crate) is_json: bool,
}

impl Say {
    pub(crate) fn progress(self, words: &str) {
        // A reader that has gone away is no reason to stop testing.
        if self.is_json {
            writeln!(std::io::stderr().lock(), "{words}").ok();
        } else {
            writeln!(std::io::stdout().lock(), "{words}").ok();
        }
    }

    pub(crate) fn last(words: &str) {
        writeln!(std::io::stdout().lock(), "{words}").ok();
    }
}
