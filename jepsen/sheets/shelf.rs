//! A spreadsheet with its past: versions to go back to, deleted tabs, those it is shared with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::book::metadata::{Item, Spot};
use crate::book::{Book, Tab};
use crate::settings::Restored;

const VERSIONS_MAX: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) revision: u64,
    pub(crate) at_ms: u64,
    pub(crate) book: Arc<Book>,
}

#[derive(Debug)]
pub(crate) struct Shelf {
    /// The last is what is there now.
    versions: VecDeque<Version>,
    /// Deleted tabs, with the metadata that they had.
    trash: BTreeMap<i32, (Arc<Tab>, Vec<Item>)>,
    pub(crate) shared: BTreeSet<String>,
    /// Held by a batch while it is under way.
    pub(crate) turn: Arc<Mutex<()>>,
}

impl Shelf {
    pub(crate) fn new(book: Book, at_ms: u64) -> Self {
        let first = Version {
            revision: 1,
            at_ms,
            book: Arc::new(book),
        };
        Self {
            versions: VecDeque::from([first]),
            trash: BTreeMap::new(),
            shared: BTreeSet::new(),
            turn: Arc::default(),
        }
    }

    /// What is there now.
    pub(crate) fn now(&self) -> Version {
        let last = self.versions.back().cloned();
        last.unwrap_or_else(|| Version {
            revision: 0,
            at_ms: 0,
            book: Arc::new(Book::new("", "")),
        })
    }

    /// What was there at that time, or the oldest that is known.
    pub(crate) fn at(&self, at_ms: u64) -> Version {
        let versions = self.versions.iter().rev();
        let then = versions.into_iter().find(|version| version.at_ms <= at_ms);
        then.or_else(|| self.versions.front())
            .cloned()
            .unwrap_or_else(|| self.now())
    }

    /// Puts a new version on top; answers its number.
    pub(crate) fn put(&mut self, book: Book, at_ms: u64) -> u64 {
        let now = self.now();
        for tab in now
            .book
            .tabs
            .iter()
            .filter(|tab| book.tab(tab.id).is_none())
        {
            let items = now.book.items.values();
            let items = items.filter(|item| item.spot.tab() == Some(tab.id));
            let gone = (Arc::clone(tab), items.cloned().collect());
            self.trash.insert(tab.id, gone);
        }
        let revision = now.revision + 1;
        self.versions.push_back(Version {
            revision,
            at_ms,
            book: Arc::new(book),
        });
        if self.versions.len() > VERSIONS_MAX {
            self.versions.pop_front();
        }
        revision
    }

    /// What is there after a person went back to `revision`. `None`: it is not known.
    pub(crate) fn restored(&self, revision: u64, metadata: Restored) -> Option<Book> {
        let mut versions = self.versions.iter();
        let then = versions.find(|version| version.revision == revision)?;
        let mut book = (*then.book).clone();
        if metadata == Restored::Kept {
            let now = self.now().book;
            let kept = now.items.values().filter(|item| has_spot(&book, item.spot));
            let kept = kept.map(|item| (item.id, item.clone())).collect();
            book.items = Arc::new(kept);
        }
        Some(book)
    }

    /// What is there after a person brought a deleted tab back.
    pub(crate) fn untrashed(&self, id: i32, metadata: Restored) -> Option<Book> {
        let (tab, items) = self.trash.get(&id)?;
        let mut book = (*self.now().book).clone();
        if book.tab(id).is_some() || book.titled(&tab.title).is_some() {
            return None;
        }
        book.tabs.push(Arc::clone(tab));
        if metadata == Restored::Restored {
            let all = Arc::make_mut(&mut book.items);
            for item in items {
                all.entry(item.id).or_insert_with(|| item.clone());
            }
        }
        Some(book)
    }

    pub(crate) fn trashed(&self) -> impl Iterator<Item = (i32, &str)> {
        self.trash
            .iter()
            .map(|(id, (tab, _))| (*id, tab.title.as_str()))
    }
}

fn has_spot(book: &Book, spot: Spot) -> bool {
    let tab = spot.tab().and_then(|tab| book.tab(tab));
    match spot {
        Spot::Spreadsheet => true,
        Spot::Tab(_) => tab.is_some(),
        Spot::Row(_, row) => tab.is_some_and(|tab| row < tab.rows.len()),
        Spot::Column(_, slot) => tab.is_some_and(|tab| tab.column_of(slot).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Shelf;
    use crate::book::metadata::{Item, Spot};
    use crate::book::{Book, Tab};
    use crate::settings::Restored;

    fn with_item(mut book: Book, id: i32, value: &str) -> Book {
        let item = Item {
            id,
            key: "k".to_owned(),
            value: Some(value.to_owned()),
            visibility: "DOCUMENT".to_owned(),
            project: String::new(),
            spot: Spot::Tab(1),
        };
        Arc::make_mut(&mut book.items).insert(id, item);
        book
    }

    fn value(book: &Book) -> Option<&str> {
        book.items.get(&7)?.value.as_deref()
    }

    #[test]
    fn a_restored_version_has_its_metadata_or_todays_by_the_switch() {
        let mut book = Book::new("b", "b");
        book.tabs.push(Arc::new(Tab::new(0, "a", 1, 1)));
        book.tabs.push(Arc::new(Tab::new(1, "b", 1, 1)));
        let mut shelf = Shelf::new(with_item(book.clone(), 7, "old"), 10);
        let revision = shelf.put(with_item(book.clone(), 7, "new"), 20);
        assert_eq!(revision, 2);
        let then = shelf.restored(1, Restored::Restored).unwrap();
        assert_eq!(value(&then), Some("old"));
        let kept = shelf.restored(1, Restored::Kept).unwrap();
        assert_eq!(value(&kept), Some("new"));
        assert!(shelf.restored(9, Restored::Kept).is_none());
        assert_eq!(value(&shelf.at(15).book), Some("old"));
        assert_eq!(value(&shelf.at(25).book), Some("new"));
    }

    #[test]
    fn a_deleted_tab_comes_back_with_its_id() {
        let mut book = Book::new("b", "b");
        book.tabs.push(Arc::new(Tab::new(0, "a", 1, 1)));
        book.tabs.push(Arc::new(Tab::new(1, "b", 3, 1)));
        let mut shelf = Shelf::new(with_item(book.clone(), 7, "old"), 10);
        let mut without = (*shelf.now().book).clone();
        without.remove_tab(1);
        assert_eq!(value(&without), None);
        shelf.put(without, 20);
        let back = shelf.untrashed(1, Restored::Restored).unwrap();
        assert_eq!(
            (back.tab(1).unwrap().rows.len(), value(&back)),
            (3, Some("old"))
        );
        let bare = shelf.untrashed(1, Restored::Kept).unwrap();
        assert_eq!(value(&bare), None);
        assert!(shelf.untrashed(5, Restored::Kept).is_none());
    }
}
