//! Files that can't serve as engines, each refused with the exact reason; nothing of them is kept.

use anyhow::{Result, ensure};
use pilothouse_tests::guest::guest;
use serde_json::json;

use crate::beast::Beast;
use crate::keeper::{Zoo, visit};

/// It is refused in these words.
fn is_refused(bytes: &[u8], words: &str) {
    visit(async |zoo| refuses(zoo, bytes, words).await);
}

async fn refuses(zoo: &Zoo, bytes: &[u8], words: &str) -> Result<()> {
    let told = zoo.refusal(bytes).await?;
    ensure!(told.contains(words), "{told}");
    Ok(())
}

const SPINS: &str = "(loop $again (br $again))";

#[test]
fn an_engine_that_spins_before_anybody_asks_it_anything_is_refused() {
    let start = format!("  (start $starts)\n  (func $starts {SPINS})\n  ;; For requests:");
    is_refused(&Beast::quiet("starts").with("  ;; For requests:", &start).component(), "failed: fuel: used up");
}

#[test]
fn an_engine_that_gives_up_before_anybody_asks_it_anything_is_refused() {
    let start = "  (start $starts)\n  (func $starts unreachable)\n  ;; For requests:";
    is_refused(&Beast::quiet("starts").with("  ;; For requests:", start).component(), "failed: trap: wasm trap: wasm `unreachable`");
}

/// An engine that does this when it is asked who it is.
fn describing(body: &str) -> Vec<u8> {
    let describe = "#describe\") (result i32) (i32.const 0))";
    Beast::quiet("describing").with(describe, &format!("#describe\") (result i32) {body})")).component()
}

#[test]
fn an_engine_that_panics_when_it_is_asked_who_it_is_is_refused() {
    is_refused(&describing("unreachable"), "asked for its description, it failed: trap: wasm trap: wasm `unreachable`");
}

#[test]
fn an_engine_that_spins_when_it_is_asked_who_it_is_is_refused() {
    is_refused(&describing(&format!("{SPINS} unreachable")), "asked for its description, it failed: fuel: used up");
}

#[test]
fn an_engine_that_says_who_it_is_in_no_text_is_refused() {
    is_refused(&describing("(i32.store (i32.const 512) (i32.const -1)) (i32.const 0)"), "utf-8");
}

#[test]
fn an_engine_with_a_name_that_is_none_is_refused() {
    is_refused(&Beast::quiet("gu.st").component(), "in its description, name");
}

#[test]
fn an_engine_with_a_version_that_is_none_is_refused() {
    is_refused(&Beast::quiet("versions").with("1.0.0", "1.0.x").component(), "in its description, version");
}

#[test]
fn an_engine_whose_schema_is_no_object_is_refused() {
    is_refused(&Beast::quiet("schemas").with_schema("[]").component(), "in its description, config-schema");
}

#[test]
fn an_engine_whose_schema_is_none_is_refused() {
    is_refused(&Beast::quiet("no_schema").with_schema(r#"{"type": "colour"}"#).component(), "config-schema: no JSON Schema: at \"/type\"");
}

#[test]
fn an_engine_whose_schema_goes_round_in_circles_is_refused() {
    is_refused(&Beast::quiet("circles").with_schema(r##"{"not": {"$ref": "#"}}"##).component(), "config-schema: it refers to itself");
}

#[test]
fn nothing_is_fetched_for_a_schema_that_refers_to_somewhere_else() {
    visit(async |zoo| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let place = format!("http://{}/schema.json", listener.local_addr()?);
        let far = Beast::quiet("far_schema").with_schema(&json!({"$ref": place}).to_string());
        refuses(zoo, &far.component(), "config-schema: it refers to \"http://127.0.0.1:").await?;
        // The answer is there, and nobody has come.
        let came = tokio::select! {
            biased;
            came = listener.accept() => Some(came),
            () = std::future::ready(()) => None,
        };
        ensure!(came.is_none(), "the host fetched it");
        Ok(())
    });
}

#[test]
fn an_engine_that_passes_itself_off_as_one_that_ships_is_refused() {
    let version = env!("CARGO_PKG_VERSION");
    is_refused(&Beast::quiet("simplest").with("1.0.0", version).component(), "simplest@");
}

#[test]
fn an_engine_that_is_offered_as_another_is_refused_and_taken_as_what_it_says_it_is() {
    visit(async |zoo| {
        let liar = Beast::quiet("liar");
        let component = liar.component();
        // The one that decides the neighbours, one that is not there, and another version of its own.
        for expected in [&format!("simplest@{}", env!("CARGO_PKG_VERSION")), "honest@1.0.0", "liar@1.0.1"] {
            let words = format!("expected {expected}, and the component says that it is liar@1.0.0");
            let told = zoo.refusal_as(&component, Some(expected)).await?;
            ensure!(told.contains(&words), "{told}");
            let told = zoo.refusal_of_file(&format!("{expected}.wasm"), &component).await?;
            ensure!(told.contains(&words), "{told}");
        }
        for nobody in ["honest", "liar"] {
            let told = zoo.add_refused("deceived", nobody).await?;
            ensure!(told.contains(nobody) && zoo.records("deceived").await?.is_empty(), "{told}");
        }
        zoo.offer(&liar).await
    });
}

#[test]
fn an_engine_with_a_memory_that_is_too_large_from_the_beginning_is_refused() {
    let large = Beast::quiet("large").with("(memory (export \"memory\") 1)", "(memory (export \"memory\") 65536)");
    is_refused(&large.component(), "it needs more than a call may have");
}

#[test]
fn an_engine_with_tables_that_are_too_large_from_the_beginning_is_refused() {
    let tables = "  (table 10000000 funcref)\n  ;; For requests:";
    is_refused(&Beast::quiet("tables").with("  ;; For requests:", tables).component(), "it needs more than a call may have");
}

#[test]
fn an_import_that_is_not_served_is_refused_with_its_name() {
    let beast = Beast::quiet("caller")
        .with_contract("export engine;", "import bell: interface { ring: func(times: u32); }\n    export engine;")
        .with("  ;; more imports", "(import \"bell\" \"ring\" (func (param i32)))");
    is_refused(&beast.component(), "it imports `bell`, which is not served");
}

#[test]
fn another_version_of_the_contract_is_refused_with_what_it_is() {
    let newer = Beast::quiet("newer").with_contract("package pilothouse:engine@0.1.0", "package pilothouse:engine@0.2.0");
    is_refused(&newer.with("@0.1.0", "@0.2.0").component(), "@0.2.0`; version 0.1.0 is served");
}

#[test]
fn a_component_that_exports_another_version_of_an_engine_is_refused() {
    let exported = wat::parse_str(r#"(component (instance $empty) (export "pilothouse:engine/engine@0.2.0" (instance $empty)))"#);
    is_refused(&exported.expect("well formed"), "it exports `pilothouse:engine/engine@0.2.0`");
}

#[test]
fn a_component_that_is_no_engine_is_refused() {
    is_refused(&wat::parse_str("(component)").expect("well formed"), "it does not export `pilothouse:engine/engine@0.1.0`");
}

#[test]
fn an_engine_that_lacks_a_function_is_refused_with_its_name() {
    let beast = Beast::quiet("lacking")
        .with_contract("    retire: func(memory: list<u8>);", "")
        .with("(func (export \"pilothouse:engine/engine@0.1.0#retire\") (param i32 i32))", "");
    is_refused(&beast.component(), "retire");
}

#[test]
fn a_core_module_is_refused_with_what_to_do() {
    is_refused(&Beast::quiet("core").module(), "it is a core module and no component: make one of it");
}

#[test]
fn what_is_no_webassembly_is_refused() {
    is_refused(b"#!/bin/sh\nrm -rf /\n", "it is no WebAssembly component");
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_without_a_look_at_it() {
    visit(async |zoo| {
        let mut bytes = guest("quiet");
        bytes.resize(100 << 20, 0);
        refuses(zoo, &bytes, "at most 67108864 are taken").await
    });
}
