//! Definitions from files: forms and tasks as people keep them beside their code.
//!
//! Holds: reading tells every problem of every file at once, each with its file. The forms and
//! tasks that this product ships are in the binary too, so that it starts alone in an empty
//! directory.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use storage::{Command, DefineForm, DefineTask, Expect};

use crate::forms::{Definition, TaskDefinition};

/// A definition and where it was read.
#[derive(Clone, Debug)]
pub struct Found {
    /// The file.
    pub source: String,
    /// What stands there.
    pub item: Item,
}

/// A form or a task.
#[derive(Clone, Debug)]
pub enum Item {
    /// What may be submitted.
    Form(Box<Definition>),
    /// Where it goes.
    Task(Box<TaskDefinition>),
}

/// The files of `deploy/forms` and `deploy/tasks`, as they were at build time.
const SHIPPED: [(&str, &str); 4] = [
    (
        "forms/student-data.toml",
        include_str!("../deploy/forms/student-data.toml"),
    ),
    ("forms/demo.toml", include_str!("../deploy/forms/demo.toml")),
    (
        "tasks/student-sheet.toml",
        include_str!("../deploy/tasks/student-sheet.toml"),
    ),
    (
        "tasks/demo-sheet.toml",
        include_str!("../deploy/tasks/demo-sheet.toml"),
    ),
];

/// What this product brings along.
pub fn shipped() -> Result<Vec<Found>, Vec<String>> {
    let no_files = |name: &str| Err(io::Error::new(io::ErrorKind::NotFound, name.to_owned()));
    let read =
        |&(source, text): &(&str, &str)| parse(&format!("shipped {source}"), text, &no_files);
    sorted(SHIPPED.iter().map(read).collect())
}

/// Reads files, and directories of `*.toml`.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Found>, Vec<String>> {
    let mut results = Vec::new();
    for path in paths {
        match files_of(path) {
            Ok(files) => results.extend(files.iter().map(|file| read_file(file))),
            Err(error) => results.push(Err(vec![format!(
                "cannot read {}: {error}",
                path.display()
            )])),
        }
    }
    sorted(results)
}

/// All or every problem; forms before the tasks that need them.
fn sorted(results: Vec<Result<Found, Vec<String>>>) -> Result<Vec<Found>, Vec<String>> {
    let mut found: Vec<Found> = Vec::new();
    let mut problems = Vec::new();
    for result in results {
        match result {
            Ok(item) => match found
                .iter()
                .find(|other| other.item.is_same_name(&item.item))
            {
                Some(other) => problems.push(format!(
                    "{}: {} is defined in {} too",
                    item.source,
                    item.item.name(),
                    other.source
                )),
                None => found.push(item),
            },
            Err(more) => problems.extend(more),
        }
    }
    found.sort_by_key(|found| matches!(found.item, Item::Task(_)));
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Found, Vec<String>> {
    let source = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![format!("cannot read {source}: {error}")])?;
    let beside = path.parent().unwrap_or(Path::new(".")).to_owned();
    parse(&source, &text, &|name| {
        std::fs::read_to_string(beside.join(name))
    })
}

/// A task names a sink, a form never does: that tells them apart.
fn parse(
    source: &str,
    text: &str,
    read: &dyn Fn(&str) -> io::Result<String>,
) -> Result<Found, Vec<String>> {
    let table = text
        .parse::<toml::Table>()
        .map_err(|error| vec![in_file(source, &error)])?;
    let item = if table.contains_key("sink") {
        TaskDefinition::from_toml(text).map(|task| Item::Task(Box::new(task)))
    } else {
        Definition::from_toml(text, read).map(|form| Item::Form(Box::new(form)))
    };
    match item {
        Ok(item) => Ok(Found {
            source: source.to_owned(),
            item,
        }),
        Err(problems) => Err(problems
            .iter()
            .map(|problem| in_file(source, problem))
            .collect()),
    }
}

fn in_file(source: &str, problem: &dyn std::fmt::Display) -> String {
    format!("{source}: {}", problem.to_string().trim_end())
}

impl Item {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Form(form) => &form.name,
            Self::Task(task) => &task.name,
        }
    }

    /// `form` or `task`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Form(_) => "form",
            Self::Task(_) => "task",
        }
    }

    /// As the replicated state keeps it.
    pub fn to_json(&self) -> Bytes {
        match self {
            Self::Form(form) => form.to_json(),
            Self::Task(task) => task.to_json(),
        }
    }

    /// The command that defines it.
    pub fn command(&self, expect: Expect) -> Command {
        let (name, definition) = (self.name().to_owned(), self.to_json());
        match self {
            Self::Form(_) => Command::DefineForm(DefineForm {
                name,
                expect,
                definition,
            }),
            Self::Task(task) => {
                let start = task.start.into();
                Command::DefineTask(DefineTask {
                    name,
                    expect,
                    definition,
                    start,
                })
            }
        }
    }

    fn is_same_name(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.name() == other.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "name = 'a-sheet'\nforms = ['a']\nsink = 'csv'\n";
    const FORM: &str = "name = 'a'\n[schema]\ntype = 'object'\n";

    #[test]
    fn what_is_shipped_is_sound_and_every_shipped_file_is_embedded() {
        let found = shipped().unwrap();
        assert_eq!(found.len(), SHIPPED.len());
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let files = read(&[deploy.join("forms"), deploy.join("tasks")]).unwrap();
        assert_eq!(files.len(), SHIPPED.len());
    }

    #[test]
    fn forms_come_before_tasks_and_problems_of_all_files_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("1.toml", TASK);
        write("2.toml", FORM);
        write("3.txt", "no definition");
        let found = read(&[dir.path().to_owned()]).unwrap();
        let kinds: Vec<_> = found.iter().map(|found| found.item.kind()).collect();
        assert_eq!(kinds, ["form", "task"]);
        write("4.toml", "name = 'a'\n[schema]\ntype = 'object'\n");
        write("5.toml", "name = ");
        write("6.toml", "name = 'B'\nsink = 'csv'\n");
        let problems = read(&[dir.path().to_owned()]).unwrap_err();
        for file in ["4.toml", "5.toml", "6.toml"] {
            assert!(
                problems.iter().any(|problem| problem.contains(file)),
                "{file}: {problems:?}"
            );
        }
    }
}
