use crate::HistoryError;

/// Where a partition that was stopped goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Offset of the history that the next record has.
    pub next: i64,
    /// What is added to an offset of the log for the offset of the history.
    pub log_shift: i64,
    /// Offsets before `next` that stay without a record.
    pub skipped: i64,
}

impl Resumed {
    pub(crate) fn nothing_stored(stream: &str, partition: i32) -> HistoryError {
        HistoryError::Refused(format!("nothing was ever stored of {stream}/{partition}: nothing stops it"))
    }

    /// A partition whose next record would have had the offset `next`, with a log that is read from its offset `from` on.
    /// What would lie before `next` goes behind it: no offset is used twice.
    pub(crate) fn new(next: i64, log_shift: i64, from: i64) -> Self {
        let at = from.saturating_add(log_shift);
        if at >= next {
            Self { next: at, log_shift, skipped: at - next }
        } else {
            Self { next, log_shift: next - from, skipped: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Resumed;

    #[test]
    fn offsets_go_on_where_they_ended() {
        assert_eq!(Resumed::new(20, 0, 32), Resumed { next: 32, log_shift: 0, skipped: 12 });
        assert_eq!(Resumed::new(20, 0, 0), Resumed { next: 20, log_shift: 20, skipped: 0 });
        assert_eq!(Resumed::new(50, 20, 0), Resumed { next: 50, log_shift: 50, skipped: 0 });
        assert_eq!(Resumed::new(50, 20, 35), Resumed { next: 55, log_shift: 20, skipped: 5 });
        assert_eq!(Resumed::new(50, 20, 30), Resumed { next: 50, log_shift: 20, skipped: 0 });
    }
}
