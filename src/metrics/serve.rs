//! The numbers over HTTP: `/metrics` for Prometheus, `/health` for whoever only asks whether all is well.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::MetricsError;

/// Who does not say what it wants within this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are answered at the same time.
const CONNECTIONS: usize = 32;

/// What is served.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// The numbers.
    pub metrics: String,
    /// Whether all is well.
    pub is_well: bool,
    /// How things stand, in a sentence.
    pub health: String,
}

/// What is served at the moment; whoever has it may change it.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Served>>);

impl Board {
    /// Serves this from now on.
    pub fn set(&self, served: Served) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = served;
    }

    fn get(&self) -> Served {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves `board` at `address` until the process ends, on a thread of its own; gives the address, with its port when
/// 0 was asked for.
///
/// # Errors
/// When nothing can listen there.
pub fn serve(address: SocketAddr, board: Board) -> Result<SocketAddr, MetricsError> {
    let failed = |source| MetricsError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let started = std::thread::Builder::new().name("metrics".into()).spawn(move || {
        runtime.block_on(async {
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                answer_all(&listener, &board).await;
            }
        });
    });
    started.map_err(failed)?;
    Ok(bound)
}

async fn answer_all(listener: &tokio::net::TcpListener, board: &Board) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Such as too many open files; it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let board = board.clone();
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &board.get());
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            // Whoever goes away early has what it wanted.
            let _ = tokio::time::timeout(PATIENCE * 2, http.serve_connection(TokioIo::new(stream), answer)).await;
            drop(place);
        });
    }
}

fn answer(method: &Method, path: &str, served: &Served) -> Response<String> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", served.metrics.clone())
        }
        (&Method::GET | &Method::HEAD, "/health") => {
            let status = if served.is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, "text/plain; charset=utf-8", format!("{}\n", served.health))
        }
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there are /metrics and /health\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "this can only be read\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_numbers_and_the_health_are_what_was_set_last() {
        let board = Board::default();
        let address = serve("127.0.0.1:0".parse().unwrap(), board.clone()).unwrap();
        assert!(ask(address, "GET /health").starts_with("HTTP/1.1 503"), "nothing is known yet");
        board.set(Served { metrics: "bk_info 1\n".into(), is_well: true, health: "all is fine".into() });
        let numbers = ask(address, "GET /metrics");
        assert!(numbers.starts_with("HTTP/1.1 200") && numbers.ends_with("\r\n\r\nbk_info 1\n"), "{numbers}");
        assert!(numbers.contains("text/plain; version=0.0.4"));
        assert!(ask(address, "GET /health").ends_with("all is fine\n"));
        assert!(ask(address, "GET /etc/passwd").starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics").starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn who_says_nothing_keeps_nobody_waiting() {
        let board = Board::default();
        let address = serve("127.0.0.1:0".parse().unwrap(), board).unwrap();
        let silent: Vec<_> = (0..CONNECTIONS / 2).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(ask(address, "GET /metrics").starts_with("HTTP/1.1 200"));
        drop(silent);
    }

    #[test]
    fn an_address_that_is_taken_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = serve(taken.local_addr().unwrap(), Board::default()).unwrap_err();
        assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
    }
}
