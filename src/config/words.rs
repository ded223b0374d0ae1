//! What each setting means, for the settings file that `formspool config default` prints.
//!
//! Holds: every setting has its sentence here and every sentence its setting; a test compares both
//! with the defaults. The file in `deploy/` is this text, and a test says so too.

use toml::{Table, Value};

use super::Config;

/// A section's heading, or a setting's sentence.
const WORDS: &[(&str, &str)] = &[
    (
        "data_dir",
        "Where everything lives that must stay: the log, the state, sheets, the admin token.",
    ),
    (
        "definitions",
        "Forms and tasks in these directories are created at start where they do not exist, and \
         never changed (that is what `formspool apply` is for). Without these directories the \
         shipped ones are taken.",
    ),
    ("http", "The public listener: forms and the API."),
    (
        "http.listen",
        "Loopback: put a proxy with TLS in front before you open it to the world.",
    ),
    (
        "http.public_url",
        "Empty, or where browsers reach it through that proxy: \"https://forms.example\". Pages \
         under it may submit to every form, as a form's own page must.",
    ),
    (
        "http.connections_max",
        "Connections at once; one more is answered 503.",
    ),
    (
        "http.header_bytes_max",
        "Request line and header fields together; more is answered 431.",
    ),
    (
        "http.header_time_ms",
        "From a request's first byte to the end of its header; then 408.",
    ),
    (
        "http.body_time_ms",
        "From there to the end of its body; between two lines of a stream.",
    ),
    (
        "http.idle_time_ms",
        "A connection without a request is closed after this.",
    ),
    (
        "http.write_time_ms",
        "A client that takes no byte of its answer for this long is left.",
    ),
    ("http.wait_time_max_ms", "The longest `?wait=` of a read."),
    (
        "http.bodies_bytes_max",
        "Bodies in memory, of all requests together; one more is answered 503.",
    ),
    (
        "http.streams_max",
        "Requests of many lines, and lists, at once; one more is answered 503.",
    ),
    (
        "http.ndjson_bytes_max",
        "One request of many lines, in all.",
    ),
    (
        "http.ndjson_time_max_ms",
        "One request of many lines, from its first line to its last.",
    ),
    (
        "http.frame_ancestors",
        "Sites that may show a hosted page in a frame, as [\"https://…\"].",
    ),
    ("ops", "The operators' listener: /metrics, /livez, /readyz."),
    ("ops.listen", "Keep it away from the public."),
    (
        "admin",
        "The admin token: reading and definitions need it, submitting does not.",
    ),
    (
        "admin.token_file",
        "Empty: <data_dir>/admin.token, made at the first start. A file that is there at the \
         first start is taken.",
    ),
    (
        "limits",
        "What a submission may be, and how many may be under way.",
    ),
    (
        "limits.submission_bytes_max",
        "One submission; more is answered 413.",
    ),
    (
        "limits.depth_max",
        "Lists and objects within one another; more is answered 400.",
    ),
    (
        "limits.fields_max",
        "Members over a whole document; more is answered 422.",
    ),
    ("limits.key_bytes_max", "An idempotency key."),
    (
        "limits.in_flight_bytes_max",
        "All submissions that wait for their answer; then 503.",
    ),
    (
        "limits.packs_in_flight_max",
        "Packs that are proposed and not yet answered.",
    ),
    (
        "limits.answer_ms_max",
        "How long a submission waits before it is told `unknown` (503).",
    ),
    (
        "limits.leader_wait_ms",
        "While no node leads, submissions wait so long for one before they are told `no-quorum` \
         (503): an election takes less.",
    ),
    (
        "limits.drain_ms_max",
        "How long a stopping node waits for outcomes.",
    ),
    (
        "wal",
        "The write-ahead log: what an acknowledged submission rests on.",
    ),
    (
        "wal.fsync",
        "At the first start: `always`: synced before it is acknowledged. `interval:50ms`, \
         `never`: faster, and a power cut may lose what was acknowledged. Each receipt says which.",
    ),
    (
        "wal.segment_bytes",
        "A file of the log has this length when the next one begins.",
    ),
    ("wal.batch_bytes_max", "The most that one sync carries."),
    ("wal.queue_bytes_max", "The most that waits for the disk."),
    (
        "wal.tail_cache_bytes_max",
        "The newest entries, kept in memory for those who read them next.",
    ),
    (
        "wal.prepared_segments",
        "Segments made before they are needed; votes and cursors live off them while the disk is \
         full. 0: each is made when it is needed.",
    ),
    (
        "wal.reserve_bytes",
        "What making segments ahead leaves of the volume to the state and to sheets. Below half of \
         it submissions are answered 507.",
    ),
    (
        "wal.idle_mark_ms",
        "After so long without work the log says durably that its last write is durable. 0: never.",
    ),
    (
        "wal.verify",
        "At each start: `tail` reads the last segment and believes the sealed ones' footers, \
         `full` reads every byte.",
    ),
    (
        "wal.scan",
        "How a rebuild reads sealed segments: `read`, or `mapped` (faster, but a block that the \
         disk cannot read ends the process).",
    ),
    (
        "wal.scrub_bytes_per_s",
        "Sealed segments are checked in the background at this rate. 0: not at all.",
    ),
    (
        "state",
        "The state: derived from the log, rebuilt from it on any doubt.",
    ),
    (
        "state.memtable_bytes",
        "Written to a table on disk at this size.",
    ),
    ("state.cache_bytes", "Tables' blocks kept in memory."),
    (
        "state.journal_bytes_max",
        "The store's own journal on disk.",
    ),
    (
        "state.checkpoint_bytes",
        "All of it is written to a file each time the log has grown by this; the log can be purged \
         up to such a file.",
    ),
    (
        "retention",
        "What the log keeps. A record never goes before every task of its form has delivered it.",
    ),
    (
        "retention.time",
        "\"keep\", or how old a delivered record may be when it goes: \"30d\". Counted is the time \
         that the cluster ran, so a clock that jumps lets nothing go.",
    ),
    (
        "retention.bytes",
        "The log may have this many; then delivered records go, the oldest first. 0: half of what \
         the log and the free room of its volume are together at the start.",
    ),
    (
        "retention.after_delivery",
        "A record stays this long after its last delivery, to be sent again if its destination \
         loses it. It gives way when the log has more than retention.bytes.",
    ),
    ("raft", "Agreement between nodes."),
    (
        "raft.heartbeat_ms",
        "How often a leader shows that it is there.",
    ),
    (
        "raft.election_ms_min",
        "A follower that hears nothing for between this …",
    ),
    ("raft.election_ms_max", "… and this asks to be elected."),
    (
        "raft.read_bytes_max",
        "Entries in one request to a peer, and in one read while applying.",
    ),
    (
        "raft.start_ms_max",
        "A start gives up after this long without a leader.",
    ),
    (
        "peer",
        "The listener for the other nodes of a cluster. A node that lists no peers has none.",
    ),
    (
        "peer.listen",
        "Where the other nodes reach this one: not for clients, so keep it inside.",
    ),
    (
        "peer.advertise",
        "Empty: the address of peer.listen. Else host:port as the others see it, as behind a name \
         service: \"formspool-0.formspool:7080\".",
    ),
    (
        "peer.tls",
        "Both sides of every connection between nodes show a certificate: all three files, or none. \
         They are read again when they change.",
    ),
    (
        "peer.tls.cert_file",
        "This node's certificate chain, PEM: for the host in peer.advertise, to call and to be called.",
    ),
    ("peer.tls.key_file", "Its private key, PEM."),
    (
        "peer.tls.ca_file",
        "Who must have signed the other nodes' certificates, PEM.",
    ),
    ("cluster", "The other nodes."),
    (
        "cluster.peers",
        "Empty: one node alone. Else the advertised addresses of all nodes of the first cluster, \
         the same list on each: [\"10.0.0.1:7080\", \"10.0.0.2:7080\", \"10.0.0.3:7080\"]. With \
         empty disks they begin once all of them are there; an empty disk among others that are a \
         cluster already joins them.",
    ),
    (
        "cluster.single",
        "Start alone on an empty disk although peer.listen is no loopback address.",
    ),
    (
        "bridge",
        "Delivery from the log to the destinations of tasks.",
    ),
    (
        "bridge.drain_ms",
        "How long a stopping node goes on delivering what is there.",
    ),
    ("bridge.csv", "The local sheets."),
    ("bridge.csv.dir", "Empty: <data_dir>/sheets."),
    (
        "bridge.csv.batch_records_max",
        "Rows that one sync makes durable, at most.",
    ),
    (
        "bridge.csv.batch_bytes_max",
        "Bytes that one sync makes durable, at most.",
    ),
    (
        "bridge.csv.pause_ms",
        "The least time between two syncs of a sheet.",
    ),
    (
        "bridge.csv.workers_max",
        "Sheets that are written at the same moment.",
    ),
    ("bridge.retry", "After a delivery that failed."),
    ("bridge.retry.first_ms", "The first wait."),
    ("bridge.retry.max_ms", "The longest wait."),
    (
        "bridge.retry.attempts_max",
        "Answers against one record until it counts as refused for good.",
    ),
    (
        "kafka",
        "Kafka, for tasks with sink = \"kafka\": where it is, and how this node works with it. What \
         goes there, and how durable topics must be, is in each task.",
    ),
    (
        "kafka.bootstrap",
        "Brokers to ask first: [\"kafka-1:9092\", \"kafka-2:9092\"]. A task may name others.",
    ),
    (
        "kafka.transaction_timeout_ms",
        "How long readers wait for an open transaction after this node has died. A successor ends it \
         at once.",
    ),
    (
        "kafka.keepalive_ms",
        "A task without records writes its cursor again after this: brokers forget who is idle.",
    ),
    (
        "kafka.audit_every_ms",
        "How often brokers and topics are looked at for settings that can lose records.",
    ),
    (
        "kafka.loss_confirm_ms",
        "What looks lost at Kafka must look so for this long before the task stops for a person.",
    ),
    (
        "kafka.batch_records_max",
        "Records of one transaction, at most: it takes all that waits, as its cost is its own and not \
         the records'.",
    ),
    (
        "kafka.batch_bytes_max",
        "Bytes of one transaction, at most. Some three times this is in memory while a backlog drains.",
    ),
    (
        "kafka.max_in_flight",
        "Requests under way to one broker, 1 to 5. Order and once hold with each.",
    ),
    (
        "kafka.workers_max",
        "Tasks for Kafka that are served at the same moment.",
    ),
    (
        "kafka.properties",
        "More settings of librdkafka, as [\"security.protocol=SASL_SSL\"].",
    ),
    (
        "kafka.secrets",
        "Settings of librdkafka that are secret, each with the file that holds its value: \
         [\"sasl.password=/run/secrets/kafka-password\"].",
    ),
    (
        "sheets",
        "Google Sheets, for tasks with sink = \"sheets\": this node's credential, and what it may ask \
         of Google. Which spreadsheet is in each task.",
    ),
    (
        "sheets.credentials_file",
        "The key file of a Google service account. Empty: this node has none, and tasks say \
         `auth_broken` while it leads; it hands over to a node that has one. A task that names an \
         `account` uses <account>.json beside it.",
    ),
    (
        "sheets.endpoint",
        "Empty: Google. A test aid: \"http://127.0.0.1:9000\".",
    ),
    (
        "sheets.connect_ms",
        "How long a connection to Google may take.",
    ),
    (
        "sheets.request_timeout_ms",
        "How long an answer may take: Google works on a request for at most 180 s.",
    ),
    (
        "sheets.no_overlap_ms",
        "A request whose answer was lost, or whose node was, may still arrive for so long; nothing is \
         sent to its tab meanwhile, unless it is seen to have arrived.",
    ),
    (
        "sheets.writes_per_minute",
        "Google's quota of write requests of one credential, over all its forms. Of 60, 55 are used. \
         Raise it where Google allows more.",
    ),
    (
        "sheets.reads_per_minute",
        "The same for requests that read: one a write, to see where people have moved the columns.",
    ),
    (
        "sheets.minute_ms",
        "How long a minute of the quota is: a test aid.",
    ),
    (
        "sheets.linger_ms",
        "The least time between two requests of a form, unless a whole request's worth waits.",
    ),
    ("sheets.batch_records_max", "Rows of one request, at most."),
    ("sheets.batch_cells_max", "Cells of one request, at most."),
    (
        "sheets.batch_bytes_max",
        "Bytes of one request, about. Google recommends 2 MB at most.",
    ),
    (
        "sheets.requests_max",
        "Requests under way at once; memory: some 8 MB each.",
    ),
    (
        "sheets.cells_max",
        "Google's limit on one spreadsheet's cells, over all tabs: at 90 % of it a form goes on in its \
         task's next spare.",
    ),
    ("log", "What this process tells, on standard error."),
    ("log.format", "`human` or `json` (one object a line)."),
    (
        "log.level",
        "A level, and levels by room: error, warn, info, debug, trace.",
    ),
    (
        "stop",
        "SIGTERM or Ctrl-C: a second one ends the process at once; nothing is lost by it.",
    ),
    (
        "stop.grace_ms",
        "How long each stage may take to finish what is at hand.",
    ),
    (
        "stop.linger_ms",
        "One of several nodes goes on serving and forwarding for so long after /readyz says that \
         it stops, so that nobody is sent to a closed door. A node alone does not wait.",
    ),
    (
        "clock",
        "Wall time, which is shown to people and decides nothing.",
    ),
    (
        "clock.offset_ms",
        "A test aid: added to the system's clock, to show that a jump changes nothing.",
    ),
];

/// All settings with their defaults, explained: a settings file that changes nothing.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Every setting of formspool with its default. Keep only the lines that you change.\n\
         # Printed by `formspool config default`. In the environment http.listen is\n\
         # FORMSPOOL_HTTP__LISTEN; the environment wins over the file. Unknown keys are errors:\n\
         # `formspool check` tells every problem at once.\n\n",
    );
    section(&Config::default_table(), "", &mut text);
    text
}

/// Plain settings first: in TOML they belong to the heading above them.
fn section(table: &Table, prefix: &str, text: &mut String) {
    let key_of = |name: &str| format!("{prefix}{name}");
    for (name, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        comment(&key_of(name), text);
        text.extend([name, " = ", &value.to_string(), "\n"]);
    }
    for (name, value) in table {
        if let Value::Table(inner) = value {
            let key = key_of(name);
            text.push('\n');
            comment(&key, text);
            text.extend(["[", &key, "]\n"]);
            section(inner, &format!("{key}."), text);
        }
    }
}

fn comment(key: &str, text: &mut String) {
    let words = WORDS
        .iter()
        .find(|(known, _)| *known == key)
        .map_or("", |(_, words)| words);
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

const WIDTH: usize = 92;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn keys(table: &Table, prefix: &str, found: &mut BTreeSet<String>) {
        for (name, value) in table {
            found.insert(format!("{prefix}{name}"));
            if let Value::Table(inner) = value {
                keys(inner, &format!("{prefix}{name}."), found);
            }
        }
    }

    #[test]
    fn every_setting_has_its_sentence_and_every_sentence_its_setting() {
        let mut settings = BTreeSet::new();
        keys(&Config::default_table(), "", &mut settings);
        let told: BTreeSet<String> = WORDS.iter().map(|(key, _)| (*key).to_owned()).collect();
        assert_eq!(told.len(), WORDS.len(), "each once");
        assert_eq!(told, settings);
    }

    #[test]
    fn the_default_file_reads_back_as_the_defaults() {
        let table: Table = default_file().parse().unwrap();
        assert_eq!(table, Config::default_table());
    }

    #[test]
    fn the_settings_file_in_deploy_is_what_config_default_prints() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/formspool.toml");
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        let hint = "formspool config default > deploy/formspool.toml";
        assert!(there == default_file(), "{} is old: {hint}", path.display());
    }
}
