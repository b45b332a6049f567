use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::Stopwatch;

const SHORT: Duration = Duration::from_millis(300);

fn transport(limit_upload: Option<u64>, limit_download: Option<u64>) -> Transport {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stillness = Stillness { answer: SHORT, body: SHORT };
    Transport::new(reqwest::Client::new(), stillness, limit_upload, limit_download)
}

/// A server for one connection. What it returns is kept open until the test ends.
fn server(serve: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/x", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        serve(&mut socket);
        std::thread::sleep(Duration::from_secs(10));
    });
    address
}

/// The head of a request, and as much of its body as came with it.
fn head(socket: &mut TcpStream) -> (String, usize) {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..read]);
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            return (String::from_utf8_lossy(&text[..end]).to_lowercase(), text.len() - end - 4);
        }
    }
}

fn take(socket: &mut TcpStream, mut left: usize) {
    let mut buffer = [0; 8192];
    while left > 0 {
        left -= socket.read(&mut buffer).unwrap().min(left);
    }
}

/// Asks, and reads the answer to its end; the time it took.
fn ask(transport: &Transport, address: &str, body: Vec<u8>) -> (Result<(u16, Vec<u8>), Error>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let method = if body.is_empty() { "GET" } else { "PUT" };
    let request = Request::builder().method(method).uri(address).body(Buffer::from(body)).unwrap();
    let watch = Stopwatch::start();
    let answer = runtime.block_on(async {
        let (parts, mut body) = transport.fetch(request).await?.into_parts();
        Ok((parts.status.as_u16(), body.to_buffer().await?.to_vec()))
    });
    (answer, watch.elapsed())
}

#[test]
fn a_limited_body_takes_its_time_says_its_length_and_is_alive_meanwhile() {
    let address = server(|socket| {
        let (head, got) = head(socket);
        assert!(head.contains("content-length: 200000") && !head.contains("chunked"), "{head}");
        take(socket, 200_000 - got);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let transport = transport(Some(200_000), None);
    let (answer, took) = ask(&transport, &address, vec![7; 200_000]);
    assert_eq!(answer.unwrap(), (200, b"ok".to_vec()));
    assert!(took > SHORT * 3 && took < Duration::from_secs(3), "{took:?}");
    let expected = Traffic { requests: 1, sent_bytes: 200_000, received_bytes: 2 };
    assert_eq!(transport.counted().traffic(), expected);
}

#[test]
fn a_limited_answer_takes_its_time() {
    let address = server(|socket| {
        head(socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").unwrap();
        socket.write_all(&[7; 100_000]).unwrap();
    });
    let (answer, took) = ask(&transport(None, Some(100_000)), &address, Vec::new());
    assert_eq!(answer.unwrap().1.len(), 100_000);
    assert!(took > SHORT * 3 && took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn what_stands_still_is_given_up_and_may_be_tried_again() {
    let silent = server(|socket| drop(head(socket)));
    let deaf = server(|_| {});
    let stuck = server(|socket| {
        head(socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
    });
    // More than the system takes without a reader.
    for (address, body) in [(silent, Vec::new()), (deaf, vec![7; 32 << 20]), (stuck, Vec::new())] {
        let (answer, took) = ask(&transport(None, None), &address, body);
        let error = answer.unwrap_err();
        assert!(error.is_temporary() && error.message().contains("nothing has moved"), "{error}");
        assert!(took >= SHORT && took < SHORT * 6, "{took:?}");
    }
}

#[test]
fn a_slow_body_that_moves_is_not_given_up() {
    let address = server(|socket| {
        head(socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").unwrap();
        for byte in b"trickles" {
            std::thread::sleep(SHORT / 2);
            socket.write_all(&[*byte]).unwrap();
        }
    });
    let (answer, took) = ask(&transport(None, None), &address, Vec::new());
    assert_eq!(answer.unwrap().1, b"trickles");
    assert!(took > SHORT * 3, "{took:?}");
}

#[test]
fn what_the_server_asks_to_wait_is_waited_and_its_words_are_kept() {
    let address = server(|socket| {
        head(socket);
        let text = "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy";
        socket.write_all(text.as_bytes()).unwrap();
    });
    let (answer, took) = ask(&transport(None, None), &address, Vec::new());
    assert_eq!(answer.unwrap(), (429, b"busy".to_vec()));
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[test]
fn the_wait_is_read_in_seconds_or_as_a_date_by_the_clock_of_the_server() {
    let wait = |status: u16, after: &str, date: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, after.parse().unwrap());
        headers.insert(header::DATE, date.parse().unwrap());
        asked_wait(StatusCode::from_u16(status).unwrap(), &headers).map(|wait| wait.as_secs())
    };
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    assert_eq!(wait(503, "7", date), Some(7));
    assert_eq!(wait(429, "Wed, 21 Oct 2015 07:28:30 GMT", date), Some(30));
    assert_eq!(wait(503, "86400", date), Some(300), "no longer than that at once");
    assert_eq!(wait(503, "Wed, 21 Oct 2015 07:27:00 GMT", date), None, "over already");
    assert_eq!(wait(503, "soon", date), None);
    assert_eq!(wait(500, "7", date), None);
    assert_eq!(asked_wait(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new()), None);
}
