//! The access log: one JSON line per request, written by a thread of its own.
//!
//! `gateway::service` hands over a record at the end of each request. The line is built in a buffer that the worker
//! keeps, and given to a bounded channel; when the writer is behind, the record is dropped and counted. A worker never
//! waits for a disk or a pipe. There is no field for a token or a header, so neither can be logged; whom a token stands
//! for is hashed with a key that lives and dies with the process, unless plain identities were asked for.

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use http::Version;
use prometheus::IntCounter;

use crate::telemetry::line::Line;
use crate::telemetry::log_output::LogFile;
use crate::telemetry::{AccessLogOutput, AccessLogSettings, Decision, DenialLines};

/// One request, at its end. Texts may be anything; they are escaped and cut.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// When the request began.
    pub time: SystemTime,
    /// As in the response.
    pub request_id: &'a str,
    /// The W3C trace id.
    pub trace_id: &'a str,
    /// Of the client; written only where identities are.
    pub address: IpAddr,
    /// The identifier of the API; empty where no route matched.
    pub api: &'a str,
    /// The pattern of the route; empty where none matched.
    pub route: &'a str,
    /// As the client wrote it.
    pub method: &'a str,
    /// What the client spoke.
    pub version: Version,
    /// What the client got; of a gRPC refusal, which is 200 on the wire, what it would be in HTTP.
    pub status: u16,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: &'static str,
    /// The index of the reason of the decision.
    pub reason_index: usize,
    /// `sub` of the token, as it is; hashed here.
    pub subject: Option<&'a str>,
    /// `azp` or `client_id`, likewise.
    pub client: Option<&'a str>,
    /// Of the request body.
    pub bytes_in: u64,
    /// Of the response body.
    pub bytes_out: u64,
    /// From the request head to the end of the response.
    pub duration: Duration,
    /// From the request's way to the upstream to the head of its response.
    pub upstream_duration: Option<Duration>,
    /// `host:port` of the upstream server.
    pub upstream: Option<&'a str>,
}

/// Takes records. Cheap to clone; every worker has one.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// `None`: the log is off.
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    lines: SyncSender<Message>,
    dropped: IntCounter,
    denials: DenialLines,
    identities: Identities,
}

/// How a subject or a client id appears.
#[derive(Debug)]
enum Identities {
    Plain,
    Hashed(Box<hmac::Key>),
}

enum Message {
    Line(Box<[u8]>),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens the output and starts the writer; `dropped` counts the records that it could not take, and `denials` bounds
    /// those of refused requests.
    ///
    /// # Errors
    /// The file cannot be opened, no thread can be started, or no random key can be had.
    pub fn start(
        settings: &AccessLogSettings,
        dropped: IntCounter,
        denials: DenialLines,
    ) -> io::Result<Self> {
        match &settings.output {
            AccessLogOutput::Off => Ok(Self { inner: None }),
            AccessLogOutput::Stdout => Self::writing_to(io::stdout(), settings, dropped, denials),
            AccessLogOutput::Stderr => Self::writing_to(io::stderr(), settings, dropped, denials),
            AccessLogOutput::File(path) => Self::writing_to(LogFile::open(path)?, settings, dropped, denials),
        }
    }

    fn writing_to(
        output: impl Write + Send + 'static,
        settings: &AccessLogSettings,
        dropped: IntCounter,
        denials: DenialLines,
    ) -> io::Result<Self> {
        let identities = if settings.plain_identities {
            Identities::Plain
        } else {
            Identities::hashed()?
        };
        let (lines, queue) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&queue, output))?;
        Ok(Self {
            inner: Some(Arc::new(Inner {
                lines,
                dropped,
                denials,
                identities,
            })),
        })
    }

    /// Whether records go anywhere. A caller that has to work for a record asks first.
    pub fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// Hands a record over. Never waits.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let Some(inner) = &self.inner else { return };
        if record.decision == Decision::Deny && !inner.denials.takes(record.reason_index, record.time) {
            return;
        }
        let line = BUFFER.with_borrow_mut(|line| {
            line.begin();
            inner.fill(line, record);
            Box::from(line.end())
        });
        if inner.lines.try_send(Message::Line(line)).is_err() {
            inner.dropped.inc();
        }
    }

    /// Says in the log of the process what was left out of this one. Called every few seconds.
    pub fn tell_what_was_left_out(&self) {
        if let Some(inner) = &self.inner {
            inner.denials.tell();
        }
    }

    /// Waits until everything that was handed over is written, at most for `patience`. For the end of the process;
    /// blocks its thread.
    pub fn flush(&self, patience: Duration) {
        let Some(inner) = &self.inner else { return };
        inner.denials.tell();
        let give_up = Instant::now() + patience;
        let (done, is_done) = sync_channel(1);
        let mut flush = Message::Flush(done);
        while let Err(TrySendError::Full(again)) = inner.lines.try_send(flush) {
            flush = again;
            if Instant::now() >= give_up {
                return;
            }
            thread::park_timeout(PAUSE);
        }
        let _ = is_done.recv_timeout(give_up.saturating_duration_since(Instant::now()));
    }
}

impl Inner {
    fn fill(&self, line: &mut Line, record: &AccessRecord<'_>) {
        line.time("time", record.time);
        line.text("request_id", record.request_id);
        line.text("trace_id", record.trace_id);
        line.text("api", record.api);
        line.text("route", record.route);
        line.text("method", record.method);
        line.text("http", version(record.version));
        line.number("status", u64::from(record.status));
        line.text("decision", record.decision.label());
        line.text("reason", record.reason);
        self.identities.write(line, "subject", record.subject);
        self.identities.write(line, "client", record.client);
        if matches!(self.identities, Identities::Plain) {
            line.address("address", record.address);
        }
        line.number("bytes_in", record.bytes_in);
        line.number("bytes_out", record.bytes_out);
        line.milliseconds("duration_ms", record.duration);
        if let Some(duration) = record.upstream_duration {
            line.milliseconds("upstream_ms", duration);
        }
        line.optional("upstream", record.upstream);
    }
}

impl Identities {
    fn hashed() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self::Hashed(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key))))
    }

    fn write(&self, line: &mut Line, name: &'static str, identity: Option<&str>) {
        let Some(identity) = identity else { return };
        match self {
            Self::Plain => line.text(name, identity),
            Self::Hashed(key) => {
                let tag = hmac::sign(key, identity.as_bytes());
                line.hexadecimal(name, tag.as_ref().get(..HASH_BYTES).unwrap_or_default());
            }
        }
    }
}

/// The writer thread: waits for a line, takes what else is there, then hands all of it to the system at once.
fn write_lines(queue: &Receiver<Message>, output: impl Write) {
    let mut output = BufWriter::with_capacity(BATCH, output);
    let mut complained = false;
    while let Ok(first) = queue.recv() {
        let mut next = Ok(first);
        let mut written = Ok(());
        let mut flushes = Vec::new();
        while let Ok(message) = next {
            match message {
                Message::Line(line) => {
                    // Never half a line: the next write may go to another file.
                    if output.buffer().len() + line.len() > BATCH {
                        written = written.and(output.flush());
                    }
                    written = written.and(output.write_all(&line));
                }
                Message::Flush(done) => flushes.push(done),
            }
            next = queue.try_recv();
        }
        if let Err(error) = written.and(output.flush())
            && !complained
        {
            complained = true;
            tracing::error!(%error, "cannot write the access log");
        }
        for done in flushes {
            let _ = done.try_send(());
        }
        if next.err() == Some(TryRecvError::Disconnected) {
            return;
        }
        // Lines gather meanwhile, so that a busy worker seldom has to wake this thread: waking costs more than the
        // line. A queue of 8,192 lasts for 800,000 requests a second.
        thread::park_timeout(GATHER);
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "?",
    }
}

thread_local! {
    static BUFFER: RefCell<Line> = const { RefCell::new(Line::new()) };
}

/// What is written at once.
const BATCH: usize = 64 << 10;
/// Records that wait for the writer.
const QUEUE: usize = 8_192;
/// 16 hexadecimal digits.
const HASH_BYTES: usize = 8;
const GATHER: Duration = Duration::from_millis(10);
/// Between two tries to get a flush into a full queue.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    fn any() -> DenialLines {
        DenialLines::new(0, [])
    }

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
            request_id: "r-1",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            address: IpAddr::from([192, 0, 2, 1]),
            api: "https://items",
            route: "/items/{id}",
            method: "GET",
            version: Version::HTTP_11,
            status: 200,
            decision: Decision::Allow,
            reason: "ok",
            reason_index: 0,
            subject: Some("auth0|123"),
            client: Some("client"),
            bytes_in: 0,
            bytes_out: 1_024,
            duration: Duration::from_micros(1_250),
            upstream_duration: Some(Duration::from_micros(1_005)),
            upstream: Some("127.0.0.1:3000"),
        }
    }

    fn lines(settings: &AccessLogSettings, records: &[AccessRecord<'_>]) -> Vec<String> {
        let sink = Sink::default();
        let log = AccessLog::writing_to(sink.clone(), settings, dropped(), any()).unwrap();
        records.iter().for_each(|record| log.record(record));
        log.flush(Duration::from_secs(5));
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(String::from)
            .collect()
    }

    #[test]
    fn one_line_of_json_per_request() {
        let plain = AccessLogSettings {
            plain_identities: true,
            ..Default::default()
        };
        assert_eq!(
            lines(&plain, &[record()]),
            [concat!(
                r#"{"time":"2023-11-14T22:13:20.042Z","request_id":"r-1","#,
                r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","api":"https://items","route":"/items/{id}","#,
                r#""method":"GET","http":"1.1","status":200,"decision":"allow","reason":"ok","subject":"auth0|123","#,
                r#""client":"client","address":"192.0.2.1","bytes_in":0,"bytes_out":1024,"duration_ms":1.250,"upstream_ms":1.005,"#,
                r#""upstream":"127.0.0.1:3000"}"#
            )]
        );
    }

    #[test]
    fn identities_are_hashed_alike_within_a_process_and_differently_in_another() {
        let settings = AccessLogSettings::default();
        let subjects = |lines: &[String]| -> Vec<String> {
            let values = lines
                .iter()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            values
                .map(|value| value["subject"].as_str().unwrap().to_owned())
                .collect()
        };
        let other = AccessRecord {
            subject: Some("auth0|124"),
            ..record()
        };
        let hashes = subjects(&lines(&settings, &[record(), record(), other]));
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
        assert!(
            !lines(&settings, &[record()])[0].contains("192.0.2.1"),
            "an address is an identity"
        );
        assert!(hashes[0].len() == 16 && hashes[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(subjects(&lines(&settings, &[record()]))[0], hashes[0]);
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_a_line() {
        let long = "x".repeat(10_000);
        let hostile = AccessRecord {
            method: "GE\"T\\\n\r\u{1b}[31m\u{0}\u{7f}\u{9b}é",
            request_id: &long,
            ..record()
        };
        let lines = lines(&AccessLogSettings::default(), &[hostile]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].chars().all(|c| !c.is_control()), "{}", lines[0]);
        let value: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["method"], "GE\"T\\\n\r\u{1b}[31m\u{0}\u{7f}\u{9b}é");
        assert_eq!(value["request_id"].as_str().unwrap().len(), 256);
    }

    #[test]
    fn a_stuck_writer_costs_records_and_never_time() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = sync_channel(0);
        let dropped = dropped();
        let log = AccessLog::writing_to(
            Stuck(stuck),
            &AccessLogSettings::default(),
            dropped.clone(),
            any(),
        )
        .unwrap();
        for _ in 0..QUEUE * 3 {
            log.record(&record());
        }
        assert!(dropped.get() > 0);
        log.flush(Duration::from_millis(20));
        drop(release);
        log.flush(Duration::from_secs(5));
    }

    #[test]
    fn off_is_off_and_a_file_is_appended_to() {
        let off = AccessLogSettings {
            output: AccessLogOutput::Off,
            ..Default::default()
        };
        let log = AccessLog::start(&off, dropped(), any()).unwrap();
        assert!(!log.is_on());
        log.record(&record());
        log.flush(Duration::ZERO);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let file = AccessLogSettings {
            output: AccessLogOutput::File(path.clone()),
            ..Default::default()
        };
        let log = AccessLog::start(&file, dropped(), any()).unwrap();
        log.record(&record());
        log.flush(Duration::from_secs(5));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
