//! A file that is no engine: what it is instead, and what to do.

use pilothouse_engine_host::LoadError;

/// What is wrong with the file, and what its author can do.
pub(super) fn told(error: &LoadError) -> String {
    match advice(error) {
        Some(advice) => format!("{error}\n  {advice}"),
        None => error.to_string(),
    }
}

fn advice(error: &LoadError) -> Option<String> {
    let advice = match error {
        LoadError::NotWasm => "Give the file that `pilothouse engine build` writes; its name ends in .wasm.",
        LoadError::CoreModule => "`pilothouse engine build` in the project's folder builds the module and makes a component of it.",
        LoadError::Malformed(_) => {
            "If the file was copied, copy it again. If it was built, build it with the tools that `pilothouse engine build` uses."
        }
        LoadError::UnknownImport { import } if import.starts_with("wasi:") => {
            "Of WASI, version 0.2 of cli, clocks, filesystem, io, random and sockets is served, from the decision alone: its moment, its \
             seed and its log, no environment, no files, no network. There is no http: in JavaScript componentize with the features `http` \
             and `fetch-event` disabled. `pilothouse engine build` imports nothing that is not served."
        }
        LoadError::UnknownImport { .. } | LoadError::ImportType { .. } | LoadError::ExportType { .. } => {
            "Build it against the contract of this version: `pilothouse engine new` writes it into the project, in the folder `wit`."
        }
        LoadError::ImportVersion { .. } | LoadError::ExportVersion { .. } => {
            "It was built against another version of the contract. Build it against this one, or use a pilothouse that serves the other."
        }
        LoadError::MissingExport => "It is a component, but of another world: build it for the world `decision-engine`.",
        LoadError::TooLarge { .. }
        | LoadError::TooDemanding(_)
        | LoadError::Compile(_)
        | LoadError::Describe(_)
        | LoadError::Description { .. } => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_imports_what_is_not_served_of_wasi_is_told_how_not_to() {
        let told = told(&LoadError::UnknownImport { import: "wasi:http/types@0.2.0".to_owned() });
        assert!(told.contains("wasi:http/types@0.2.0") && told.contains("`fetch-event` disabled"), "{told}");
    }
}
