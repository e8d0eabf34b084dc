//! One call over HTTP/2 by prior knowledge whose answer comes as a stream: as much of RFC 9113 as that takes.
//!
//! Headers are sent as literals (RFC 7541) and of the answer's only the status is looked at.

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::signing::{Keys, Request, signed};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// The largest window: nothing here is ever slowed down by flow control.
const WINDOW: u32 = (1 << 31) - 1;
const DEFAULT_WINDOW: u32 = 65_535;
/// `:status: 200` as an entry of the static table.
const STATUS_200: u8 = 0x88;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection with its one stream.
pub struct Http2Stream {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out.
    taken: usize,
}

impl Http2Stream {
    /// Connects, sends the call and waits for its status, which must be 200.
    pub async fn open(address: &str, request: &Request<'_>, keys: &Keys) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = PREFACE.to_vec();
        // INITIAL_WINDOW_SIZE is setting 4.
        frame(&mut out, SETTINGS, 0, 0, &[&[0, 4][..], &WINDOW.to_be_bytes()].concat());
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(WINDOW - DEFAULT_WINDOW).to_be_bytes());
        frame(&mut out, HEADERS, END_HEADERS, 1, &header_block(address, request, keys)?);
        frame(&mut out, DATA, END_STREAM, 1, request.body());
        stream.write_all(&out).await?;
        let mut this = Self { stream, buffer: Vec::with_capacity(64 << 10), taken: 0 };
        loop {
            let (kind, _, from, to) = this.frame().await?;
            if kind == HEADERS {
                let status = this.buffer[from..to].iter().find(|byte| **byte & 0xe0 != 0x20);
                ensure!(status == Some(&STATUS_200), "the call was refused");
                return Ok(this);
            }
        }
    }

    /// The next bytes of the answer; `None` at its end.
    pub async fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        loop {
            match self.frame().await? {
                (DATA, _, from, to) if to > from => return Ok(Some(&self.buffer[from..to])),
                (DATA | HEADERS, flags, ..) if flags & END_STREAM != 0 => return Ok(None),
                _ => {}
            }
        }
    }

    /// The next frame: its type, flags, and where its payload lies. What the connection itself needs is answered.
    async fn frame(&mut self) -> anyhow::Result<(u8, u8, usize, usize)> {
        self.buffer.drain(..std::mem::take(&mut self.taken));
        self.fill(HEAD).await?;
        let length = u32::from_be_bytes([0, self.buffer[0], self.buffer[1], self.buffer[2]]) as usize;
        let (kind, flags) = (self.buffer[3], self.buffer[4]);
        self.fill(HEAD + length).await?;
        self.taken = HEAD + length;
        let mut answer = Vec::new();
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut answer, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut answer, PING, ACK, 0, &self.buffer[HEAD..HEAD + length]),
            RESET | GO_AWAY => bail!("the server ended the stream"),
            _ => {}
        }
        if !answer.is_empty() {
            self.stream.write_all(&answer).await?;
        }
        Ok((kind, flags, HEAD, HEAD + length))
    }

    async fn fill(&mut self, to: usize) -> anyhow::Result<()> {
        while self.buffer.len() < to {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        }
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn header_block(address: &str, request: &Request<'_>, keys: &Keys) -> anyhow::Result<Vec<u8>> {
    // Entries of the static table: POST, the path "/", http; then the authority by its name.
    let mut out = vec![0x83, 0x84, 0x86, 0x01];
    text(&mut out, address);
    for (name, value) in &signed(request, address, keys)? {
        if name != http::header::HOST {
            out.push(0);
            text(&mut out, name.as_str());
            text(&mut out, value.to_str().context("a header is no text")?);
        }
    }
    Ok(out)
}

/// A string literal without Huffman coding: its length in 7 bits and more bytes of 7 bits, then itself.
fn text(out: &mut Vec<u8>, text: &str) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_have_a_longer_length() {
        let encoded = |length| {
            let mut out = Vec::new();
            text(&mut out, &"x".repeat(length));
            out[..out.len() - length].to_vec()
        };
        assert_eq!(encoded(126), [126]);
        assert_eq!(encoded(127), [127, 0]);
        // RFC 7541, C.1.2: 1337 with a prefix of 5 bits; here of 7.
        assert_eq!(encoded(1_337), [127, 0xba, 0x09]);
    }
}
