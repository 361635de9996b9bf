use std::io::Read;

use anyhow::bail;
use headwater_client::v1::ingest::Record;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::convert::{Converted, Converter, LineDefect};
use super::lines::{Line, Lines};

/// Longest line, in bytes: the platform takes no larger record.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Size of a batch, give or take a record: half of what the platform takes in a message.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Lines that a batch covers, so that a file of refused or empty ones reports, too.
const BATCH_LINES_MAX: usize = 20_000;

/// What is read from.
pub(super) struct Source {
    pub(super) input: Box<dyn Read + Send>,
    /// Somebody may be typing: what is there is sent before more is waited for.
    pub(super) interactive: bool,
}

/// How much goes into a batch.
pub(super) struct Limits {
    pub(super) batch_records_max: usize,
}

/// Records, and the lines that they and the refused ones stand in.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) lines: BatchLines,
}

/// The lines of a batch.
#[derive(Debug, Default)]
pub(super) struct BatchLines {
    /// Number of the line of each record, in order.
    pub(super) of_records: Vec<u64>,
    /// Lines that are no events.
    pub(super) defects: Vec<(u64, LineDefect)>,
    /// Bytes of the input up to the end of the batch.
    pub(super) bytes: u64,
}

/// Reads lines to the end, until nobody takes the batches, or until told to stop.
pub(super) fn read(
    source: Source,
    mut converter: Converter,
    limits: Limits,
    batches: &mpsc::Sender<Batch>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let interactive = source.interactive;
    let mut lines = Lines::new(source.input, LINE_BYTES_MAX);
    let mut records = Vec::new();
    let mut covered = BatchLines::default();
    let mut bytes = 0;
    while !stop.is_cancelled() {
        let Some(line) = lines.next()? else { break };
        let converted = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => None,
            Line::Whole(line) => {
                bytes += line.len();
                match converter.convert(line) {
                    Ok(converted) => Some(converted),
                    Err(full) => bail!(
                        "more than {} different lines without an id: raise --distinct-lines-max (some 40 bytes of memory \
                         each), give the events ids, or split the file (identical lines of two files are one event)",
                        full.distinct_max
                    ),
                }
            }
            Line::TooLong(length) => Some(Converted::Defect(LineDefect::new(
                "RECORD_TOO_LARGE",
                "",
                format!("{length} bytes, more than {LINE_BYTES_MAX}"),
            ))),
        };
        match converted {
            Some(Converted::Record(record)) => {
                records.push(record);
                covered.of_records.push(lines.number);
            }
            Some(Converted::Defect(defect)) => covered.defects.push((lines.number, defect)),
            None => {}
        }
        let full = records.len() >= limits.batch_records_max
            || bytes >= BATCH_BYTES_MAX
            || covered.defects.len() >= BATCH_LINES_MAX
            || (interactive && lines.may_wait());
        if full && !hand_over(&mut records, &mut covered, lines.bytes, batches) {
            return Ok(());
        }
        if full {
            bytes = 0;
        }
    }
    hand_over(&mut records, &mut covered, lines.bytes, batches);
    Ok(())
}

fn hand_over(records: &mut Vec<Record>, covered: &mut BatchLines, bytes: u64, batches: &mpsc::Sender<Batch>) -> bool {
    if covered.of_records.is_empty() && covered.defects.is_empty() {
        return true;
    }
    covered.bytes = bytes;
    let batch = Batch { records: std::mem::take(records), lines: std::mem::take(covered) };
    batches.blocking_send(batch).is_ok()
}
