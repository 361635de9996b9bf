use std::io::IsTerminal;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::{LogFormat, LogSettings};

/// Why logging did not begin.
#[derive(Debug, Error)]
pub enum LogError {
    /// `log.filter` is none.
    #[error("log.filter: {0}")]
    Filter(String),
    /// The process has a subscriber already.
    #[error("logging was begun before")]
    Begun,
}

/// Begins to log to standard error, which leaves standard output to answers.
///
/// # Errors
/// Where the filter is none, or the process logs already.
pub fn init_logging(settings: &LogSettings) -> Result<(), LogError> {
    let colours = std::io::stderr().is_terminal();
    let subscriber = subscriber(settings, std::io::stderr, colours)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Begun)
}

/// A subscriber that writes lines in the format of the settings.
fn subscriber<W>(
    settings: &LogSettings,
    writer: W,
    colours: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&settings.filter).map_err(|error| LogError::Filter(error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    // Of a line that cannot be written it would tell by a macro that panics where nobody reads standard error any more.
    let builder = builder.log_internal_errors(false);
    Ok(match settings.format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => {
            Box::new(builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::Settings;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let mut settings = Settings::default().log;
        (settings.format, settings.filter) = (format, filter.to_owned());
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(&settings, move || writer.clone(), false).expect("a filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(topic = "page-events", "made a topic");
            tracing::debug!("not asked for");
        });
        let bytes = sink.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn text_is_a_line_for_people() {
        let text = logged(LogFormat::Text, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("INFO") && text.contains("made a topic") && text.contains("page-events"), "{text}");
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = logged(LogFormat::Json, "debug");
        assert_eq!(text.lines().count(), 2, "{text}");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(
            (&line["level"], &line["message"], &line["topic"]),
            (&"INFO".into(), &"made a topic".into(), &"page-events".into())
        );
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let mut settings = Settings::default().log;
        settings.filter = "headwater=loud".to_owned();
        assert!(matches!(subscriber(&settings, std::io::sink, false), Err(LogError::Filter(_))));
    }
}
