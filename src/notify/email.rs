//! Mail, through the server of the configuration.

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use lettre::message::{Mailbox, header};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport as _};

use super::secret::{self, Secrets};
use super::web::certificate_problem;
use super::{Notice, NotifyError, Patience, What};
use crate::crypto;
use crate::id::to_hex;
use crate::profile::{Email, MailTls};

/// Sends it; gives what the server answered.
pub(super) fn tell(channel: &str, email: &Email, what: What<'_>, patience: &Patience) -> Result<String, NotifyError> {
    let Some(notice) = what.notice() else { return Ok(String::new()) };
    let message = message(channel, email, notice)?;
    let mut secrets = Secrets::default();
    let transport = transport(channel, email, &notice.host, &mut secrets, patience)?;
    let too_late = || NotifyError::TimeLimit {
        channel: channel.to_owned(),
        host: email.host.clone(),
        seconds: patience.total.as_secs_f64().ceil() as u64,
    };
    // A server that says a letter now and then would never be given up: lettre bounds each word, not the whole.
    let (done, answer) = mpsc::channel();
    let pauses = patience.pauses.clone();
    let sending = move || drop(done.send(tries(&transport, &message, &pauses)));
    let thread = std::thread::Builder::new().name("bk-notify-mail".into()).spawn(sending);
    thread.map_err(|error| NotifyError::Prepare { channel: channel.to_owned(), problem: error.to_string() })?;
    match answer.recv_timeout(patience.total).map_err(|_| too_late())? {
        Ok(code) => Ok(format!("{} took it with {code}", email.host)),
        Err(error) => Err(refused(channel, email, &error, &secrets)),
    }
}

fn tries(transport: &SmtpTransport, message: &Message, pauses: &[Duration]) -> Result<String, smtp::Error> {
    let mut pauses = pauses.iter();
    loop {
        let error = match transport.send(message) {
            Ok(answer) => return Ok(answer.code().to_string()),
            Err(error) => error,
        };
        let is_final =
            error.is_permanent() || error.is_client() || error.is_tls() || certificate_problem(&error).is_some();
        let Some(pause) = pauses.next().filter(|_| !is_final) else { return Err(error) };
        std::thread::sleep(*pause);
    }
}

fn message(channel: &str, email: &Email, notice: &Notice) -> Result<Message, NotifyError> {
    let wrong = |problem: String| NotifyError::Mail { channel: channel.to_owned(), problem };
    let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|error| wrong(error.to_string()));
    let random: [u8; 16] = crypto::random().map_err(|error| wrong(error.to_string()))?;
    let since = Duration::from_secs(u64::try_from(notice.at.seconds).unwrap_or(0));
    let mut building = Message::builder()
        .from(mailbox(&email.from)?)
        .date(SystemTime::UNIX_EPOCH + since)
        .message_id(Some(format!("<{}@{}>", to_hex(&random), domain(&notice.host).unwrap_or("localhost"))))
        .subject(notice.title())
        // No holiday answers: RFC 3834.
        .header(AutoSubmitted)
        .header(header::ContentType::TEXT_PLAIN);
    for to in &email.to {
        building = building.to(mailbox(to)?);
    }
    building.body(notice.body()).map_err(|error| wrong(error.to_string()))
}

/// `Auto-Submitted: auto-generated`
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The name of this machine, where it can be one of a domain.
fn domain(host: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (!host.is_empty() && host.len() < 250 && host.bytes().all(plain)).then_some(host)
}

fn transport(
    channel: &str,
    email: &Email,
    own_host: &str,
    secrets: &mut Secrets,
    patience: &Patience,
) -> Result<SmtpTransport, NotifyError> {
    let prepare = |error: smtp::Error| NotifyError::Prepare { channel: channel.to_owned(), problem: error.to_string() };
    let tls = match email.tls {
        MailTls::None => Tls::None,
        encrypted => {
            let mut building = TlsParameters::builder(email.host.clone());
            if let Some(path) = &email.ca_file {
                let pem = secret::file(channel, "ca-file", path)?;
                let wrong = |_| secret::content(channel, "ca-file", path, "holds no certificate", "write it as PEM");
                building = building.add_root_certificate(Certificate::from_pem(&pem).map_err(wrong)?);
            }
            let parameters = building.build().map_err(prepare)?;
            // Required: a server, or whoever sits before it, cannot talk bk out of it.
            if encrypted == MailTls::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) }
        }
    };
    let mut building =
        SmtpTransport::builder_dangerous(&email.host).port(email.port).tls(tls).timeout(Some(patience.whole));
    if let Some(own) = domain(own_host) {
        building = building.hello_name(ClientId::Domain(own.to_owned()));
    }
    if let (Some(user), Some(path)) = (&email.user, &email.password_file) {
        let password = secret::read(channel, "password-file", path)?;
        secrets.add(&password);
        building = building.credentials(Credentials::new(user.clone(), password.as_str().to_owned()));
    }
    Ok(building.build())
}

fn refused(channel: &str, email: &Email, error: &smtp::Error, secrets: &Secrets) -> NotifyError {
    let (channel, host) = (channel.to_owned(), email.host.clone());
    if let Some(problem) = certificate_problem(error) {
        return NotifyError::Certificate { channel, host, problem };
    }
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_else(|| error.to_string());
    let words = secrets.words(&cause);
    match error.status() {
        Some(code) => {
            let status = u16::from(code);
            let hint = match status {
                530 | 534 | 535 | 538 => {
                    "check `user` and `password-file`, and whether the service wants an app password"
                }
                550..=554 => "check that the server lets `from` send to `to`",
                _ => "look at the log of that server",
            };
            NotifyError::Refused { channel, host, status, words, hint }
        }
        None => NotifyError::NotReached { channel, host, problem: words },
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{entry, notice};
    use super::super::{Event, Notice};
    use super::*;

    #[test]
    fn a_mail_has_every_header_once_and_nothing_can_add_another() {
        let email = Email {
            to: vec!["me@example.org".into(), "Ann <ann@example.org>".into()],
            from: "bk <bk@example.org>".into(),
            host: "localhost".into(),
            port: 25,
            tls: MailTls::None,
            user: None,
            password_file: None,
            ca_file: None,
        };
        let mut told = entry(Event::Failed, "plex");
        told.profile = Some("x\r\nBcc: evil@example.org\r\n\r\nbody ü".into());
        told.text = "über\r\n.\r\nMAIL FROM:<evil@example.org>".into();
        let told = Notice { host: "nas\r\nX-Evil: 1".into(), ..notice(vec![told]) };
        let mail = String::from_utf8(message("m", &email, &told).unwrap().formatted()).unwrap();
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), names.len(), "{head}");
        assert!(!names.iter().any(|name| name.contains("Bcc") || name.contains("Evil")), "{head}");
        assert!(head.contains("Date: Sun, 01 Mar 2026 02:00:00 +0000"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated") && head.contains("@localhost>"), "{head}");
        assert!(!mail.contains("\r\n.\r\n"), "{mail}");
    }
}
