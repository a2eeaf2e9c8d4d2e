//! One value of one row, whatever it is: rows under suspicion are read without assuming their types.

use std::fmt;

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, TypeInfo, Value, ValueRef};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
    /// Text that is no UTF-8, a fraction, or no such column.
    Unreadable,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Cell {
    /// Long values are cut: a finding is read by a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("empty"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => {
                let cut: String = text.chars().take(80).collect();
                write!(f, "“{cut}{}”", if cut.len() < text.len() { "…" } else { "" })
            }
            Self::Blob(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

/// The value in a column.
pub(crate) fn read(row: &SqliteRow, column: &str) -> Cell {
    fn decoded<'r, T: Decode<'r, Sqlite>>(raw: sqlx::sqlite::SqliteValueRef<'r>, make: fn(T) -> Cell) -> Cell {
        T::decode(raw).map_or(Cell::Unreadable, make)
    }
    let Ok(raw) = row.try_get_raw(column) else {
        return Cell::Unreadable;
    };
    if raw.is_null() {
        return Cell::Null;
    }
    let kind = raw.to_owned().type_info().name().to_owned();
    match kind.as_str() {
        "INTEGER" => decoded(raw, Cell::Int),
        "TEXT" => decoded(raw, Cell::Text),
        "BLOB" => decoded(raw, Cell::Blob),
        _ => Cell::Unreadable,
    }
}

/// A sentence for each column that does not hold what the journal says.
pub(crate) fn differences(row: &SqliteRow, due: Vec<(&'static str, Cell)>) -> Vec<String> {
    due.into_iter()
        .filter_map(|(column, due)| {
            let found = read(row, column);
            (found != due).then(|| format!("{column} is {found}, but the journal says {due}"))
        })
        .collect()
}
