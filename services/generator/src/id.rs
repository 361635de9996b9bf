use jiff::Timestamp;
use rand::RngCore;
use uuid::Builder;

/// A new id for an event of this moment: a UUIDv7, which grows with time.
pub fn event_id(at: Timestamp) -> String {
    event_id_from(&mut rand::rng(), at.as_millisecond())
}

/// The same from a generator of one's own. Times before 1970 count as 1970.
pub(crate) fn event_id_from(rng: &mut impl RngCore, time_ms: i64) -> String {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    let time_ms = u64::try_from(time_ms).unwrap_or(0);
    Builder::from_unix_timestamp_millis(time_ms, &random).into_uuid().to_string()
}
