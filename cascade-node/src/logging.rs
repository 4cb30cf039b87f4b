//! Events to standard error, as text for people or JSON lines for programs.
//!
//! Standard output belongs to results (`--json`), so a log line never mixes with one.

use std::io::IsTerminal;

use tracing::Dispatch;
use tracing::dispatcher::set_global_default;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Starts logging for the process; later calls change nothing.
///
/// `log.filter` was checked when the configuration was loaded; a filter that does not parse means `info`.
pub fn init(log: &Log) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // Fails only if the process logs already.
    let _ = set_global_default(dispatch(log, colour, std::io::stderr));
}

fn dispatch<W>(log: &Log, colour: bool, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour);
    match log.format {
        LogFormat::Text => builder.with_target(false).finish().into(),
        LogFormat::Json => builder.json().flatten_event(true).finish().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let buffer = Buffer::default();
        let target = buffer.clone();
        let dispatch = dispatch(&Log { format, filter: filter.to_owned() }, false, move || target.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(capacity_bytes = 42, "ready");
            tracing::debug!("detail");
        });
        String::from_utf8(buffer.0.lock().expect("one thread").clone()).expect("UTF-8")
    }

    #[test]
    fn json_lines_hold_level_message_and_fields() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"ready".into()));
        assert_eq!(line["capacity_bytes"], 42);
    }

    #[test]
    fn the_filter_decides_what_is_told() {
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "info").lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, "warn"), "");
    }
}
