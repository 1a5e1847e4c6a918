//! What `wit-bindgen` makes of the world `decision-engine`. Nothing but generated code; engines use what the crate offers instead.

wit_bindgen::generate!({
    world: "decision-engine",
    path: "../../wit/engine",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "pilothouse_engine::bindings",
    additional_derives: [PartialEq],
    generate_all,
});
