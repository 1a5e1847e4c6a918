//! Schemas as tables for people.

use serde_json::{Map, Value};

/// The type of a value of which nothing is said.
const ANYTHING: &str = "anything";

/// JSON as it is kept in a file.
pub(super) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Text that stays in its cell of a table.
pub(super) fn cell(text: &str) -> String {
    let text = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("<br>");
    text.replace('|', "\\|")
}

/// What a schema says of itself.
pub(super) fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    // Examples of code are for those who work on it.
    let text = text.split("```").next().unwrap_or_default().trim_end();
    // Links of the code's own documentation lead nowhere here.
    text.replace("[`", "`").replace("`]", "`")
}

/// The name that a reference leads to.
pub(super) fn referred(schema: &Value) -> Option<&str> {
    let direct = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    direct.or_else(|| match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) => referred(only),
        _ => None,
    })
}

/// What an object holds under names that are not known beforehand.
pub(super) fn named(schema: &Value) -> Option<&Value> {
    let by_pattern = schema["patternProperties"].as_object().and_then(|all| all.values().next());
    by_pattern.or_else(|| Some(&schema["additionalProperties"]).filter(|value| value.is_object()))
}

/// The type of a value in words; names of types link to their place on `page`.
pub(super) fn type_of(schema: &Value, page: &str) -> String {
    if let Some(name) = referred(schema) {
        return format!("[{name}]({page}#{})", name.to_lowercase());
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"]);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let choices = choices.iter().filter(|it| it["type"] != "null");
            return choices.map(|it| type_of(it, page)).collect::<Vec<_>>().join(" or ");
        }
    }
    let one = |word: &str| match word {
        "array" if schema["prefixItems"].is_array() || schema["items"].is_array() => {
            let items = schema["prefixItems"].as_array().or_else(|| schema["items"].as_array()).into_iter().flatten();
            format!("list of {}", items.map(|item| type_of(item, page)).collect::<Vec<_>>().join(" and "))
        }
        "array" => format!("list of {}", type_of(&schema["items"], page)),
        "object" if named(schema).is_some() => {
            format!("object of {} by name", named(schema).map(|value| type_of(value, page)).unwrap_or_default())
        }
        word => word.to_owned(),
    };
    let words: Vec<String> = match &schema["type"] {
        Value::String(word) => vec![one(word)],
        Value::Array(words) => words.iter().filter_map(Value::as_str).filter(|word| *word != "null").map(one).collect(),
        _ => vec![ANYTHING.to_owned()],
    };
    words.join(" or ")
}

/// The bounds of a value, for the column beside its type.
pub(super) fn bounds(schema: &Value) -> String {
    let bound = |key: &str| schema[key].as_f64();
    let mut parts = Vec::new();
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => parts.push(format!("{least} to {most}")),
        // That a count is not negative goes without saying.
        (Some(least), None) if least != 0.0 => parts.push(format!("at least {least}")),
        (None, Some(most)) if bound("exclusiveMinimum").is_some() => {
            parts.push(format!("above {} and up to {most}", bound("exclusiveMinimum").unwrap_or_default()));
        }
        (None, Some(most)) => parts.push(format!("at most {most}")),
        _ => {}
    }
    if let (Some(least), Some(most)) = (bound("minLength"), bound("maxLength")) {
        parts.push(format!("{least} to {most} characters"));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        parts.push(format!("`{pattern}`"));
    }
    parts.join(", ")
}

/// The fields of an object as a table; nothing when it has none.
pub(super) fn fields(schema: &Value, page: &str) -> String {
    let Some(properties) = schema["properties"].as_object().filter(|all| !all.is_empty()) else { return String::new() };
    let is_required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|it| it == name));
    let mut table = "| field | type | required | meaning |\n|---|---|---|---|\n".to_owned();
    for (name, field) in properties {
        let bounds = Some(bounds(field)).filter(|text| !text.is_empty()).map(|text| format!(", {text}")).unwrap_or_default();
        let kind = cell(&format!("{}{bounds}", type_of(field, page)));
        let required = if is_required(name) { "yes" } else { "" };
        table += &format!("| `{name}` | {kind} | {required} | {} |\n", cell(&description(field)));
    }
    table
}

/// All about one type: its fields, or its choices, each with its fields.
pub(super) fn body(schema: &Value, page: &str) -> String {
    let mut text = description(schema);
    if !text.is_empty() {
        text += "\n\n";
    }
    let choices = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if schema["properties"].is_object() {
        let fields = fields(schema, page);
        text += if fields.is_empty() { "No fields.\n" } else { &fields };
        if schema["additionalProperties"] == false {
            text += "\nOther fields are refused.\n";
        }
        if choices.is_some() {
            text += "\nBeside these, one of:\n\n";
        }
    } else if choices.is_none() {
        let bounds = Some(bounds(schema)).filter(|text| !text.is_empty()).map(|text| format!(", {text}")).unwrap_or_default();
        let kind = type_of(schema, page);
        // Of what may be anything, the description says all.
        if kind != ANYTHING || text.is_empty() {
            text += &format!("{kind}{bounds}\n");
        }
    }
    if let Some(choices) = choices {
        if choices.iter().all(|choice| choice["properties"].is_null()) {
            for choice in choices {
                let about = Some(description(choice)).filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default();
                text += &format!("- {}{about}\n", type_of(choice, page));
            }
        } else {
            for choice in choices {
                let whole = referred(choice).map(|name| format!(" All fields of [{name}]({page}#{}), and:", name.to_lowercase()));
                text += &format!("**{}** {}{}\n\n{}\n", tag(choice), description(choice), whole.unwrap_or_default(), fields(choice, page));
            }
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// What tells one choice from the others: its constant field, or the only field it has.
fn tag(choice: &Value) -> String {
    let none = Map::new();
    let properties = choice["properties"].as_object().unwrap_or(&none);
    let constant = properties.iter().find_map(|(name, field)| Some(format!("`{name}` is `{}`.", field["const"].as_str()?)));
    constant.unwrap_or_else(|| match properties.keys().next() {
        Some(only) if properties.len() == 1 => format!("With `{only}`."),
        _ => type_of(choice, ""),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_told_in_words() {
        for (schema, words) in [
            (json!({"type": ["string", "null"]}), "string"),
            (json!({"anyOf": [{"$ref": "#/components/schemas/Name"}, {"type": "null"}]}), "[Name](x.md#name)"),
            (json!({"type": "array", "items": {"type": "integer"}}), "list of integer"),
            (json!({"type": "object", "additionalProperties": {"type": "string"}}), "object of string by name"),
            (json!({"enum": ["a", "b"]}), "`\"a\"` or `\"b\"`"),
            (json!(true), "anything"),
        ] {
            assert_eq!(type_of(&schema, "x.md"), words, "{schema}");
        }
    }

    #[test]
    fn a_table_keeps_its_cells_apart() {
        let schema = json!({"properties": {"a": {"type": "string", "description": "One | two.\n\nThree\nfour."}}, "required": ["a"]});
        assert!(fields(&schema, "").contains("| `a` | string | yes | One \\| two.<br>Three four. |\n"));
    }

    #[test]
    fn a_choice_that_holds_another_type_names_it() {
        let tag = json!({"about": {"const": "domain", "type": "string"}});
        let choice = json!({"description": "A story.", "allOf": [{"$ref": "#/x/Story"}], "properties": tag, "required": ["about"]});
        let told = body(&json!({"oneOf": [choice]}), "");
        assert!(told.contains("**`about` is `domain`.** A story. All fields of [Story](#story), and:"), "{told}");
    }
}
