//! WASI 0.2, served from the decision and from nothing else.
//!
//! Components of other toolchains import WASI whether they use it or not. What they get is what a decision is made of: its moment as the
//! time, its seed as the chance, its log as the output. There is no environment, no file and no network, so that a decision can still be
//! made again from its record.
//!
//! Nothing here asks the system for anything, waits for anything, or keeps anything: a stream or a pollable is a number in the table of
//! handles that the guest has anyhow, and the little that there is of state is made when a guest first asks. The types are those of the
//! crate `wasmtime-wasi`, and so are the functions of descriptors and sockets, to which no way leads: no function gives a guest one. The
//! crate's own clocks, streams and functions that make sockets are not taken: they start threads and timers, wait on the calling thread,
//! and ask the system for sockets.

mod chance;
mod nothing;
mod stream;
mod time;

use pilothouse_core::seed::{Random, Seed, Stream};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{self, sync};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtx, WasiSocketsCtxView};

use crate::host_impl::Call;
use crate::meter::{CROSSING, Weigh};
use stream::Lines;

/// The interfaces that are served, in every version 0.2 whose functions there are. Whoever builds engines reads the same list.
const SERVED: &str = include_str!("wasi/served.txt");

/// The most bytes that a guest may ask for, or be allowed to write, at once. Callers of WASI ask for a few kilobytes.
const AT_ONCE: u64 = 64 << 10;
/// Handles that a guest may hold of what is handed out here. A program has its three streams, and a pollable for each of them.
const HANDLES: u32 = 1024;

/// How a guest ended its own call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// It waits for what can't come.
    #[error("waits through WASI: time stands still within a decision")]
    Waits,
    /// It waits for nothing at all, which WASI forbids.
    #[error("waits through WASI for an empty list")]
    WaitsForNothing,
    /// It asked for too much.
    #[error("asked WASI for {asked} bytes at once; at most {AT_ONCE} are given")]
    TooMuch {
        /// How many bytes.
        asked: u64,
    },
    /// It wrote more than it was allowed.
    #[error("wrote {bytes} bytes at once through WASI; at most {AT_ONCE} are taken")]
    TooLong {
        /// How many bytes.
        bytes: u64,
    },
    /// It gives nothing back.
    #[error("holds {HANDLES} handles of WASI; no more are given")]
    Handles,
    /// It asked to be ended.
    #[error("ended itself through WASI with status {0}")]
    Exit(u8),
    /// It used what nobody was given.
    #[error("used {0} of WASI, of which there are none")]
    Nothing(&'static str),
}

/// What there is of WASI in a call.
pub(crate) struct Wasi {
    /// For calls without a cycle, which has its own.
    random: Random,
    lines: Lines,
    /// Handles that the guest holds.
    held: u32,
    /// What the functions of descriptors and sockets would look into. It stays empty.
    table: ResourceTable,
    files: WasiFilesystemCtx,
    sockets: WasiSocketsCtx,
}

impl Default for Wasi {
    fn default() -> Self {
        Self {
            random: Seed::default().stream(Stream::Wasi),
            lines: Lines::default(),
            held: 0,
            table: ResourceTable::new(),
            files: WasiFilesystemCtx::default(),
            sockets: WasiSocketsCtx::default(),
        }
    }
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasi").field("held", &self.held).finish_non_exhaustive()
    }
}

type Answer<T> = wasmtime::Result<T>;

impl Call {
    /// What there is of WASI in this call, made when it is first asked for.
    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_default()
    }

    /// Charges for a call and what is handed over with it.
    fn crossed(&mut self, handed: u64) -> Answer<()> {
        Ok(self.meter.charge(CROSSING.saturating_add(handed))?)
    }

    /// Charges for an answer.
    fn answer<T: Weigh>(&mut self, answer: T) -> Answer<T> {
        self.crossed(answer.weight())?;
        Ok(answer)
    }

    /// Hands out a handle. What it stands for is in its number.
    fn hand_out<T: 'static>(&mut self, what: u32) -> Answer<Resource<T>> {
        self.crossed(0)?;
        let held = &mut self.wasi().held;
        if *held == HANDLES {
            return Err(Ended::Handles.into());
        }
        *held += 1;
        Ok(Resource::new_own(what))
    }

    /// Takes a handle back.
    fn take_back<T: 'static>(&mut self, _: Resource<T>) -> Answer<()> {
        self.crossed(0)?;
        let held = &mut self.wasi().held;
        *held = held.saturating_sub(1);
        Ok(())
    }
}

/// Whether an import is one of those that are served.
pub(crate) fn serves(import: &str) -> bool {
    let Some((series, patch)) = import.rsplit_once('.') else { return false };
    patch.parse::<u32>().is_ok() && SERVED.lines().any(|line| line == series)
}

/// Adds everything that is served.
pub(crate) fn add_to_linker(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    type Here = HasSelf<Call>;
    let files: fn(&mut Call) -> WasiFilesystemCtxView<'_> = |call| {
        let Wasi { files, table, .. } = call.wasi();
        WasiFilesystemCtxView { ctx: files, table }
    };
    let sockets: fn(&mut Call) -> WasiSocketsCtxView<'_> = |call| {
        let Wasi { sockets, table, .. } = call.wasi();
        WasiSocketsCtxView { ctx: sockets, table }
    };
    let mut unstable = bindings::sockets::network::LinkOptions::default();
    unstable.network_error_code(true);
    sync::io::error::add_to_linker::<_, Here>(linker, |call| call)?;
    sync::io::poll::add_to_linker::<_, Here>(linker, |call| call)?;
    sync::io::streams::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::clocks::wall_clock::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::clocks::monotonic_clock::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::random::random::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::random::insecure::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::random::insecure_seed::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::environment::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::exit::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::stdin::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::stdout::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::stderr::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::terminal_input::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::terminal_output::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::terminal_stdin::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::terminal_stdout::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::cli::terminal_stderr::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::filesystem::preopens::add_to_linker::<_, Here>(linker, |call| call)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    bindings::sockets::network::add_to_linker::<_, Here>(linker, &unstable, |call| call)?;
    bindings::sockets::instance_network::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::sockets::ip_name_lookup::add_to_linker::<_, Here>(linker, |call| call)?;
    bindings::sockets::tcp_create_socket::add_to_linker::<_, Here>(linker, |call| call)?;
    sync::sockets::udp_create_socket::add_to_linker::<_, Here>(linker, |call| call)?;
    sync::sockets::tcp::add_to_linker::<_, WasiSockets>(linker, sockets)?;
    sync::sockets::udp::add_to_linker::<_, WasiSockets>(linker, sockets)
}
