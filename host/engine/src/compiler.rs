//! Compiling: in a process of its own where there is a program for it, at a low priority, and else in this one.
//!
//! A component is somebody else's input to a large compiler. One that makes it need all memory, take for ever, overflow its stack or crash
//! must not do that to a host; so a host compiles in a process that is bounded and ended, and whose death is an error like any other. Nor do
//! calls that run meanwhile wait for the compiler's changes to the memory of their process. What comes back is trusted as much as a compiler
//! within this process would be: it is the same program.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails};

use crate::fault::chain;

/// Processor time that the other process may take. An interpreter of 18 MB takes 22 s, compiled by a compiler that was built without being
/// optimised.
const PROCESSOR_SECONDS: u64 = 300;
/// How long it may take by the clock on the wall: at its priority, and on a machine that is busy.
const TIME: Duration = Duration::from_secs(1200);
/// Bytes of memory of its own that it may have. The same interpreter takes a quarter of that.
const MEMORY_BYTES: u64 = 2 << 30;
/// The most that may come back.
const ARTEFACT_BYTES: u64 = 1 << 30;
/// The most of why it is refused that is taken.
const WHY_BYTES: usize = 64 << 10;
/// The priority to compile with, as a niceness of 0 to 19: a third of the share of what serves, and not so little that a host which starts on a
/// busy machine waits for its own engines.
const NICENESS: i32 = 5;

/// What an answer begins with.
const COMPILED: u8 = 0;
const REFUSED: u8 = 1;

/// A program that compiles components with [`compile_for_another`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Where it is.
    pub program: PathBuf,
    /// What it is told.
    pub arguments: Vec<OsString>,
}

/// Why nothing was compiled.
#[derive(Debug)]
pub(crate) enum NotCompiled {
    /// The compiler says no.
    Refused(String),
    /// The compiler did not get to an answer.
    Failed(String),
}

/// What components are compiled for. It is part of what a compiled one is good for; nothing else is.
pub(crate) fn configuration() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Bounds: what it costs is counted the same everywhere, and the clock has the last word.
        .consume_fuel(true)
        .epoch_interruption(true)
        // Determinism: one NaN, and no instruction whose result depends on the machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // Less to get wrong: no toolchain for components needs these.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        // What a guest says of its own source is not read, whatever the environment of this process says.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Every call is synchronous and begins to end on one thread.
        .concurrency_support(false);
    config
}

/// Compiles a component to machine code.
pub(crate) fn compile(engine: &Engine, compiler: Option<&Compiler>, component: &[u8]) -> Result<Vec<u8>, NotCompiled> {
    if let Some(compiler) = compiler {
        match compiler.start() {
            Ok(child) => return answer(child, component, TIME),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let program = compiler.program.display();
                tracing::warn!(%program, "there is no program to compile with: compiling in this process");
            }
            // A machine that is full has one another time. In this process there would be no bounds, just then.
            Err(error) => return Err(NotCompiled::Failed(format!("no process to compile in can be started: {error}"))),
        }
    }
    engine.precompile_component(component).map_err(|error| NotCompiled::Refused(chain(&error)))
}

impl Compiler {
    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn()
    }
}

/// Hands a component to a process that compiles, and takes what comes back within this time.
fn answer(mut child: Child, component: &[u8], time: Duration) -> Result<Vec<u8>, NotCompiled> {
    let failed = |error: io::Error| NotCompiled::Failed(error.to_string());
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (tell, told) = mpsc::channel();
    let read = thread::scope(|scope| {
        // It reads all before it answers. One that died does not read, and its answer tells enough.
        scope.spawn(move || input.map(|mut input| input.write_all(component)));
        scope.spawn(move || {
            let mut answer = Vec::new();
            let read = output.map(|output| output.take(ARTEFACT_BYTES + 1).read_to_end(&mut answer));
            // Nobody waits any more when it took too long.
            let _ = tell.send(read.unwrap_or(Ok(0)).map(|_| answer));
        });
        let read = told.recv_timeout(time);
        // Also when it answered too much: it would wait for ever to be read.
        let killed = if read.as_ref().is_ok_and(|read| read.as_ref().is_ok_and(|answer| (answer.len() as u64) <= ARTEFACT_BYTES)) {
            Ok(())
        } else {
            child.kill()
        };
        killed.map(|()| read)
    });
    let status = child.wait().map_err(failed)?;
    let Ok(answer) = read.map_err(failed)? else {
        return Err(NotCompiled::Failed(format!("not done within {} s", time.as_secs())));
    };
    let mut answer = answer.map_err(failed)?;
    match answer.first() {
        Some(&COMPILED) if status.success() => {
            answer.remove(0);
            Ok(answer)
        }
        Some(&REFUSED) if status.success() => {
            Err(NotCompiled::Refused(String::from_utf8_lossy(&answer[1..answer.len().min(1 + WHY_BYTES)]).into_owned()))
        }
        _ => Err(NotCompiled::Failed(format!(
            "the process that compiled ended with {status}; it may use {} MiB and {PROCESSOR_SECONDS} s of processor time",
            MEMORY_BYTES >> 20
        ))),
    }
}

/// What a [`Compiler`] does: compiles the component that comes in, and writes what came of it, as whoever started it expects. Bounds its own
/// memory and lowers its own priority first, so it is nothing for a process that does anything else; best called before there are threads.
///
/// # Errors
/// When a component can't be read, or the answer not be written.
pub fn compile_for_another(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    bound()?;
    give_way();
    let mut component = Vec::new();
    input.read_to_end(&mut component)?;
    let compiled = Engine::new(&configuration()).and_then(|engine| engine.precompile_component(&component));
    let (sort, answer) = match compiled {
        Ok(artefact) => (COMPILED, artefact),
        Err(error) => (REFUSED, chain(&error).into_bytes()),
    };
    output.write_all(&[sort])?;
    output.write_all(&answer)?;
    output.flush()
}

/// Bounds this process: its memory, and its life to that of whoever started it. What is more than the bound makes it end.
#[cfg(target_os = "linux")]
fn bound() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    // Memory that it wrote or may write, and not what it only set aside.
    setrlimit(Resource::Data, limit(MEMORY_BYTES))?;
    setrlimit(Resource::Cpu, limit(PROCESSOR_SECONDS))?;
    setrlimit(Resource::Core, limit(0))?;
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

#[cfg(not(target_os = "linux"))]
fn bound() -> io::Result<()> {
    Ok(())
}

/// Lets this thread, and those that it starts, run when nothing else wants to.
fn give_way() {
    // Elsewhere this would be said of the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "engines are compiled at the priority of everything else");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component that there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn shell(script: &str) -> Child {
        let compiler = Compiler { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
        compiler.start().expect("a shell")
    }

    fn problem(script: &str, time: Duration) -> String {
        match answer(shell(script), EMPTY, time) {
            Err(NotCompiled::Failed(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_compiler_that_never_answers_is_ended() {
        assert_eq!(problem("cat >/dev/null; exec sleep 1000", Duration::from_millis(50)), "not done within 0 s");
        assert_eq!(problem("exec sleep 1000", Duration::from_millis(50)), "not done within 0 s");
    }

    #[test]
    fn a_compiler_that_dies_is_an_error_and_nothing_of_its_answer_is_taken() {
        for script in ["kill -KILL $$", "printf '\\000half'; kill -KILL $$", "printf '\\000half'; exit 3", "true", "printf x"] {
            let problem = problem(script, TIME);
            assert!(problem.starts_with("the process that compiled ended with "), "{script}: {problem}");
        }
    }

    #[test]
    fn what_a_compiler_says_is_taken() {
        assert_eq!(answer(shell("cat >/dev/null; printf '\\000code'"), EMPTY, TIME).expect("compiled"), b"code");
        let Err(NotCompiled::Refused(why)) = answer(shell("printf '\\001no'"), &[0; 1 << 20], TIME) else { panic!("it was refused") };
        assert_eq!(why, "no");
    }

    #[test]
    fn where_there_is_a_program_it_is_never_compiled_here() {
        let engine = Engine::new(&configuration()).expect("an engine");
        let folder = Compiler { program: "/".into(), arguments: Vec::new() };
        let Err(NotCompiled::Failed(why)) = compile(&engine, Some(&folder), EMPTY) else { panic!("it was compiled") };
        assert!(why.starts_with("no process to compile in can be started: "), "{why}");
    }

    #[test]
    fn what_a_compiler_says_for_ever_is_cut() {
        let talks = "cat >/dev/null; printf '\\001'; head -c 200000 /dev/zero | tr '\\0' x";
        let Err(NotCompiled::Refused(why)) = answer(shell(talks), EMPTY, TIME) else { panic!("it was refused") };
        assert_eq!((why.len(), why.trim_matches('x')), (WHY_BYTES, ""));
    }

    #[test]
    fn where_there_is_no_program_it_is_compiled_here() {
        let engine = Engine::new(&configuration()).expect("an engine");
        let nowhere = Compiler { program: "/nowhere/at/all".into(), arguments: Vec::new() };
        assert!(compile(&engine, Some(&nowhere), EMPTY).is_ok());
        assert!(matches!(compile(&engine, None, b"\0asm\x0d\0\x01\0x"), Err(NotCompiled::Refused(_))));
    }
}
