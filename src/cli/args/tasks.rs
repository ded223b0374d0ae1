//! What may be asked of tasks, and the help that teaches it.
//!
//! Holds: a place in the log is written in one way everywhere, so that what a status or an error shows
//! can be given back as it is.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Tasks.
#[derive(Clone, Debug, Subcommand)]
pub enum Tasks {
    /// Each task, its state, how far behind it is, and what to do where something is wrong.
    List,
    /// One task: its definition, each of its lanes, and what its destination tells.
    Show {
        /// The task's name.
        task: String,
    },
    /// Define new tasks from files.
    ///
    /// A task that is there already is left alone: `formspool apply` changes it. See deploy/tasks
    /// for examples.
    Create {
        /// *.toml or *.json files, or directories of them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Deliver nothing until it is resumed.
    ///
    /// What is accepted meanwhile stays in the log, which keeps it for as long as that takes.
    Pause {
        /// The task's name.
        task: String,
    },
    /// Go on where it was paused.
    ///
    /// A task that has stopped looks at its destination anew when it is paused and resumed.
    Resume {
        /// The task's name.
        task: String,
    },
    /// Let a task go on from somewhere else.
    ///
    /// What lies before that place and is not delivered yet is left out; what lies behind it and is
    /// delivered already is delivered again, and nothing marks it. The task begins a new life with it.
    #[command(after_help = PLACES)]
    Seek {
        /// The task's name.
        task: String,
        /// Where it goes on: see below.
        #[arg(long, value_name = "PLACE")]
        to: String,
        #[command(flatten)]
        place: Place,
    },
    /// Send again what a destination has lost, or should have once more.
    ///
    /// As `seek`, and what was delivered before is marked: Kafka's records carry the header
    /// formspool-replay.
    #[command(after_help = PLACES)]
    Replay {
        /// The task's name.
        task: String,
        /// From where on: see below.
        #[arg(long, value_name = "PLACE")]
        from: String,
        #[command(flatten)]
        place: Place,
    },
    /// Delete a task. What it has delivered stays where it is.
    Delete {
        /// The task's name.
        task: String,
        /// Also where records are not delivered, or were set aside: this task never delivers them.
        #[arg(long)]
        abandon: bool,
    },
    /// Records that the task's destination refuses for good: why, and what they say.
    Parked {
        /// The task's name.
        task: String,
    },
    /// Send records once more that were set aside, when their destination takes them by now.
    ///
    /// Each is delivered behind what is accepted by now; one that is refused again comes back to the
    /// list.
    ReplayParked {
        /// The task's name.
        task: String,
        /// Which, as `formspool tasks parked` shows them, such as 4711:3.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        positions: Vec<String>,
        /// All of them, in order.
        #[arg(long)]
        all: bool,
    },
}

/// What belongs to a place that is a number.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The form whose record it is; needed where the task moves more than one.
    #[arg(long, value_name = "FORM")]
    pub form: Option<String>,
}

const PLACES: &str = "\
A PLACE is one of:
  beginning     the oldest record that the log still holds
  now           what is accepted from now on
  17            the record with this number: the first one that is sent. Another form of the same task
                goes back, or forward, to the same moment
  4711:3        a cursor, as errors and `formspool tasks show` write it: what comes behind it is sent

Records that the log has let go cannot be sent again (retention.* in the settings).";
