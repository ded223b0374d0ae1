//! The names around one sheet.
//!
//! ```text
//! <dir>/demo.csv               the sheet
//! <dir>/.demo.csv.cursor       its sidecar: how far it is ours, and where it stands in the log
//! <dir>/.demo.csv.new          the next sheet, while it is written; never read
//! <dir>/.demo.csv.cursor.new   the next sidecar, while it is written; never read
//! <dir>/demo.kept-1.csv        a sheet that was not as we left it; never touched again
//! ```
//! Holds: every name lies below the sheets' directory, whatever a definition says.

use std::path::{Component, Path, PathBuf};

/// What stands for the form's name in a path.
pub(super) const FORM: &str = "{form}";
/// File systems take 255 bytes; what is added to a sheet's name needs some of them.
const NAME_BYTES_MAX: usize = 200;

#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) dir: PathBuf,
    pub(super) csv: PathBuf,
    pub(super) csv_new: PathBuf,
    pub(super) sidecar: PathBuf,
    pub(super) sidecar_new: PathBuf,
}

impl Names {
    /// The names of `form`'s sheet by the template `path`, below `root`.
    pub(super) fn new(root: &Path, path: &str, form: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("csv.path {path:?} {why}"));
        let below = PathBuf::from(path.replace(FORM, form));
        if !below
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return refuse("must stay below the sheets' directory");
        }
        let name = match below.file_name().and_then(|name| name.to_str()) {
            Some(name) if !path.ends_with('/') => name,
            _ => return refuse("names no file"),
        };
        if name.starts_with('.') {
            return refuse("names a hidden file; those are the cursors");
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse("is too long a name");
        }
        let csv = root.join(&below);
        let beside = |name: String| csv.with_file_name(name);
        Ok(Self {
            dir: csv.parent().map(Path::to_path_buf).unwrap_or_default(),
            csv_new: beside(format!(".{name}.new")),
            sidecar: beside(format!(".{name}.cursor")),
            sidecar_new: beside(format!(".{name}.cursor.new")),
            csv,
        })
    }

    /// Where the `n`th sheet that was not as we left it is kept.
    pub(super) fn kept(&self, n: u32) -> PathBuf {
        let stem = self.csv.file_stem().unwrap_or_default().to_string_lossy();
        let name = match self.csv.extension() {
            Some(extension) => format!("{stem}.kept-{n}.{}", extension.to_string_lossy()),
            None => format!("{stem}.kept-{n}"),
        };
        self.csv.with_file_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_beside_the_sheet() {
        let names = Names::new(Path::new("sheets"), "by-form/{form}.csv", "demo").unwrap();
        assert_eq!(names.csv, Path::new("sheets/by-form/demo.csv"));
        assert_eq!(names.dir, Path::new("sheets/by-form"));
        assert_eq!(names.sidecar, Path::new("sheets/by-form/.demo.csv.cursor"));
        assert_eq!(names.kept(2), Path::new("sheets/by-form/demo.kept-2.csv"));
    }
}
