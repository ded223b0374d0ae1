//! What a start says to the person at the terminal.
//!
//! Holds: everything on it can be used as it stands: addresses open, the curl line pastes, paths
//! exist, commands run in another terminal of the same directory. The token is on it once, at the start that made it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::{Policy, SyncLatency};

use super::reachable;
use crate::config::Config;

/// The facts of a start.
#[derive(Clone, Debug, Serialize)]
pub struct Banner {
    /// This build.
    pub version: &'static str,
    /// Where everything lives.
    pub data_dir: PathBuf,
    /// True: it was made just now.
    pub is_created: bool,
    /// The cluster's id.
    pub cluster: String,
    /// This node's number.
    pub node: u32,
    /// Where the others are; empty: it is alone.
    pub peers: Vec<String>,
    /// Who leads, if that is known.
    pub leader: Option<u32>,
    /// Records that were there already.
    pub records: u64,
    /// What happened to the state, if it was not simply kept.
    pub rebuilt: Option<String>,
    /// How durable, in words.
    pub durability: String,
    /// The public listener's address as this machine reaches it.
    pub url: String,
    /// Where browsers reach it through a proxy, if one was named.
    pub public_url: Option<String>,
    /// The operators' listener's.
    pub ops_url: String,
    /// What begins a command that asks this node.
    pub command: String,
    /// A form to begin with.
    pub form: Option<String>,
    /// Where its sheet is.
    pub sheet: Option<PathBuf>,
    /// The admin token, at the first start only.
    pub token: Option<String>,
    /// Where the token is kept.
    pub token_file: PathBuf,
    /// Wall time is off by this, for a test.
    pub clock_offset_ms: i64,
}

/// The old stack's example document, which the form `student-data` takes.
const EXAMPLE: &str = r#"{"name":"Saurabh raj","roll":"99999","university":"BCE","cgpa":"8.04","gender":"F","age":"10.11","email":"someone@example.com","mobile":"7004465984"}"#;
const EXAMPLE_FORM: &str = "student-data";

/// The form to show to a newcomer, of those that there are.
pub(super) fn first_form(mut names: Vec<String>) -> Option<String> {
    names.sort_by_key(|name| name != EXAMPLE_FORM);
    names.into_iter().next()
}

/// What an acknowledgement means here, and what it costs on this disk.
pub(super) fn durability_in_words(policy: Policy, sync: Option<SyncLatency>) -> String {
    let ms = |span: std::time::Duration| format!("{:.2} ms", span.as_secs_f64() * 1000.0);
    let cost = match sync {
        Some(sync) => format!(
            "a sync of this disk takes {} (p99 {}, {})",
            ms(sync.p50),
            ms(sync.p99),
            sync.mode
        ),
        None => "what a sync of this disk takes is not known: it is full".to_owned(),
    };
    match policy {
        Policy::Always => {
            format!("a submission is synced to disk before it is acknowledged; {cost}")
        }
        Policy::IntervalMs(interval) => format!(
            "a submission is synced at the latest {interval} ms after it is acknowledged: a power \
             cut may lose that much; {cost}"
        ),
        Policy::Never => format!(
            "the operating system syncs when it likes: a power cut may lose what was \
             acknowledged; {cost}"
        ),
    }
}

/// This program as it was started, told where this node is as far as it would not look there anyway.
pub(super) fn command(exe: &Path, here: &Path, data_dir: &Path, url: &str) -> String {
    let defaults = Config::default();
    let exe = match exe.strip_prefix(here) {
        // A bare name would be looked for elsewhere.
        Ok(name) if name.components().count() == 1 => Path::new(".").join(name),
        Ok(below) => below.to_owned(),
        Err(_) => exe.to_owned(),
    };
    let mut command = quoted(&exe);
    if data_dir != defaults.data_dir {
        command.extend([" --data-dir ", &quoted(data_dir)]);
    }
    if url != format!("http://{}", reachable(defaults.http.listen)) {
        command.extend([" --url ", url]);
    }
    command
}

/// As a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Banner {
    /// For people.
    pub fn in_words(&self) -> String {
        let mut text = format!("formspool {}\n", self.version);
        let mut line = |name: &str, words: String| {
            // Writing to a string cannot fail.
            writeln!(text, "  {name:<11} {words}").unwrap_or_default();
        };
        let found = if self.is_created {
            "created now".to_owned()
        } else {
            format!("found, {} records", self.records)
        };
        line(
            "data",
            format!(
                "{} ({found}; cluster {})",
                self.data_dir.display(),
                self.cluster
            ),
        );
        if !self.peers.is_empty() {
            line("node", self.place());
        }
        if let Some(rebuilt) = &self.rebuilt {
            line("state", rebuilt.clone());
        }
        line("durability", self.durability.clone());
        if self.clock_offset_ms != 0 {
            line(
                "clock",
                format!("off by {} ms (clock.offset_ms)", self.clock_offset_ms),
            );
        }
        if let Some(form) = &self.form {
            line("form", format!("{}/f/{form}", self.public()));
            if form == EXAMPLE_FORM {
                line("try", self.curl(form));
            }
        }
        if let Some(sheet) = &self.sheet {
            line("sheet", sheet.display().to_string());
        }
        if let Some(token) = &self.token {
            let kept = self.token_file.display();
            line(
                "token",
                format!("{token}   (admin; shown this once, kept in {kept})"),
            );
        }
        line("see more", format!("{} status", self.command));
        if let Some(form) = &self.form {
            line("", format!("{} tail {form}", self.command));
        }
        if !self.peers.is_empty() {
            line("", format!("{} cluster status", self.command));
        }
        line("", format!("{} --help", self.command));
        line("", format!("{}/openapi.json", self.public()));
        line("", format!("{}/metrics", self.ops_url));
        text
    }

    /// Which of how many it is, who leads and where the others are.
    fn place(&self) -> String {
        let Self {
            node,
            peers,
            leader,
            ..
        } = self;
        let leads = match leader {
            Some(leader) if leader == node => "it leads".to_owned(),
            Some(leader) => format!("node {leader} leads"),
            None => "NOBODY LEADS YET: submissions are answered 503 until somebody does".to_owned(),
        };
        let (count, peers) = (peers.len() + 1, peers.join(", "));
        format!("{node}, one of {count}; {leads}; the others: {peers}")
    }

    fn public(&self) -> &str {
        self.public_url.as_ref().unwrap_or(&self.url)
    }

    fn curl(&self, form: &str) -> String {
        format!(
            "curl -sS -H 'Content-Type: application/json' -d '{EXAMPLE}' {}/f/{form}",
            self.public()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn banner() -> Banner {
        let sync = SyncLatency {
            p50: Duration::from_micros(420),
            p99: Duration::from_millis(3),
            mode: storage::WriteMode::Direct,
        };
        Banner {
            version: "1.2.3",
            data_dir: PathBuf::from("./data"),
            is_created: true,
            cluster: "c".to_owned(),
            node: 1,
            peers: Vec::new(),
            leader: Some(1),
            records: 0,
            rebuilt: None,
            durability: durability_in_words(Policy::Always, Some(sync)),
            url: "http://127.0.0.1:8080".to_owned(),
            public_url: None,
            ops_url: "http://127.0.0.1:9080".to_owned(),
            command: "target/release/formspool".to_owned(),
            form: first_form(vec!["demo".to_owned(), EXAMPLE_FORM.to_owned()]),
            sheet: None,
            token: Some("fsp_1".to_owned()),
            token_file: PathBuf::from("./data/admin.token"),
            clock_offset_ms: 0,
        }
    }

    #[test]
    fn the_token_is_shown_only_when_it_was_made() {
        let mut banner = banner();
        let text = banner.in_words();
        assert!(
            text.contains("fsp_1") && text.contains("created now"),
            "{text}"
        );
        assert!(text.contains("0.42 ms (p99 3.00 ms, direct)"), "{text}");
        assert!(
            text.contains("http://127.0.0.1:8080/f/student-data\n"),
            "{text}"
        );
        assert!(
            text.contains(" target/release/formspool tail student-data\n"),
            "{text}"
        );
        banner.token = None;
        banner.public_url = Some("https://forms.example".to_owned());
        let text = banner.in_words();
        assert!(
            text.contains(" https://forms.example/f/student-data\n"),
            "{text}"
        );
        assert!(
            !banner.in_words().contains("token"),
            "{}",
            banner.in_words()
        );
    }

    #[test]
    fn one_of_several_says_which_and_who_leads() {
        let mut banner = banner();
        assert!(
            !banner.in_words().contains("one of"),
            "{}",
            banner.in_words()
        );
        banner.peers = vec!["10.0.0.1:7080".to_owned(), "10.0.0.3:7080".to_owned()];
        for (leader, words) in [
            (
                Some(1),
                "1, one of 3; it leads; the others: 10.0.0.1:7080, 10.0.0.3:7080\n",
            ),
            (Some(3), "1, one of 3; node 3 leads; "),
            (None, "NOBODY LEADS YET"),
        ] {
            banner.leader = leader;
            let text = banner.in_words();
            assert!(text.contains(words), "{text}");
            assert!(text.contains("formspool cluster status\n"), "{text}");
        }
    }

    #[test]
    fn a_command_can_be_pasted() {
        let command = |exe: &str, data_dir: &str, url: &str| {
            command(
                Path::new(exe),
                Path::new("/home/me"),
                Path::new(data_dir),
                url,
            )
        };
        let url = "http://127.0.0.1:8080";
        for (exe, expected) in [
            (
                "/home/me/target/release/formspool",
                "target/release/formspool",
            ),
            ("/home/me/formspool", "./formspool"),
            ("/usr/bin/formspool", "/usr/bin/formspool"),
            ("/opt/my tools/it's", r"'/opt/my tools/it'\''s'"),
        ] {
            assert_eq!(command(exe, "./data", url), expected);
        }
        assert_eq!(
            command("/bin/formspool", "/var/lib/fs", "http://127.0.0.1:81"),
            "/bin/formspool --data-dir /var/lib/fs --url http://127.0.0.1:81"
        );
    }
}
