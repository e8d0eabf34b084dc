//! The mail server that takes mails.
//!
//! Owns how it is reached, and what its answers mean. Promises that a password goes over TLS or to this machine, that an
//! attempt ends in time, that few are under way at once, and that a mail is final only when its address is said not to
//! exist: what a wrong setting or a full mailbox causes passes. The server is chosen by who runs Tidegate, so it may have any address. Must not know what mails
//! say.

use std::net::IpAddr;
use std::time::Duration;

use base::Fs;
use flow::topic::MailError;
use lettre::message::Message;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::Semaphore;

use super::MailSettingError;
use crate::config::{Mail, MailTls};

/// For a connection to be there.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// For a mail to be taken: what a client is to wait for the answer to its end (RFC 5321, section 4.5.3.2.6). Who gives
/// up earlier sends a mail again that a slow server has taken.
const SEND_TIME: Duration = Duration::from_secs(10 * 60);
/// Mails under way at once: servers take few connections of one client.
const AT_ONCE: usize = 8;
/// Status codes by which a server says that there is no such mailbox, and never will be (RFC 3463, section 3.2; RFC
/// 7505). A bare 550 or 553 says no more than that something is not wanted: the name of this client, the sender, the
/// moment.
const NO_MAILBOX: [&str; 5] = ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"];

/// How a certificate begins.
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

pub(super) struct Relay {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    under_way: Semaphore,
}

impl Relay {
    /// As configured; none without a host.
    pub fn new(fs: &dyn Fs, config: &Mail, sender: &Address) -> Result<Option<Self>, MailSettingError> {
        let credentials = credentials(fs, config)?;
        if config.host.is_empty() {
            let tls = config.tls != MailTls::Always;
            let is_set = credentials.is_some() || config.ca_file.is_some() || config.port != 0 || tls;
            let why = "it is missing, and other settings of the section are there";
            return if is_set { Err(MailSettingError::new("host", why)) } else { Ok(None) };
        }
        let port = match (config.port, config.tls) {
            (0, MailTls::StartTls) => 587,
            (0, MailTls::Always) => 465,
            (0, MailTls::Off) => 25,
            (port, _) => port,
        };
        let tls = match config.tls {
            MailTls::StartTls => Tls::Required(parameters(fs, config)?),
            MailTls::Always => Tls::Wrapper(parameters(fs, config)?),
            MailTls::Off if credentials.is_some() && !is_here(&config.host) => {
                return Err(MailSettingError::new("tls", "a password is not sent to another machine without TLS"));
            }
            MailTls::Off if config.ca_file.is_some() => {
                return Err(MailSettingError::new("ca_file", "with mail.tls off there is no certificate to check"));
            }
            MailTls::Off => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
            .port(port)
            .tls(tls)
            .timeout(Some(CONNECT_TIME))
            .hello_name(ClientId::Domain(sender.domain().to_owned()));
        if let Some(credentials) = credentials {
            builder = builder.credentials(credentials);
        }
        Ok(Some(Self { transport: builder.build(), under_way: Semaphore::new(AT_ONCE) }))
    }

    pub async fn send(&self, message: Message) -> Result<(), MailError> {
        // Closed by nobody.
        let _turn = self.under_way.acquire().await.map_err(|e| MailError::Failed(e.to_string()))?;
        match tokio::time::timeout(SEND_TIME, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() && says_no_mailbox(&error.to_string()) => {
                Err(MailError::Refused(format!("the mail server refused: {error}")))
            }
            Ok(Err(error)) => Err(MailError::Failed(format!("the mail server did not take it: {error}"))),
            Err(_) => Err(MailError::Failed(format!("the mail server did not take it within {SEND_TIME:?}"))),
        }
    }
}

/// Whether a reply has one of the status codes that mean the mailbox.
fn says_no_mailbox(reply: &str) -> bool {
    reply.split(|c: char| !(c.is_ascii_digit() || c == '.')).any(|word| NO_MAILBOX.contains(&word))
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn credentials(fs: &dyn Fs, config: &Mail) -> Result<Option<Credentials>, MailSettingError> {
    let password = match &config.password_file {
        None => config.password.reveal().to_owned(),
        Some(_) if !config.password.is_empty() => {
            return Err(MailSettingError::new("password_file", "mail.password is there, too"));
        }
        Some(path) => {
            let failed = |why: &dyn std::fmt::Display| {
                MailSettingError::new("password_file", format!("{}: {why}", path.display()))
            };
            let bytes = fs.read(path).map_err(|e| failed(&e))?;
            let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))?;
            let password = text.trim_end_matches(['\r', '\n']);
            if password.contains(['\r', '\n']) {
                return Err(failed(&"it has more lines than the password's"));
            }
            password.to_owned()
        }
    };
    match (config.user.is_empty(), password.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(Credentials::new(config.user.clone(), password))),
        (true, false) => Err(MailSettingError::new("user", "it is missing, and there is a password")),
        (false, true) => Err(MailSettingError::new("password", "it is missing, and there is a user")),
    }
}

fn parameters(fs: &dyn Fs, config: &Mail) -> Result<TlsParameters, MailSettingError> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let failed =
            |why: &dyn std::fmt::Display| MailSettingError::new("ca_file", format!("{}: {why}", path.display()));
        let pem = fs.read(path).map_err(|e| failed(&e))?;
        // The library takes a file without a certificate for an authority that vouches for nothing.
        if !pem.windows(PEM.len()).any(|text| text == PEM) {
            return Err(failed(&"it holds no certificate; expected PEM: -----BEGIN CERTIFICATE-----"));
        }
        let authority = Certificate::from_pem(&pem).map_err(|e| failed(&e))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(|e| MailSettingError::new("host", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mailbox_that_is_not_there_is_final() {
        for reply in ["permanent error (550): 5.1.1 no such user", "permanent error (556): 5.1.10 null MX"] {
            assert!(says_no_mailbox(reply), "{reply}");
        }
        for reply in [
            "permanent error (550): Access denied - Invalid HELO name (See RFC2821 4.1.1.1)",
            "permanent error (553): 5.7.1 Sender address rejected: not owned by user",
            "permanent error (550): relay not permitted",
            "permanent error (535): 5.7.8 authentication failed",
        ] {
            assert!(!says_no_mailbox(reply), "{reply}");
        }
    }
}
