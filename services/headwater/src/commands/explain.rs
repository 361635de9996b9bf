use std::io::{self, Write};
use std::process::ExitCode;

use headwater_client::Error;

use super::console::Console;

/// The platform refused, or a line of what was asked.
pub(crate) const REFUSED: u8 = 1;
/// The platform could not be reached, or not everything was done.
pub(crate) const FAILED: u8 = 2;

/// Says what failed, with all that helps: the fields at fault, the delay, the page to read, how to start the platform.
pub(crate) fn explain(error: &Error, err: &mut dyn Write) -> io::Result<()> {
    writeln!(err, "headwater: {error}")?;
    match error {
        Error::Unreachable { .. } => {
            writeln!(err, "  Nothing answers there. `make run` starts the platform; --address names another address.")?;
        }
        Error::Refused(refusal) => {
            for violation in &refusal.violations {
                writeln!(err, "  {}: {}", violation.field, violation.description)?;
            }
            if let Some(delay) = refusal.retry_after {
                writeln!(err, "  It may work in {} ms.", delay.as_millis())?;
            }
        }
        _ => {}
    }
    if let Some(reason) = error.reason() {
        writeln!(err, "  See docs/errors/{reason}.md")?;
    }
    Ok(())
}

/// Explains, and gives the exit code: 1 where the platform refused, 2 where nobody could say.
pub(crate) fn fail(error: &Error, console: &mut Console) -> anyhow::Result<ExitCode> {
    explain(error, &mut console.err)?;
    let refused = matches!(error, Error::Refused(_) | Error::Option { .. }) && !error.is_retryable();
    Ok(ExitCode::from(if refused { REFUSED } else { FAILED }))
}

/// A reader that has gone away, as in `… | head`, is no failure.
pub(crate) fn unless_nobody_reads(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            Ok(ExitCode::SUCCESS)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_client::{Refusal, Violation};

    fn text(error: &Error) -> String {
        let mut out = Vec::new();
        explain(error, &mut out).expect("a Vec takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_refusal_says_reason_fields_delay_and_page() {
        let refusal = Refusal {
            code: tonic::Code::InvalidArgument,
            reason: Some("INVALID_REQUEST".into()),
            detail: "page_size is wrong".into(),
            violations: vec![Violation { field: "page_size".into(), description: "0 to 1000".into() }],
            retry_after: Some(std::time::Duration::from_millis(250)),
            metadata: [].into(),
        };
        assert_eq!(
            text(&Error::Refused(Box::new(refusal))),
            "headwater: INVALID_REQUEST: page_size is wrong\n  page_size: 0 to 1000\n  It may work in 250 ms.\n  \
             See docs/errors/INVALID_REQUEST.md\n"
        );
    }

    #[test]
    fn nobody_there_says_where_and_what_to_do() {
        let error = Error::Unreachable {
            endpoint: "http://127.0.0.1:1".into(),
            detail: "Connection refused (os error 111)".into(),
        };
        assert_eq!(
            text(&error),
            "headwater: cannot reach http://127.0.0.1:1: Connection refused (os error 111)\n  Nothing answers there. \
             `make run` starts the platform; --address names another address.\n"
        );
    }
}
