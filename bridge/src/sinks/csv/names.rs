//! The names around one sheet.
//!
//! ```text
//! <dir>/demo.csv               the sheet
//! <dir>/.demo.csv.cursor       its sidecar: how far it is ours, and where it stands in the log
//! <dir>/.demo.csv.new          the next sheet, while it is written; never read
//! <dir>/.demo.csv.cursor.new   the next sidecar, while it is written; never read
//! <dir>/demo.kept-1.csv        a sheet that was not as we left it, or not the log's; never touched again
//! ```
//! Holds: every name lies in the sheets' directory itself, whatever a definition says.

use std::path::{Path, PathBuf};

/// What stands for the form's name in a path.
pub(super) const FORM: &str = "{form}";
/// File systems take 255 bytes; what is added to a sheet's name needs some of them.
const NAME_BYTES_MAX: usize = 200;
/// Leaves room in a name for the form's.
const PATH_BYTES_MAX: usize = 128;

/// What is wrong with the template `path`, whatever form it is for.
pub(super) fn problem(path: &str) -> Option<String> {
    if path.len() > PATH_BYTES_MAX {
        return Some(format!("csv.path: at most {PATH_BYTES_MAX} bytes"));
    }
    Names::new(Path::new(""), path, "form").err()
}

#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) dir: PathBuf,
    pub(super) csv: PathBuf,
    pub(super) csv_new: PathBuf,
    pub(super) sidecar: PathBuf,
    pub(super) sidecar_new: PathBuf,
}

impl Names {
    /// The names of `form`'s sheet by the template `path`, in `root`.
    pub(super) fn new(root: &Path, path: &str, form: &str) -> Result<Self, String> {
        let name = path.replace(FORM, form);
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte);
        let is_sheet = name
            .strip_suffix(".csv")
            .is_some_and(|stem| !stem.is_empty());
        // A hidden name could be a sidecar's.
        if !name.bytes().all(is_known) || name.starts_with('.') || !is_sheet {
            return Err(format!(
                "csv.path {path:?}: a plain file name that ends with .csv"
            ));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("csv.path {path:?}: too long a name for {form}"));
        }
        Ok(Self {
            dir: root.to_path_buf(),
            csv: root.join(&name),
            csv_new: root.join(format!(".{name}.new")),
            sidecar: root.join(format!(".{name}.cursor")),
            sidecar_new: root.join(format!(".{name}.cursor.new")),
        })
    }

    /// Where the `n`th sheet that was not as we left it is kept.
    pub(super) fn kept(&self, n: u32) -> PathBuf {
        let stem = self.csv.file_stem().unwrap_or_default().to_string_lossy();
        self.csv.with_file_name(format!("{stem}.kept-{n}.csv"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_beside_the_sheet() {
        let names = Names::new(Path::new("sheets"), "{form}.csv", "demo").unwrap();
        assert_eq!(names.csv, Path::new("sheets/demo.csv"));
        assert_eq!(names.dir, Path::new("sheets"));
        assert_eq!(names.sidecar, Path::new("sheets/.demo.csv.cursor"));
        assert_eq!(names.kept(2), Path::new("sheets/demo.kept-2.csv"));
    }
}
