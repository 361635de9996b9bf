use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::HistoryError;

/// What an error of the driver means to a caller: whether retrying can help.
pub(super) fn classify(error: &tokio_postgres::Error) -> HistoryError {
    let Some(db) = error.as_db_error() else {
        return without_state(error);
    };
    let text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    if is_passing(db.code()) { HistoryError::Unavailable(text) } else { HistoryError::Refused(text) }
}

/// The same for errors of the pool.
pub(super) fn classify_pool(error: &PoolError) -> HistoryError {
    match error {
        PoolError::Backend(error) => classify(error),
        other => HistoryError::Unavailable(format!("no connection: {other}")),
    }
}

/// Whether the transaction lost against another and can simply be run again.
pub(super) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

/// An error that the server did not send: the connection's, or one of converting values, which no retry mends.
fn without_state(error: &tokio_postgres::Error) -> HistoryError {
    let mut text = error.to_string();
    let mut is_io = false;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        is_io |= cause.is::<std::io::Error>();
        source = cause.source();
    }
    let about_values =
        ["error serializing", "error deserializing", "invalid column", "query returned", "expected", "invalid con"];
    if !is_io && about_values.iter().any(|start| text.starts_with(start)) {
        HistoryError::Refused(text)
    } else {
        HistoryError::Unavailable(text)
    }
}

fn is_passing(state: &SqlState) -> bool {
    // A table that is missing is about to be made by whichever process is first to prepare.
    let single = ["57014", "55P03", "55006", "25006", "25P03", "42P01", "3F000"];
    let classes = ["08", "40", "53", "57P", "58"];
    let code = state.code();
    single.contains(&code) || classes.iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_say_whether_a_retry_can_help() {
        for code in ["57P01", "57P03", "53300", "53100", "08006", "40001", "40P01", "57014", "55P03"] {
            assert!(is_passing(&SqlState::from_code(code)), "{code}");
        }
        for code in ["23505", "42703", "42501", "28P01", "22021", "3D000"] {
            assert!(!is_passing(&SqlState::from_code(code)), "{code}");
        }
    }
}
