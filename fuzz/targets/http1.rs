//! What a client sends over HTTP/1.1, all at once and then in small parts. The requests that come of it and the answers
//! must not depend on how its bytes arrive, and a client that has gone must not be waited for.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use libfuzzer_sys::fuzz_target;
use scopegate::net::{ClientBody, ConnectionSettings, Limits, Protocol, Timeouts, client_service, drain, serve_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

fuzz_target!(|data: &[u8]| {
    let Some((&parts, sent)) = data.split_first() else { return };
    // What is wrong with a head that comes in parts is told at its end.
    let sent = [sent, b"\r\n\r\n"].concat();
    let whole = serve(&sent, 64 << 10);
    assert_eq!(serve(&sent, usize::from(parts % 32) + 1), whole);
});

/// The requests, and what was answered, through a connection that holds so many bytes at a time.
fn serve(sent: &[u8], at_once: usize) -> (Vec<String>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let requests = Rc::new(RefCell::new(Vec::new()));
        let (client, server) = tokio::io::duplex(at_once);
        let settings = ConnectionSettings::new(&Limits::default(), &Timeouts::default());
        let (_trigger, watcher) = drain();
        let noted = Rc::clone(&requests);
        let service = |_interim| {
            client_service(move |request| {
                let requests = Rc::clone(&noted);
                async move { Ok::<_, Infallible>(answer(request.into(), &requests).await) }
            })
        };
        let (mut reads, mut writes) = tokio::io::split(client);
        let sending = async {
            let _closed = writes.write_all(sent).await;
            let _closed = writes.shutdown().await;
        };
        let mut answers = Vec::new();
        let (_end, (), _read) = tokio::join!(
            serve_client(server, Protocol::Http1, &settings, service, watcher),
            sending,
            reads.read_to_end(&mut answers),
        );
        assert!(began.elapsed() < Duration::from_secs(1), "it waited");
        let answers = String::from_utf8(answers).unwrap();
        // Whether that is needed does depend on what has come.
        let answers = answers.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        let undated = answers.split("\r\n").filter(|line| !line.starts_with("date: "));
        let undated = undated.collect::<Vec<_>>().join("\r\n");
        (requests.take(), undated)
    })
}

async fn answer(request: Request<ClientBody>, requests: &RefCell<Vec<String>>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => format!("{:?} {:?}", body.trailers().cloned(), body.to_bytes()),
        Err(_broken) => "broken".to_owned(),
    };
    let (method, uri, version, headers) = (parts.method, parts.uri, parts.version, parts.headers);
    requests
        .borrow_mut()
        .push(format!("{method} {uri} {version:?} {headers:?} {body}"));
    Response::new(Full::new(body.into()))
}
