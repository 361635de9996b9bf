use bytes::{BufMut, Bytes, BytesMut};
use headwater_domain::StoredEvent;
use tokio_postgres::types::{IsNull, ToSql, Type};

use super::table::write_row;
use super::value::Cell;
use crate::HistoryError;

/// What every COPY in binary form begins with: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Bytes that are sent at once. The driver's own writer sends 4 KiB, each of which wakes the task of the connection
/// and has it write to the socket: a good part of the time of a COPY.
const CHUNK_BYTES: usize = 64 * 1024;

/// Rows in the form that `COPY … FROM STDIN BINARY` reads.
pub(super) struct CopyRows<'a> {
    types: Vec<Type>,
    cells: Vec<Cell<'a>>,
    out: BytesMut,
}

impl<'a> CopyRows<'a> {
    /// The types are those of the columns that `write_row` makes cells for.
    pub(super) fn new(types: Vec<Type>) -> Self {
        let mut out = BytesMut::with_capacity(2 * CHUNK_BYTES);
        out.put_slice(HEADER);
        Self { cells: Vec::with_capacity(types.len()), types, out }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// `Refused` where a value is not of its column's kind, or is longer than 2 GiB.
    pub(super) fn write(&mut self, partition: i32, row: &'a StoredEvent) -> Result<(), HistoryError> {
        let refuse = |fault: &dyn std::fmt::Display| HistoryError::Refused(format!("offset {}: {fault}", row.offset));
        write_row(&mut self.cells, partition, row);
        let count = i16::try_from(self.cells.len()).map_err(|fault| refuse(&fault))?;
        self.out.put_i16(count);
        for (cell, ty) in self.cells.iter().zip(&self.types) {
            let at = self.out.len();
            self.out.put_i32(-1);
            if let IsNull::No = cell.to_sql(ty, &mut self.out).map_err(|fault| refuse(&fault))? {
                let length = i32::try_from(self.out.len() - at - 4).map_err(|fault| refuse(&fault))?;
                self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(())
    }

    /// What is to be sent, once there is enough of it.
    pub(super) fn chunk(&mut self) -> Option<Bytes> {
        (self.out.len() >= CHUNK_BYTES).then(|| self.out.split().freeze())
    }

    /// The rest, and the end.
    pub(super) fn end(mut self) -> Bytes {
        self.out.put_i16(-1);
        self.out.freeze()
    }
}
