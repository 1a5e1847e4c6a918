//! Files that can't serve as engines, and the exact reason why not.

use pilothouse_core::cycle::{Engine as _, Fault, FaultKind};
use pilothouse_engine_host::{LoadError, Sandbox};
use proptest::prelude::*;
use serde_json::json;

use crate::domain::{domain, run};
use crate::guest::{Guest, guest};
use crate::{limited, refused, sandbox};

#[test]
fn what_is_no_component_is_refused_as_what_it_is() {
    assert_eq!(refused(b""), LoadError::NotWasm);
    assert_eq!(refused(b"#!/bin/sh\n"), LoadError::NotWasm);
    assert_eq!(refused(b"\0as"), LoadError::NotWasm);
    assert_eq!(refused(&Guest::new("quiet").module()), LoadError::CoreModule);
    assert!(matches!(refused(b"\0asm\x09\0\x09\0"), LoadError::Malformed(_)));
}

#[test]
fn a_component_that_was_cut_off_is_refused_wherever_the_cut_is() {
    let (sandbox, whole) = (sandbox(), guest("quiet"));
    for end in (0..whole.len()).step_by(97) {
        let error = sandbox.load(&whole[..end]).expect_err("it is not whole");
        let expected = match end {
            0..8 => matches!(error, LoadError::NotWasm | LoadError::Malformed(_)),
            // Cut between two sections it is still a component, of nothing.
            _ => matches!(error, LoadError::Malformed(_) | LoadError::MissingExport),
        };
        assert!(expected, "cut at {end}: {error}");
    }
}

#[test]
fn a_component_that_is_too_large_is_not_looked_at() {
    let sandbox = limited(|limits| limits.component_bytes = 1000);
    assert_eq!(sandbox.load(&[0; 1001]).expect_err("too large"), LoadError::TooLarge { bytes: 1001, limit: 1000 });
}

#[test]
fn an_import_that_is_not_served_is_refused_with_its_name() {
    let bell = "(import \"BELL\" \"ring\" (func (param i32)))";
    let plain = Guest::new("quiet")
        .with_contract("export engine;", "import bell: interface { ring: func(times: u32); }\n    export engine;")
        .with("  ;; more imports", &bell.replace("BELL", "bell"));
    assert_eq!(refused(&plain.component()), LoadError::UnknownImport { import: "bell".to_owned() });

    let ours = Guest::new("quiet")
        .with_contract("interface log {", "interface bell { ring: func(times: u32); }\ninterface log {")
        .with_contract("export engine;", "import bell;\n    export engine;")
        .with("  ;; more imports", &bell.replace("BELL", "pilothouse:engine/bell@0.1.0"));
    assert_eq!(refused(&ours.component()), LoadError::UnknownImport { import: "pilothouse:engine/bell@0.1.0".to_owned() });
}

#[test]
fn of_a_name_of_a_hundred_thousand_letters_only_the_beginning_is_told() {
    let bell = "b".repeat(90_000);
    let whole = wat::parse_str(format!("(component (import \"{bell}\" (func)))")).expect("well formed");
    assert_eq!(refused(&whole), LoadError::UnknownImport { import: bell[..2048].to_owned() });
}

#[test]
fn a_component_with_segments_that_no_limit_of_a_call_sees_is_refused_before_it_is_compiled() {
    let large = format!("(core module $large (func $f) (elem func {}))", "$f ".repeat(5000));
    let whole = |times| wat::parse_str(format!("(component {large} {})", "(core instance (instantiate $large))".repeat(times)));
    let sandbox = sandbox();
    let told = |times| sandbox.load(&whole(times).expect("well formed")).expect_err("it is no engine");
    assert_eq!((told(52), sandbox.compiled()), (LoadError::MissingExport, 1));
    let problem = "its element segments have 265000 elements, over all instances; at most 262144 are taken".to_owned();
    assert_eq!((told(53), sandbox.compiled()), (LoadError::TooDemanding(problem), 1));
}

#[test]
fn a_function_that_is_not_served_is_refused_with_its_name() {
    let guest = Guest::new("quiet")
        .with_contract("interface log {", "interface log {\n    ring: func(times: u32);")
        .with("  ;; more imports", "(import \"pilothouse:engine/log@0.1.0\" \"ring\" (func (param i32)))");
    match refused(&guest.component()) {
        LoadError::ImportType { problem } => {
            assert!(problem.contains("pilothouse:engine/log@0.1.0") && problem.contains("ring"), "{problem}")
        }
        other => panic!("{other}"),
    }
}

#[test]
fn another_version_of_the_contract_is_refused_with_what_it_is() {
    let newer = || Guest::new("quiet").with_contract("package pilothouse:engine@0.1.0", "package pilothouse:engine@0.2.0");
    let all = newer().with("@0.1.0", "@0.2.0").component();
    assert!(matches!(refused(&all), LoadError::ImportVersion { import } if import.ends_with("@0.2.0")));

    let exported = wat::parse_str(r#"(component (instance $empty) (export "pilothouse:engine/engine@0.2.0" (instance $empty)))"#);
    let found = "pilothouse:engine/engine@0.2.0".to_owned();
    assert_eq!(refused(&exported.expect("well formed")), LoadError::ExportVersion { found });
}

#[test]
fn a_component_without_the_export_is_refused() {
    assert_eq!(refused(&wat::parse_str("(component)").expect("well formed")), LoadError::MissingExport);
}

#[test]
fn an_export_that_lacks_a_function_is_refused_with_its_name() {
    let guest = Guest::new("quiet")
        .with_contract("    retire: func(memory: list<u8>);", "")
        .with("(func (export \"pilothouse:engine/engine@0.1.0#retire\") (param i32 i32))", "");
    match refused(&guest.component()) {
        LoadError::ExportType { problem } => assert!(problem.contains("retire"), "{problem}"),
        other => panic!("{other}"),
    }
}

#[test]
fn an_export_of_another_type_is_refused() {
    let guest = Guest::new("quiet").with_contract("retire: func(memory: list<u8>);", "retire: func(memory: string);");
    match refused(&guest.component()) {
        LoadError::ExportType { problem } => assert!(problem.contains("retire"), "{problem}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_description_that_makes_no_sense_is_refused_with_its_field() {
    let field = |old: &str, new: &str| match refused(&Guest::new("quiet").with(old, new).component()) {
        LoadError::Description { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field("\"guest\\00", "\"gu.st\\00"), "name");
    assert_eq!(field("1.0.0", "1.0.x"), "version");
    let long = Guest::new("quiet").with("\\48\\00\\00\\00\\05", "\\48\\00\\00\\00\\41").component();
    assert_eq!(refused(&long).to_string(), "in its description, version: 65 bytes; at most 64 are taken");
    assert_eq!(field("{}\")", "[]\")"), "config-schema");
}

#[test]
fn a_component_that_can_not_say_who_it_is_is_refused() {
    let mute = Guest::new("quiet").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)");
    assert!(matches!(refused(&mute.component()), LoadError::Describe(Fault { kind: FaultKind::Trap, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_component_panics_the_host(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        thread_local! {
            static WHOLE: (Sandbox, Vec<u8>) = (limited(|limits| limits.fuel = 1_000_000), guest("ask"));
        }
        WHOLE.with(|(sandbox, whole)| {
            let mut bytes = whole.clone();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(engine) = sandbox.load(&bytes) {
                let _ = run(&domain(json!({})), &engine);
                let _ = engine.check_config("{}");
                let _ = engine.retire(b"");
            }
        });
    }
}
