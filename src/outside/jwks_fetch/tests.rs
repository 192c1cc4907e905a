use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc as std_mpsc;

use super::*;

const JWKS: &str = include_str!("../../auth/vectors/jwks.json");

/// An HTTP server that gives one answer to each connection, in order, and stays silent after the
/// last. Tells the path of every request.
fn server(answers: Vec<String>) -> (String, std_mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let (tell, told) = std_mpsc::channel();
    thread::spawn(move || {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().and_then(Result::ok).unwrap_or_default();
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let Some(answer) = answers.next() else {
                // Held open without an answer, until the test is over.
                let _ = tell.send(path);
                std::mem::forget(stream);
                continue;
            };
            let _ = stream.write_all(answer.as_bytes());
            if tell.send(path).is_err() {
                return;
            }
        }
    });
    (place, told)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn failure(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn fetched(answers: Vec<String>) -> Result<usize, JwksFetchError> {
    let (place, _told) = server(answers);
    let source = JwksSource::new(&format!("http://{place}/jwks.json")).unwrap();
    source.fetch().map(|keys| keys.count())
}

#[test]
fn keys_are_fetched_from_the_address_and_through_a_redirect_on_it() {
    let all = PublicKeys::from_json(JWKS).unwrap().count();
    assert_eq!(fetched(vec![ok(JWKS)]), Ok(all));
    assert_eq!(fetched(vec![redirect("/elsewhere"), ok(JWKS)]), Ok(all));
}

#[test]
fn every_kind_of_bad_answer_is_told_apart() {
    let spaces = " ".repeat(BODY_BYTES_MAX as usize);
    for (answer, due) in [
        (failure("503 Busy"), JwksFetchError::Status(503)),
        (failure("404 Not Found"), JwksFetchError::Status(404)),
        (failure("204 No Content"), JwksFetchError::Status(204)),
        (ok("{}"), JwksFetchError::NotAJwks(JwksError::NotAJwks)),
        (ok(&format!("{spaces}{JWKS}")), JwksFetchError::TooLarge),
        ("SSH-2.0-x\r\n\r\n".to_owned(), JwksFetchError::Garbled),
        (redirect("https://127.0.0.1:1/"), JwksFetchError::Unreachable),
    ] {
        let start: String = answer.chars().take(30).collect();
        assert_eq!(fetched(vec![answer]), Err(due), "{start}");
    }
    let in_circles = vec![redirect("/jwks.json"); REDIRECTS_MAX as usize + 2];
    assert_eq!(fetched(in_circles), Err(JwksFetchError::Redirected));
}

#[test]
fn nobody_at_the_address_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let source = JwksSource::new(&format!("http://{place}/")).unwrap();
    assert_eq!(source.fetch().err(), Some(JwksFetchError::Unreachable));
}

#[test]
fn a_server_that_stays_silent_is_given_up() {
    assert_eq!(fetched(vec![]), Err(JwksFetchError::TimedOut));
}

#[test]
fn a_server_without_tls_is_not_taken_for_one_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = JwksSource::new(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Before it closes it takes what was sent, which would otherwise reset the connection.
        let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(ok(JWKS).as_bytes()));
    });
    assert_eq!(source.fetch().err(), Some(JwksFetchError::Tls));
}

#[test]
fn only_http_addresses_are_taken() {
    for url in ["", "/jwks.json", "ftp://host/x", "file:///etc/passwd", "host", "http://"] {
        assert_eq!(JwksSource::new(url).err(), Some(JwksFetchError::BadUrl), "{url}");
    }
}

#[test]
fn what_an_address_holds_of_secrets_is_not_shown() {
    let source = JwksSource::new("https://user:hush@host.example:8443/keys?code=hush").unwrap();
    assert_eq!(source.place(), "https://host.example:8443/keys");
    assert!(!format!("{source:?}").contains("hush"));
}

/// A refresh on a server with these answers, and the means to follow it.
struct Running {
    keys: Arc<RemoteKeys>,
    requests: std_mpsc::Receiver<String>,
    wish: Box<dyn Fn()>,
    _stop: oneshot::Sender<()>,
}

fn running(
    answers: Vec<String>,
    pause: Duration,
    keys_age_max: Duration,
) -> (Running, impl Future<Output = ()>) {
    let (place, requests) = server(answers);
    let source = JwksSource::new(&format!("http://{place}/")).unwrap();
    let (mut refresh, keys) = JwksRefresh::new(source, 1);
    (refresh.pause, refresh.keys_age_max) = (pause, keys_age_max);
    let identities = crate::auth::Identities::new(crate::auth::IdentitySources {
        remote: Some(crate::auth::TrustedRemote { keys: Arc::clone(&keys), issuer: None, audience: None }),
        ..Default::default()
    });
    let (_stop, stopped) = oneshot::channel();
    let wish = Box::new(move || identities.want_refresh());
    (Running { keys, requests, wish, _stop }, refresh.run(stopped))
}

/// Until the next answer to a wish.
async fn answered(keys: &RemoteKeys, before: u64) -> u64 {
    while keys.generation() == before {
        sleep(Duration::from_millis(1)).await;
    }
    keys.generation()
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test ends in time");
    });
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn keys_are_fetched_at_the_start_and_a_wish_too_soon_is_answered_without_a_fetch() {
    on_a_runtime(async {
        let (running, refresh) = running(vec![ok(JWKS), ok(JWKS)], LONG, LONG);
        let follow = async {
            let first = answered(&running.keys, 0).await;
            (running.wish)();
            let second = answered(&running.keys, first).await;
            (running.wish)();
            (running.wish)();
            answered(&running.keys, second).await;
            assert_eq!(running.requests.try_iter().count(), 1);
        };
        tokio::select! { () = refresh => unreachable!("nobody stopped it"), () = follow => {} }
    });
}

#[test]
fn after_the_pause_a_wish_is_fetched_for_and_nothing_is_without_one() {
    on_a_runtime(async {
        let (running, refresh) = running(vec![ok(JWKS), ok(JWKS)], Duration::from_millis(5), LONG);
        let follow = async {
            let first = answered(&running.keys, 0).await;
            sleep(Duration::from_millis(50)).await;
            assert_eq!(running.keys.generation(), first);
            (running.wish)();
            answered(&running.keys, first).await;
            assert_eq!(running.requests.try_iter().count(), 2);
        };
        tokio::select! { () = refresh => unreachable!("nobody stopped it"), () = follow => {} }
    });
}

#[test]
fn a_failed_fetch_answers_and_is_tried_again() {
    on_a_runtime(async {
        let answers = vec![failure("500 Oh"), ok(JWKS)];
        let (running, refresh) = running(answers, Duration::from_millis(5), LONG);
        let follow = async {
            let first = answered(&running.keys, 0).await;
            answered(&running.keys, first).await;
            assert_eq!(running.requests.try_iter().count(), 2);
        };
        tokio::select! { () = refresh => unreachable!("nobody stopped it"), () = follow => {} }
    });
}

#[test]
fn old_keys_are_fetched_anew_though_nobody_asks() {
    on_a_runtime(async {
        let age_max = Duration::from_millis(10);
        let (running, refresh) = running(vec![ok(JWKS); 3], Duration::from_millis(5), age_max);
        let follow = async {
            let mut generation = 0;
            for _ in 0..3 {
                generation = answered(&running.keys, generation).await;
            }
        };
        tokio::select! { () = refresh => unreachable!("nobody stopped it"), () = follow => {} }
    });
}

#[test]
fn the_end_does_not_wait_for_a_silent_server() {
    on_a_runtime(async {
        let (running, refresh) = running(vec![], LONG, LONG);
        let follow = async {
            while running.requests.try_recv().is_err() {
                sleep(Duration::from_millis(1)).await;
            }
            drop(running);
        };
        // Well before the fetch has given up.
        let both = async { tokio::join!(refresh, follow) };
        tokio::time::timeout(Duration::from_secs(2), both).await.expect("it stopped at once");
    });
}
