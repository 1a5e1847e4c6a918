//! What there is nothing of: environment, files, terminals, networks. And the way out, which is a fault.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{self, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{instance_network, tcp_create_socket};
use wasmtime_wasi::p2::bindings::sync::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, IoError, SocketError, SocketResult, TcpSocket, UdpSocket};

use super::{Answer, Ended};
use crate::host_impl::Call;
use crate::meter::Weigh;

/// The one network, of which nothing can be had.
const NETWORK: u32 = 0;

impl Call {
    /// Charges, and refuses.
    fn denied<T>(&mut self, handed: u64) -> SocketResult<T> {
        self.crossed(handed).map_err(SocketError::trap)?;
        Err(ErrorCode::AccessDenied.into())
    }

    /// Charges, and gives what there is.
    fn nothing<T: Default>(&mut self) -> Answer<T> {
        self.crossed(0)?;
        Ok(T::default())
    }
}

impl environment::Host for Call {
    fn get_environment(&mut self) -> Answer<Vec<(String, String)>> {
        self.nothing()
    }

    fn get_arguments(&mut self) -> Answer<Vec<String>> {
        self.nothing()
    }

    fn initial_cwd(&mut self) -> Answer<Option<String>> {
        self.nothing()
    }
}

impl exit::Host for Call {
    fn exit(&mut self, status: Result<(), ()>) -> Answer<()> {
        Err(Ended::Exit(status.is_err().into()).into())
    }

    fn exit_with_code(&mut self, status: u8) -> Answer<()> {
        Err(Ended::Exit(status).into())
    }
}

impl preopens::Host for Call {
    fn get_directories(&mut self) -> Answer<Vec<(Resource<Descriptor>, String)>> {
        self.nothing()
    }
}

impl terminal_input::Host for Call {}
impl terminal_output::Host for Call {}

impl terminal_input::HostTerminalInput for Call {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> Answer<()> {
        self.take_back(terminal)
    }
}

impl terminal_output::HostTerminalOutput for Call {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> Answer<()> {
        self.take_back(terminal)
    }
}

impl terminal_stdin::Host for Call {
    fn get_terminal_stdin(&mut self) -> Answer<Option<Resource<terminal_input::TerminalInput>>> {
        self.nothing()
    }
}

impl terminal_stdout::Host for Call {
    fn get_terminal_stdout(&mut self) -> Answer<Option<Resource<terminal_output::TerminalOutput>>> {
        self.nothing()
    }
}

impl terminal_stderr::Host for Call {
    fn get_terminal_stderr(&mut self) -> Answer<Option<Resource<terminal_output::TerminalOutput>>> {
        self.nothing()
    }
}

impl network::Host for Call {
    fn convert_error_code(&mut self, error: SocketError) -> Answer<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, _: Resource<IoError>) -> Answer<Option<ErrorCode>> {
        self.nothing()
    }
}

impl network::HostNetwork for Call {
    fn drop(&mut self, network: Resource<Network>) -> Answer<()> {
        self.take_back(network)
    }
}

impl instance_network::Host for Call {
    fn instance_network(&mut self) -> Answer<Resource<Network>> {
        self.hand_out(NETWORK)
    }
}

impl tcp_create_socket::Host for Call {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.denied(0)
    }
}

impl udp_create_socket::Host for Call {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.denied(0)
    }
}

impl ip_name_lookup::Host for Call {
    fn resolve_addresses(&mut self, _: Resource<Network>, name: String) -> SocketResult<Resource<ResolveAddressStream>> {
        self.denied(name.weight())
    }
}

impl ip_name_lookup::HostResolveAddressStream for Call {
    fn resolve_next_address(&mut self, _: Resource<ResolveAddressStream>) -> SocketResult<Option<IpAddress>> {
        self.denied(0)
    }

    fn subscribe(&mut self, _: Resource<ResolveAddressStream>) -> Answer<Resource<DynPollable>> {
        Err(Ended::Nothing("a look-up").into())
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> Answer<()> {
        self.take_back(stream)
    }
}
