//! Servers on the loopback: one that speaks HTTP and answers as it is told, a real mail server, a real Alertmanager.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What is answered to one request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Nothing is answered.
    pub hangs: bool,
    /// The body is what came: the target and all headers.
    pub echoes: bool,
}

pub fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

#[derive(Default)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    last: Mutex<Option<Answer>>,
    received: Mutex<Vec<(Instant, Received)>>,
    connections: Mutex<usize>,
    stop: AtomicBool,
}

/// Speaks HTTP, and TLS when it has a certificate. Stops when it goes.
pub struct WebServer {
    port: u16,
    scheme: &'static str,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WebServer {
    /// Gives these answers, then 200.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::start(answers, None)
    }

    /// Gives always this answer.
    pub fn always(answer: Answer) -> Self {
        let server = Self::new([]);
        *server.shared.last.lock().unwrap() = Some(answer);
        server
    }

    /// With the certificate in a folder.
    pub fn encrypted(folder: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        Self::start([], Some(Arc::new(config.unwrap())))
    }

    fn start(answers: impl IntoIterator<Item = Answer>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared { answers: Mutex::new(answers.into_iter().collect()), ..Shared::default() });
        let state = Arc::clone(&shared);
        let accept = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.stop.load(Ordering::Relaxed) {
                    return;
                }
                *state.connections.lock().unwrap() += 1;
                let (state, tls) = (Arc::clone(&state), tls.clone());
                std::thread::spawn(move || serve(stream, tls, &state));
            }
        };
        Self { port, scheme, shared, thread: Some(std::thread::spawn(accept)) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().iter().map(|(_, one)| one.clone()).collect()
    }

    /// The only request that came.
    pub fn only(&self) -> Received {
        let all = self.received();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    pub fn times(&self) -> Vec<Instant> {
        self.shared.received.lock().unwrap().iter().map(|(time, _)| *time).collect()
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, shared: &Shared) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = match tls {
        None => speak(stream, shared),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            speak(rustls::StreamOwned::new(connection, stream), shared)
        }
    };
}

fn speak(mut stream: impl Read + Write, shared: &Shared) -> Option<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let (head, body) = loop {
        let length = stream.read(&mut piece).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if bytes.len() >= head.len() + 4 + wanted.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers = lines.filter_map(pair).collect();
    shared.received.lock().unwrap().push((Instant::now(), Received { method, target: target.clone(), headers, body }));
    let next = shared.answers.lock().unwrap().pop_front();
    let answer = next.or_else(|| shared.last.lock().unwrap().clone()).unwrap_or_else(|| status(200));
    while answer.hangs && !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let body = if answer.echoes { format!("{target} is not here; {head}").replace("\r\n", " ") } else { answer.body };
    let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status, body.len());
    for (name, value) in answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).ok()?;
    stream.flush().ok()
}

/// A certificate for localhost of an authority of its own: `ca.pem`, `cert.pem` and `key.pem`.
pub fn make_certificate(folder: &Path) {
    std::fs::write(folder.join("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority of a test", "-days", "2"];
    let request = ["req", "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost"];
    let sign = [
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "cert.pem",
    ];
    for arguments in [[ca.as_slice(), &KEY].concat(), [request.as_slice(), &KEY].concat(), sign.to_vec()] {
        let output = Command::new("openssl").args(&arguments).current_dir(folder).output();
        let output = output.expect("openssl runs; `tests/run` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A real mail server. Stops when it goes.
pub struct MailServer {
    folder: PathBuf,
    pub port: u16,
    child: Child,
}

impl MailServer {
    /// With the certificate in a folder; modes are `starttls`, `tls`, `plain`, `bare` and `busy`.
    pub fn start(folder: &Path, mode: &str) -> Self {
        let port = free_port();
        // Debian's, which has the module of Debian's package.
        let mut child = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notify/smtp_server.py"))
            .args([folder.as_os_str(), port.to_string().as_ref(), mode.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Self { folder: folder.to_owned(), port, child };
        assert_eq!(line, "ready\n", "the mail server starts; `tests/run` installs python3-aiosmtpd");
        server
    }

    /// Mails, logins and refusals, as they came.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.join("mails")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn mails(&self) -> Vec<serde_json::Value> {
        self.log().into_iter().filter(|one| one["data"].is_string()).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real Alertmanager. Stops when it goes.
pub struct Alertmanager {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Alertmanager {
    pub fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::write(folder.path().join("config.yml"), "route:\n  receiver: none\nreceivers:\n- name: none\n")
            .unwrap();
        let child = Command::new("prometheus-alertmanager")
            .args(["--config.file=config.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Alertmanager runs; `tests/run` installs it");
        let server = Self { folder, port, child };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "Alertmanager does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Alerts that hold, as `amtool` shows them, by name.
    pub fn alerts(&self) -> Vec<serde_json::Value> {
        let mut command = Command::new("amtool");
        command.args(["alert", "query", "-o", "json", &format!("--alertmanager.url={}", self.url())]);
        let output = command.env("HOME", self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut alerts: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        alerts.sort_by_key(|alert| alert["labels"]["alertname"].to_string());
        alerts
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
