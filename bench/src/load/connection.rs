//! A lean HTTP/1.1 client: one keep-alive connection that sends rendered requests.

use std::io;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the length of an answer's body is told.
enum Framing {
    Length(usize),
    Chunked,
}

struct Head {
    status: u16,
    framing: Framing,
    /// Bytes of the head.
    length: usize,
}

/// One connection, kept alive where the server lets it; one that closes it after each answer is connected to anew.
pub struct Connection {
    address: String,
    stream: TcpStream,
    /// The server said that it closes the connection after this answer.
    closing: bool,
    buffer: Vec<u8>,
    /// A chunked answer's body, joined.
    joined: Vec<u8>,
}

impl Connection {
    /// Connects to a loopback address.
    pub async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = connect(address).await?;
        let (buffer, joined) = (Vec::with_capacity(128 * 1024), Vec::new());
        Ok(Self { address: address.to_owned(), stream, closing: false, buffer, joined })
    }

    /// Sends one rendered request and reads its answer: status and body.
    pub async fn call(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        if self.closing {
            self.stream = connect(&self.address).await?;
        }
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        match head.framing {
            Framing::Length(length) => {
                let end = head.length + length;
                self.buffer.reserve(end.saturating_sub(self.buffer.len()));
                while self.buffer.len() < end {
                    self.more().await?;
                }
                Ok((head.status, &self.buffer[head.length..end]))
            }
            Framing::Chunked => {
                self.joined.clear();
                self.buffer.drain(..head.length);
                while self.chunk().await? {}
                Ok((head.status, &self.joined))
            }
        }
    }

    /// Sends one rendered request whose answer is read with [`Self::next_chunk`] as it comes. The answer's status.
    pub async fn open_stream(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        self.joined.clear();
        self.buffer.drain(..head.length);
        match head.framing {
            Framing::Chunked => Ok(head.status),
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    self.more().await?;
                }
                bail!("{}: {}", head.status, String::from_utf8_lossy(&self.buffer))
            }
        }
    }

    /// The next bytes of a streamed answer; `None` at its end.
    pub async fn next_chunk(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.joined.clear();
        Ok(if self.chunk().await? { Some(&self.joined) } else { None })
    }

    /// Moves one chunk into `joined`; whether it was not the last.
    async fn chunk(&mut self) -> anyhow::Result<bool> {
        let line = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                break end;
            }
            self.more().await?;
        };
        let digits = std::str::from_utf8(&self.buffer[..line])?.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits.trim(), 16).context("a chunk has no length")?;
        let (from, end) = (line + 2, line + 2 + length);
        while self.buffer.len() < end + 2 {
            self.more().await?;
        }
        self.joined.extend_from_slice(&self.buffer[from..end]);
        self.buffer.drain(..end + 2);
        Ok(length > 0)
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        self.buffer.clear();
        let length = loop {
            self.more().await?;
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..length]).context("the answer's head is no text")?;
        let status = text.get(9..12).and_then(|s| s.parse().ok()).context("the answer has no status")?;
        let (mut framing, mut closing) = (None, false);
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                framing = Some(Framing::Length(value.trim().parse().context("the answer's length is no number")?));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Some(Framing::Chunked);
            } else if name.eq_ignore_ascii_case("connection") {
                closing = value.trim().eq_ignore_ascii_case("close");
            }
        }
        self.closing = closing;
        Ok(Head { status, framing: framing.context("the answer has no length")?, length })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("the server closed the connection");
        }
        Ok(())
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
