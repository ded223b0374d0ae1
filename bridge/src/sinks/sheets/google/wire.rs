//! Our words as Google's, and Google's as ours.
//!
//! Holds: one edit is one request, in the same place of the batch. Zeros that Google leaves out of its
//! answers are read as zeros.

use google_sheets4::FieldMask;
use google_sheets4::api::{
    AddSheetRequest, AppendCellsRequest, BasicFilter, BatchUpdateSpreadsheetResponse, CellData,
    CellFormat, CreateDeveloperMetadataRequest, DataFilter, DeleteDeveloperMetadataRequest,
    DeleteSheetRequest, DeveloperMetadata, DeveloperMetadataLocation, DeveloperMetadataLookup,
    DimensionRange, ExtendedValue, GridCoordinate, GridProperties, GridRange,
    InsertDimensionRequest, MoveDimensionRequest, NumberFormat, RepeatCellRequest, Request,
    RowData, SetBasicFilterRequest, Sheet, SheetProperties, UpdateCellsRequest,
    UpdateSheetPropertiesRequest,
};

use super::super::api::{Cell, Done, Edit, Item, Lookup, Pattern, Spot, Tab};

pub(super) fn done(answer: BatchUpdateSpreadsheetResponse) -> Done {
    let replies = answer.replies.unwrap_or_default();
    let deleted = replies.into_iter().map(|reply| {
        let deleted = reply.delete_developer_metadata;
        let items = deleted.and_then(|deleted| deleted.deleted_developer_metadata);
        items.map_or(0, |items| items.len())
    });
    Done {
        deleted: deleted.collect(),
        tabs: tabs(answer.updated_spreadsheet.and_then(|book| book.sheets)),
    }
}

pub(super) fn tabs(sheets: Option<Vec<Sheet>>) -> Vec<Tab> {
    let count = |count: Option<i32>| u64::try_from(count.unwrap_or_default()).unwrap_or_default();
    let sheets = sheets.unwrap_or_default().into_iter();
    let properties = sheets.filter_map(|sheet| sheet.properties);
    let tabs = properties.map(|properties| {
        let grid = properties.grid_properties.unwrap_or_default();
        Tab {
            id: properties.sheet_id.unwrap_or_default(),
            title: properties.title.unwrap_or_default(),
            rows: count(grid.row_count),
            columns: count(grid.column_count),
            frozen_rows: u32::try_from(grid.frozen_row_count.unwrap_or_default())
                .unwrap_or_default(),
        }
    });
    tabs.collect()
}

pub(super) fn item(found: DeveloperMetadata) -> Option<Item> {
    let location = found.location.unwrap_or_default();
    let is_tab = location.location_type.as_deref() == Some("SHEET");
    let spot = match (location.dimension_range, location.sheet_id) {
        (Some(range), _) if range.dimension.as_deref() == Some("COLUMNS") => Spot::Column {
            tab: range.sheet_id.unwrap_or_default(),
            at: u32::try_from(range.start_index.unwrap_or_default()).ok()?,
        },
        (None, Some(tab)) => Spot::Tab(tab),
        (None, None) if is_tab => Spot::Tab(0),
        _ => Spot::Elsewhere,
    };
    Some(Item {
        id: found.metadata_id?,
        key: found.metadata_key.unwrap_or_default(),
        value: found.metadata_value.unwrap_or_default(),
        spot,
    })
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn columns(tab: i32, at: u32, count: u32) -> DimensionRange {
    DimensionRange {
        sheet_id: Some(tab),
        dimension: Some("COLUMNS".to_owned()),
        start_index: Some(whole(at)),
        end_index: Some(whole(at.saturating_add(count))),
    }
}

fn location(spot: Spot) -> DeveloperMetadataLocation {
    match spot {
        Spot::Tab(tab) => DeveloperMetadataLocation {
            sheet_id: Some(tab),
            ..Default::default()
        },
        Spot::Column { tab, at } => DeveloperMetadataLocation {
            dimension_range: Some(columns(tab, at, 1)),
            ..Default::default()
        },
        Spot::Elsewhere => DeveloperMetadataLocation {
            spreadsheet: Some(true),
            ..Default::default()
        },
    }
}

fn lookup(lookup: Lookup) -> DataFilter {
    DataFilter {
        developer_metadata_lookup: Some(DeveloperMetadataLookup {
            metadata_id: Some(lookup.id),
            metadata_value: lookup.value,
            location_matching_strategy: lookup.spot.map(|_| "EXACT_LOCATION".to_owned()),
            metadata_location: lookup.spot.map(location),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn text(text: String) -> CellData {
    let value = ExtendedValue {
        string_value: Some(text),
        ..Default::default()
    };
    cell_of(value)
}

fn cell_of(value: ExtendedValue) -> CellData {
    CellData {
        user_entered_value: Some(value),
        ..Default::default()
    }
}

fn cell(cell: Cell) -> CellData {
    match cell {
        Cell::Empty => CellData::default(),
        Cell::Text(value) => text(value),
        Cell::Number(number) => cell_of(ExtendedValue {
            number_value: Some(number),
            ..Default::default()
        }),
        Cell::Bool(is_true) => cell_of(ExtendedValue {
            bool_value: Some(is_true),
            ..Default::default()
        }),
    }
}

fn row(cells: Vec<CellData>) -> RowData {
    RowData {
        values: Some(cells),
    }
}

fn mask(name: &str) -> FieldMask {
    FieldMask::new(&[name])
}

/// An edit as Google wants it.
pub(super) fn request(edit: Edit) -> Request {
    match edit {
        Edit::Delete(which) => Request {
            delete_developer_metadata: Some(DeleteDeveloperMetadataRequest {
                data_filter: Some(lookup(which)),
            }),
            ..Default::default()
        },
        Edit::Create(item) => create(item),
        Edit::Append { tab, rows } => append(tab, rows),
        Edit::Header { tab, at, texts } => header(tab, at, texts),
        Edit::AddTab {
            tab,
            title,
            rows,
            columns,
        } => add_tab(tab, title, (rows, columns)),
        Edit::Freeze { tab } => freeze(tab),
        Edit::InsertColumns { tab, at, count } => Request {
            insert_dimension: Some(InsertDimensionRequest {
                range: Some(columns(tab, at, count)),
                // Google wants it at the right edge, and refuses it at the left one.
                inherit_from_before: Some(at > 0),
            }),
            ..Default::default()
        },
        Edit::Dates { tab, at, pattern } => dates(tab, at, pattern),
        Edit::MoveColumn { tab, from, to } => Request {
            move_dimension: Some(MoveDimensionRequest {
                source: Some(columns(tab, from, 1)),
                destination_index: Some(whole(to)),
            }),
            ..Default::default()
        },
        Edit::Filter { tab } => filter(tab),
        Edit::DeleteTab { tab } => Request {
            delete_sheet: Some(DeleteSheetRequest {
                sheet_id: Some(tab),
            }),
            ..Default::default()
        },
    }
}

fn create(item: Item) -> Request {
    Request {
        create_developer_metadata: Some(CreateDeveloperMetadataRequest {
            developer_metadata: Some(DeveloperMetadata {
                metadata_id: Some(item.id),
                metadata_key: Some(item.key),
                metadata_value: Some(item.value),
                // Stays ours to see when the credential moves to another project.
                visibility: Some("DOCUMENT".to_owned()),
                location: Some(location(item.spot)),
            }),
        }),
        ..Default::default()
    }
}

fn append(tab: i32, rows: Vec<Vec<Cell>>) -> Request {
    let rows = rows.into_iter();
    let rows = rows.map(|cells| row(cells.into_iter().map(cell).collect()));
    Request {
        append_cells: Some(AppendCellsRequest {
            sheet_id: Some(tab),
            fields: Some(mask("userEnteredValue")),
            rows: Some(rows.collect()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn header(tab: i32, at: u32, texts: Vec<String>) -> Request {
    Request {
        update_cells: Some(UpdateCellsRequest {
            start: Some(GridCoordinate {
                sheet_id: Some(tab),
                row_index: Some(0),
                column_index: Some(whole(at)),
            }),
            fields: Some(mask("userEnteredValue")),
            rows: Some(vec![row(texts.into_iter().map(text).collect())]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn add_tab(tab: i32, title: String, (rows, columns): (u32, u32)) -> Request {
    Request {
        add_sheet: Some(AddSheetRequest {
            properties: Some(SheetProperties {
                sheet_id: Some(tab),
                title: Some(title),
                grid_properties: Some(GridProperties {
                    row_count: Some(whole(rows)),
                    column_count: Some(whole(columns)),
                    frozen_row_count: Some(1),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

fn freeze(tab: i32) -> Request {
    Request {
        update_sheet_properties: Some(UpdateSheetPropertiesRequest {
            properties: Some(SheetProperties {
                sheet_id: Some(tab),
                grid_properties: Some(GridProperties {
                    frozen_row_count: Some(1),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            fields: Some(mask("gridProperties.frozenRowCount")),
        }),
        ..Default::default()
    }
}

fn filter(tab: i32) -> Request {
    Request {
        set_basic_filter: Some(SetBasicFilterRequest {
            filter: Some(BasicFilter {
                range: Some(GridRange {
                    sheet_id: Some(tab),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

fn dates(tab: i32, at: u32, pattern: Pattern) -> Request {
    let (kind, pattern) = match pattern {
        Pattern::Day => ("DATE", "yyyy-mm-dd"),
        Pattern::Moment => ("DATE_TIME", "yyyy-mm-dd hh:mm:ss"),
    };
    Request {
        repeat_cell: Some(RepeatCellRequest {
            range: Some(GridRange {
                sheet_id: Some(tab),
                start_row_index: Some(1),
                start_column_index: Some(whole(at)),
                end_column_index: Some(whole(at.saturating_add(1))),
                ..Default::default()
            }),
            cell: Some(CellData {
                user_entered_format: Some(CellFormat {
                    number_format: Some(NumberFormat {
                        type_: Some(kind.to_owned()),
                        pattern: Some(pattern.to_owned()),
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            fields: Some(mask("userEnteredFormat.numberFormat")),
        }),
        ..Default::default()
    }
}
