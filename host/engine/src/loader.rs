//! From bytes to an engine, or to the exact reason why not.

use std::sync::Arc;

use pilothouse_core::cycle::{Fault, FaultKind};
use sha2::{Digest, Sha256};
use wasmtime::Store;
use wasmtime::component::{Component, Func, HasSelf, Instance, Linker, Resource};

use crate::bindings::DecisionEngine;
use crate::bindings::exports::pilothouse::engine::engine as guest;
use crate::call::{Callee, Exports, LoadedEngine};
use crate::compiler::{self, NotCompiled};
use crate::demands;
use crate::description::Description;
use crate::fault::{bounded, chain};
use crate::host_impl::Call;
use crate::host_impl::handles::{ControlHandle, DomainHandle, SetupHandle};
use crate::sandbox::{Sandbox, Shared};
use crate::wasi;

/// The package of the contract.
const PACKAGE: &str = "pilothouse:engine/";
/// The version of it that is served.
const VERSION: &str = "0.1.0";
/// Its interfaces that a guest may import.
const SERVED: [&str; 4] = ["types", "state", "control", "log"];
/// The interface that a guest must export.
const EXPORT: &str = "pilothouse:engine/engine@0.1.0";

/// The preamble of a component, after the magic number: version 13 of layer 1.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
/// The preamble of a core module: version 1 of layer 0.
const MODULE: [u8; 4] = [1, 0, 0, 0];

/// Why a file can't serve as an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Larger than the limit; it was not looked at.
    #[error("it has {bytes} bytes; at most {limit} are taken")]
    TooLarge {
        /// Of the file.
        bytes: usize,
        /// What is taken.
        limit: usize,
    },
    /// No WebAssembly in the binary format.
    #[error("it is no WebAssembly component")]
    NotWasm,
    /// A core module: a build step is missing.
    #[error("it is a core module and no component: make one of it, for example with `wasm-tools component new`")]
    CoreModule,
    /// It begins like a component, and goes on like none; or it uses a feature of WebAssembly that is not offered.
    #[error("it is damaged, or uses what is not offered: {0}")]
    Malformed(String),
    /// The compiler did not get to an end with it: it ran for too long, wanted too much memory, or crashed.
    #[error("compiling it failed: {0}")]
    Compile(String),
    /// It imports something that is not served.
    #[error("it imports `{import}`, which is not served")]
    UnknownImport {
        /// What it imports.
        import: String,
    },
    /// It imports an interface of the contract in another version.
    #[error("it imports `{import}`; version {VERSION} is served")]
    ImportVersion {
        /// What it imports.
        import: String,
    },
    /// What it imports is served, but not as it wants it.
    #[error("an import has another type than what is served: {problem}")]
    ImportType {
        /// Which, and what is different.
        problem: String,
    },
    /// It exports no engine.
    #[error("it does not export `{EXPORT}`")]
    MissingExport,
    /// It exports an engine of another version of the contract.
    #[error("it exports `{found}`; expected `{EXPORT}`")]
    ExportVersion {
        /// What it exports.
        found: String,
    },
    /// Its export is not what the contract says.
    #[error("`{EXPORT}` has another type than expected: {problem}")]
    ExportType {
        /// What is different.
        problem: String,
    },
    /// It needs more memories, tables or instances than any call may have.
    #[error("it needs more than a call may have: {0}")]
    TooDemanding(String),
    /// It could not say who it is.
    #[error("asked for its description, it failed: {0}")]
    Describe(Fault),
    /// What it says of itself makes no sense.
    #[error("in its description, {field}: {problem}")]
    Description {
        /// Which part.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl LoadError {
    /// Whether it tells of the machine rather than of the component, so that the same may load another time.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Compile(_) => true,
            Self::Describe(fault) => !fault.kind.counts() && fault.kind != FaultKind::Returned,
            _ => false,
        }
    }

    /// With its texts cut to 2 KiB: most come out of the file, and go into answers and logs.
    fn bounded(mut self) -> Self {
        match &mut self {
            Self::Malformed(text)
            | Self::Compile(text)
            | Self::UnknownImport { import: text }
            | Self::ImportVersion { import: text }
            | Self::ImportType { problem: text }
            | Self::ExportVersion { found: text }
            | Self::ExportType { problem: text }
            | Self::TooDemanding(text)
            | Self::Description { problem: text, .. } => *text = bounded(std::mem::take(text)),
            // A fault is bounded where it is made.
            Self::Describe(_) | Self::TooLarge { .. } | Self::NotWasm | Self::CoreModule | Self::MissingExport => {}
        }
        self
    }
}

impl Sandbox {
    /// Loads a component: judges it against the contract, compiles it or takes what was compiled before, and asks it for its description.
    ///
    /// Compiling takes from milliseconds to seconds on all cores, in another process and at a low priority if there is a
    /// [compiler](crate::SandboxConfig::compiler); do it on a thread that may block.
    ///
    /// # Errors
    /// Why the file can't serve as an engine. Nothing of it is kept then.
    pub fn load(&self, bytes: &[u8]) -> Result<LoadedEngine, LoadError> {
        self.judge(bytes).map_err(LoadError::bounded)
    }

    /// Whether the component of a digest was compiled before, so that loading it takes milliseconds.
    pub fn has_compiled(&self, digest: &str) -> bool {
        self.shared().cache.as_ref().is_some_and(|cache| cache.has(digest))
    }

    fn judge(&self, bytes: &[u8]) -> Result<LoadedEngine, LoadError> {
        let shared = self.shared();
        preamble(bytes, shared.limits.component_bytes)?;
        demands::check(bytes, &shared.limits)?;
        let digest = hex(&Sha256::digest(bytes));
        let Compiled { component, new } = compiled(shared, bytes, &digest)?;
        check_imports(&component, shared)?;
        check_export(&component, shared)?;
        let pre = shared.linker.instantiate_pre(&component).map_err(|error| LoadError::ImportType { problem: chain(&error) })?;
        let exports = exports(&component)?;
        let callee = Callee { shared: Arc::clone(shared), pre, exports, label: Arc::from(&digest[..12]) };
        check_types(&callee)?;
        let told = callee.call::<(), (guest::Description,)>(&shared.limits, None, 0, (&callee.exports.describe, ()));
        let (told,) = told.result.map_err(LoadError::Describe)?;
        let description = Description::judge(told)?;
        // What is refused is not worth its place on the disk.
        if let (Some(cache), Some(artefact)) = (&shared.cache, new) {
            cache.put(&digest, &artefact);
        }
        let label = format!("{}@{}", description.name, description.version).into();
        Ok(LoadedEngine::new(Callee { label, ..callee }, digest, description))
    }
}

/// Everything that is served, for all engines of a sandbox.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    DecisionEngine::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn preamble(bytes: &[u8], limit: usize) -> Result<(), LoadError> {
    if bytes.len() > limit {
        return Err(LoadError::TooLarge { bytes: bytes.len(), limit });
    }
    let rest = bytes.strip_prefix(b"\0asm").ok_or(LoadError::NotWasm)?;
    if rest.starts_with(&COMPONENT) {
        Ok(())
    } else if rest.starts_with(&MODULE) {
        Err(LoadError::CoreModule)
    } else {
        Err(LoadError::Malformed("its preamble is that of no known format".to_owned()))
    }
}

/// A component that is compiled, and the machine code if it was compiled just now.
struct Compiled {
    component: Component,
    new: Option<Vec<u8>>,
}

fn compiled(shared: &Shared, bytes: &[u8], digest: &str) -> Result<Compiled, LoadError> {
    if let Some(component) = shared.cache.as_ref().and_then(|cache| cache.get(&shared.engine, digest)) {
        return Ok(Compiled { component, new: None });
    }
    let artefact = compiler::compile(&shared.engine, shared.compiler.as_ref(), bytes).map_err(|error| match error {
        NotCompiled::Refused(why) => LoadError::Malformed(why),
        NotCompiled::Failed(why) => LoadError::Compile(why),
    })?;
    shared.count_compiled();
    let component = crate::cache::ours(&shared.engine, &artefact).map_err(|error| LoadError::TooDemanding(chain(&error)))?;
    Ok(Compiled { component, new: Some(artefact) })
}

fn check_imports(component: &Component, shared: &Shared) -> Result<(), LoadError> {
    for (import, _) in component.component_type().imports(&shared.engine) {
        if wasi::serves(import) {
            continue;
        }
        let (interface, version) = import.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')).unwrap_or((import, ""));
        if !SERVED.contains(&interface) || version.is_empty() {
            return Err(LoadError::UnknownImport { import: import.to_owned() });
        }
        if version != VERSION {
            return Err(LoadError::ImportVersion { import: import.to_owned() });
        }
    }
    Ok(())
}

fn check_export(component: &Component, shared: &Shared) -> Result<(), LoadError> {
    let any_version = EXPORT.trim_end_matches(VERSION);
    let mut other = None;
    for (export, _) in component.component_type().exports(&shared.engine) {
        if export == EXPORT {
            return Ok(());
        }
        if export.starts_with(any_version) {
            other = Some(export.to_owned());
        }
    }
    Err(other.map_or(LoadError::MissingExport, |found| LoadError::ExportVersion { found }))
}

/// Where the functions of the export are.
fn exports(component: &Component) -> Result<Exports, LoadError> {
    let interface = component.get_export_index(None, EXPORT).ok_or(LoadError::MissingExport)?;
    let function = |name: &str| {
        let found = component.get_export_index(Some(&interface), name);
        found.ok_or_else(|| LoadError::ExportType { problem: format!("{name} is missing") })
    };
    Ok(Exports {
        describe: function("describe")?,
        check_config: function("check-config")?,
        initialize: function("initialize")?,
        reconfigure: function("reconfigure")?,
        decide: function("decide")?,
        retire: function("retire")?,
    })
}

/// Every function of the export, each against its type in the contract. Types are looked at in an instance, so this makes one.
fn check_types(callee: &Callee) -> Result<(), LoadError> {
    type Domain = Resource<DomainHandle>;
    type Setup = Resource<SetupHandle>;
    type Control = Resource<ControlHandle>;

    let mut odd = None;
    let mut check = |store: &mut Store<Call>, instance: &Instance| {
        let interface = instance.get_export_index(&mut *store, None, EXPORT);
        let mut one = |name: &str, typed: fn(&Func, &Store<Call>) -> wasmtime::Result<()>| {
            let func = interface.and_then(|interface| instance.get_export_index(&mut *store, Some(&interface), name));
            let checked = func.and_then(|func| instance.get_func(&mut *store, func)).map(|func| typed(&func, store));
            match checked {
                Some(Ok(())) => {}
                Some(Err(error)) => odd = Some(format!("{name}: {}", chain(&error))),
                None => odd = Some(format!("{name} is missing")),
            }
        };
        one("describe", |func, store| func.typed::<(), (guest::Description,)>(store).map(drop));
        one("check-config", |func, store| func.typed::<(&str,), (Vec<guest::Problem>,)>(store).map(drop));
        one("initialize", |func, store| func.typed::<(Domain, Setup), (Result<Vec<u8>, guest::Failure>,)>(store).map(drop));
        one("reconfigure", |func, store| func.typed::<(&[u8], Domain, Setup), (Result<Vec<u8>, guest::Failure>,)>(store).map(drop));
        one("decide", |func, store| func.typed::<(&[u8], Domain, Control), (Result<guest::Verdict, guest::Failure>,)>(store).map(drop));
        one("retire", |func, store| func.typed::<(&[u8],), ()>(store).map(drop));
    };
    callee.instantiate(&callee.shared.limits, |store, instance| check(store, instance)).map_err(LoadError::Describe)?;
    odd.map_or(Ok(()), |problem| Err(LoadError::ExportType { problem }))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
