//! Engines that misbehave, built from the texts in `tests/guests/zoo`.

use std::fs;

use pilothouse_tests::guest::Guest;
use pilothouse_tests::play::root;

/// What some of them ask for besides what the frame of all guests imports.
const IMPORTS: &str = r#"  (import "pilothouse:engine/state@0.1.0" "[method]domain.random" (func $draw (param i32) (result i64)))
  (import "pilothouse:engine/state@0.1.0" "[method]domain.config" (func $config (param i32 i32)))
  ;; more imports"#;

/// An engine that misbehaves, under a name of its own.
#[derive(Debug)]
pub(crate) struct Beast {
    pub(crate) name: String,
    guest: Guest,
}

impl Beast {
    /// One that decides well once, and then asks for much and misbehaves as the text of this name says.
    pub(crate) fn once(name: &str) -> Self {
        Self::once_as(name, name)
    }

    /// One whose text has all of its `decide`.
    pub(crate) fn alone(name: &str) -> Self {
        Self::of(name, Guest::new(&format!("zoo/{name}")))
    }

    /// One that decides well once, and then asks for much and does what the text of another name says.
    pub(crate) fn once_as(name: &str, misdeed: &str) -> Self {
        let path = root().join("tests/guests/zoo").join(misdeed).with_extension("wat");
        let misdeed = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::of(name, Guest::new("zoo/once").with(";; the misdeed\n", &misdeed))
    }

    /// One that wants nothing, until it is changed.
    pub(crate) fn quiet(name: &str) -> Self {
        Self::of(name, Guest::new("quiet"))
    }

    /// A guest under another name.
    pub(crate) fn of(name: &str, guest: Guest) -> Self {
        assert!(name.len() < 64 && name.is_ascii(), "a name");
        let guest = guest
            .with("  ;; more imports", IMPORTS)
            .with("\"\\40\\00\\00\\00\\05\\00\\00\\00", &format!("\"\\00\\02\\00\\00\\{:02x}\\00\\00\\00", name.len()))
            .with("  ;; For requests:", &format!("  (data (i32.const 512) \"{name}\")\n  ;; For requests:"));
        Self { name: name.to_owned(), guest }
    }

    /// With the functions of WASI to call.
    pub(crate) fn with_wasi(self) -> Self {
        Self { guest: self.guest.with_wasi(), ..self }
    }

    /// With a JSON schema of its configuration.
    pub(crate) fn with_schema(self, schema: &str) -> Self {
        assert!(schema.len() < 128, "there is room for it");
        let written: String = schema.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        self.with("\\58\\00\\00\\00\\02\\00\\00\\00\")", &format!("\\80\\02\\00\\00\\{:02x}\\00\\00\\00\")", schema.len()))
            .with("  ;; For requests:", &format!("  (data (i32.const 640) \"{written}\")\n  ;; For requests:"))
    }

    /// With a text of its module replaced, which must be there.
    pub(crate) fn with(self, old: &str, new: &str) -> Self {
        Self { guest: self.guest.with(old, new), ..self }
    }

    /// With a text of the contract replaced, which must be there.
    pub(crate) fn with_contract(self, old: &str, new: &str) -> Self {
        Self { guest: self.guest.with_contract(old, new), ..self }
    }

    /// The core module.
    pub(crate) fn module(&self) -> Vec<u8> {
        self.guest.module()
    }

    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        self.guest.component()
    }
}
