//! Engines that misbehave, or tell what they were asked.

use pilothouse_tests::guest::Guest;

const CONFIG: &str = r#"(import "pilothouse:engine/state@0.1.0" "[method]domain.config" (func $config (param i32 i32)))"#;

fn named(guest: Guest, name: &str) -> Guest {
    assert_eq!(name.len(), "guest".len(), "the name is written over another");
    guest.with("guest\\00", &format!("{name}\\00"))
}

fn tallying() -> Guest {
    Guest::new("tally")
        .with("  ;; more imports", CONFIG)
        .with("  ;; its first memory", "(call $count (i32.const 4096) (i32.const 0))")
        .with(
            "  ;; its next memory",
            "(memory.copy (i32.const 4096) (local.get 0) (i32.const 3)) (call $count (i32.const 4096) (i32.const 1))",
        )
        .with("(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))", "")
}

/// Tells in its reason how often it was initialised, reconfigured and asked to decide, as three digits, and then its configuration.
pub(crate) fn tally() -> Vec<u8> {
    named(tallying(), "tally").component()
}

/// Decides, and fails at every reconfiguration.
pub(crate) fn stuck() -> Vec<u8> {
    named(tallying(), "stuck").with("(call $count (i32.const 4096) (i32.const 1))", "unreachable").component()
}

/// Fails at every decision.
pub(crate) fn never() -> Vec<u8> {
    named(Guest::new("quiet"), "never").with("(call $done (local.get $domain) (local.get $control)))", "unreachable)").component()
}

/// Decides, and fails when its domain goes.
pub(crate) fn cling() -> Vec<u8> {
    named(Guest::new("brittle"), "cling").with("#retire\") (param i32 i32))", "#retire\") (param i32 i32) unreachable)").component()
}
