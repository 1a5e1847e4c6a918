//! What a guest prints becomes lines of the log, `info` what it prints and `warn` what it complains of. What it could read has ended.

use std::mem;

use pilothouse_core::cycle::{Level, limits};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p2::bindings::sync::io::{error, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, IoError, StreamError, StreamResult};

use super::time::READY;
use super::{AT_ONCE, Answer, Ended};
use crate::host_impl::Call;

/// The input, which has ended.
const STDIN: u32 = 0;
/// What is printed.
const STDOUT: u32 = 1;
/// What is complained of.
const STDERR: u32 = 2;

/// What is kept of a line: as much as the log takes, and the rest of its last character.
const LINE_BYTES: usize = limits::LOG_BYTES + 3;

/// The lines that have begun and not ended: of each no more than the log would take.
#[derive(Debug, Default)]
pub(super) struct Lines {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Call {
    /// Takes what is printed, and logs the lines that are whole. A line costs what a call of the log does.
    fn print(&mut self, stream: u32, text: &[u8]) -> Answer<()> {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let begun = self.begun(stream);
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE_BYTES - begun.len();
            begun.extend(&text[..text.len().min(room)]);
            if ends {
                self.crossed(0)?;
                self.end_line(stream);
            }
        }
        Ok(())
    }

    fn begun(&mut self, stream: u32) -> &mut Vec<u8> {
        let Lines { out, err } = &mut self.wasi().lines;
        if stream == STDERR { err } else { out }
    }

    /// Logs the line that has begun. An empty one says nothing and would take the place of one that does.
    fn end_line(&mut self, stream: u32) {
        let line = mem::take(self.begun(stream));
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if !line.is_empty() {
            let level = if stream == STDERR { Level::Warn } else { Level::Info };
            self.line(level, line.to_owned());
        }
    }

    /// Logs what was printed without an end of line. Called once, when the guest can print no more.
    pub(crate) fn end_lines(&mut self) {
        if self.wasi.is_some() {
            self.end_line(STDOUT);
            self.end_line(STDERR);
        }
    }

    /// Charges for what is written, and takes it.
    fn write_to(&mut self, stream: &Resource<DynOutputStream>, text: &[u8]) -> StreamResult<()> {
        self.crossed(text.len() as u64).and_then(|()| self.print(stream.rep(), text)).map_err(StreamError::Trap)
    }

    fn written(&mut self, stream: &Resource<DynOutputStream>, text: &[u8]) -> StreamResult<()> {
        let bytes = text.len() as u64;
        if bytes > AT_ONCE {
            return Err(StreamError::Trap(Ended::TooLong { bytes }.into()));
        }
        self.write_to(stream, text)
    }

    fn zeroes(&mut self, stream: &Resource<DynOutputStream>, bytes: u64) -> StreamResult<()> {
        if bytes > AT_ONCE {
            return Err(StreamError::Trap(Ended::TooLong { bytes }.into()));
        }
        self.write_to(stream, &vec![0; bytes as usize])
    }

    /// Nothing is kept back, so there is nothing to flush; and the input has ended.
    fn done<T>(&mut self, answer: StreamResult<T>) -> StreamResult<T> {
        self.crossed(0).map_err(StreamError::Trap)?;
        answer
    }
}

impl error::Host for Call {}

/// No stream fails, so there are no errors.
impl error::HostError for Call {
    fn to_debug_string(&mut self, _: Resource<IoError>) -> Answer<String> {
        Err(Ended::Nothing("an error").into())
    }

    fn drop(&mut self, error: Resource<IoError>) -> Answer<()> {
        self.take_back(error)
    }
}

impl stdin::Host for Call {
    fn get_stdin(&mut self) -> Answer<Resource<DynInputStream>> {
        self.hand_out(STDIN)
    }
}

impl stdout::Host for Call {
    fn get_stdout(&mut self) -> Answer<Resource<DynOutputStream>> {
        self.hand_out(STDOUT)
    }
}

impl stderr::Host for Call {
    fn get_stderr(&mut self) -> Answer<Resource<DynOutputStream>> {
        self.hand_out(STDERR)
    }
}

impl streams::Host for Call {
    fn convert_stream_error(&mut self, error: StreamError) -> Answer<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::LastOperationFailed(error) | StreamError::Trap(error) => Err(error),
        }
    }
}

impl streams::HostInputStream for Call {
    fn read(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<Vec<u8>> {
        self.done(Err(StreamError::Closed))
    }

    fn blocking_read(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<Vec<u8>> {
        self.done(Err(StreamError::Closed))
    }

    fn skip(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        self.done(Err(StreamError::Closed))
    }

    fn blocking_skip(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        self.done(Err(StreamError::Closed))
    }

    fn subscribe(&mut self, _: Resource<DynInputStream>) -> Answer<Resource<DynPollable>> {
        self.hand_out(READY)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Answer<()> {
        self.take_back(stream)
    }
}

impl streams::HostOutputStream for Call {
    fn check_write(&mut self, _: Resource<DynOutputStream>) -> StreamResult<u64> {
        self.done(Ok(AT_ONCE))
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, text: Vec<u8>) -> StreamResult<()> {
        self.written(&stream, &text)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, text: Vec<u8>) -> StreamResult<()> {
        self.written(&stream, &text)
    }

    fn flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        self.done(Ok(()))
    }

    fn blocking_flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        self.done(Ok(()))
    }

    fn subscribe(&mut self, _: Resource<DynOutputStream>) -> Answer<Resource<DynPollable>> {
        self.hand_out(READY)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, count: u64) -> StreamResult<()> {
        self.zeroes(&stream, count)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, count: u64) -> StreamResult<()> {
        self.zeroes(&stream, count)
    }

    fn splice(&mut self, _: Resource<DynOutputStream>, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        self.done(Err(StreamError::Closed))
    }

    fn blocking_splice(&mut self, _: Resource<DynOutputStream>, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        self.done(Err(StreamError::Closed))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Answer<()> {
        self.take_back(stream)
    }
}
