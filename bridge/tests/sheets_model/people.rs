//! What people do to a sheet while rows come in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge::testing::sheets::Cell;

use super::dice::Dice;
use super::google::Book;

impl Book {
    /// An edit that may come at any moment.
    pub(crate) fn any_edit(&mut self, dice: &mut Dice) {
        let what = dice.below(8);
        if self.sheets.is_empty() {
            return;
        }
        let at = dice.below(self.sheets.len());
        let made = 1 << 40 | dice.below(1 << 30) as u64;
        let sheet = &mut self.sheets[at];
        let count = sheet.columns.len();
        let (from, to) = (dice.below(count), dice.below(count));
        match what {
            // Moves a column.
            0 | 1 => {
                let column = sheet.columns.remove(from);
                sheet.columns.insert(to, column);
            }
            // Makes a column of their own.
            2 => sheet.columns.insert(from, made),
            // Sorts.
            3 => {
                let rows = &mut sheet.rows[1..];
                for at in (1..rows.len()).rev() {
                    rows.swap(at, dice.below(at + 1));
                }
            }
            // Makes a row, empty or not.
            4 => {
                let row = 1 + dice.below(sheet.rows.len());
                let note = Cell::Text("a note".to_owned());
                let cells = BTreeMap::from([(sheet.columns[from], note)]);
                let cells = if dice.one_in(2) {
                    cells
                } else {
                    BTreeMap::new()
                };
                sheet.rows.insert(row, Arc::new(cells));
            }
            // Deletes a row.
            5 => {
                if sheet.rows.len() > 1 {
                    let row = 1 + dice.below(sheet.rows.len() - 1);
                    sheet.rows.remove(row);
                }
            }
            // Gives a column another title.
            6 => {
                let header = Arc::make_mut(&mut sheet.rows[0]);
                header.insert(sheet.columns[from], Cell::Text("renamed".to_owned()));
            }
            // Writes into a column.
            _ => {
                let row = dice.below(sheet.rows.len());
                let row = Arc::make_mut(&mut sheet.rows[row]);
                row.insert(sheet.columns[from], Cell::Text("by hand".to_owned()));
            }
        }
    }

    /// Deletes a column: while nobody else edits.
    pub(crate) fn delete_column(&mut self, dice: &mut Dice) {
        if self.sheets.is_empty() {
            return;
        }
        let at = dice.below(self.sheets.len());
        let sheet = &mut self.sheets[at];
        if sheet.columns.len() > 1 {
            sheet.columns.remove(dice.below(sheet.columns.len()));
        }
        self.forget_the_dead();
    }
}
