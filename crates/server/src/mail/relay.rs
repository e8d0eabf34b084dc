//! The mail server that takes mails.
//!
//! Owns how it is reached, and what its answers mean. Promises that a password goes over TLS or to this machine, that an
//! attempt ends in time, and that a mail is final only when its address is refused: what a wrong setting or a full
//! mailbox causes passes. The server is chosen by who runs Tidegate, so it may have any address. Must not know what mails
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

use super::MailSettingError;
use crate::config::{Mail, MailTls};

/// For a connection to be there.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// For a mail to be taken.
const SEND_TIME: Duration = Duration::from_secs(60);
/// Replies by which a server says that there is no such mailbox, and never will be (RFC 5321, section 4.2.3; RFC 7504).
/// Others of its "permanent" ones are about the session, the password or the moment.
const NO_MAILBOX: [u16; 4] = [550, 551, 553, 556];

pub(super) struct Relay(AsyncSmtpTransport<Tokio1Executor>);

impl Relay {
    /// As configured; none without a host.
    pub fn new(fs: &dyn Fs, config: &Mail, sender: &Address) -> Result<Option<Self>, MailSettingError> {
        let credentials = credentials(fs, config)?;
        if config.host.is_empty() {
            let is_set = credentials.is_some() || config.ca_file.is_some() || config.port != 0;
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
        Ok(Some(Self(builder.build())))
    }

    pub async fn send(&self, message: Message) -> Result<(), MailError> {
        match tokio::time::timeout(SEND_TIME, self.0.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.status().is_some_and(|code| NO_MAILBOX.contains(&code.into())) => {
                Err(MailError::Refused(format!("the mail server refused: {error}")))
            }
            Ok(Err(error)) => Err(MailError::Failed(format!("the mail server did not take it: {error}"))),
            Err(_) => Err(MailError::Failed(format!("the mail server did not take it within {SEND_TIME:?}"))),
        }
    }
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
            text.trim_end_matches(['\r', '\n']).to_owned()
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
        let authority = Certificate::from_pem(&pem).map_err(|e| failed(&e))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(|e| MailSettingError::new("host", e))
}
