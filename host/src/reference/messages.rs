//! `messages.md`: every message, field by field.

use serde_json::{Map, Value};

use super::head;
use super::markdown::{body, referred};
use super::traffic::{Channel, GROUPS, Message, Traffic};

/// This page, for links within it.
const HERE: &str = "";

/// The page.
pub(super) fn page(traffic: &Traffic) -> String {
    let mut text = head("Messages");
    text += "Every message that travels over NATS; [subjects.md](subjects.md) tells where. Bodies are JSON objects. Moments are milliseconds since \
             the Unix epoch unless their field says otherwise.\n";
    for (group, _) in GROUPS {
        text += &format!("\n## {group}\n");
        for channel in traffic.channels.iter().filter(|channel| channel.group == *group) {
            text += &section(channel, &channel.message, "");
            if let Some(answer) = &channel.answer {
                text += &section(channel, answer, "The answer to ");
            }
        }
    }
    text += "\n## Types\n\nWhat the messages are made of.\n";
    for (name, schema) in &traffic.types {
        text += &format!("\n### {name}\n\n{}", body(schema, HERE));
    }
    text
}

/// The anchor of a heading, as renderers of Markdown make it.
pub(super) fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace('.', "").replace(' ', "-")
}

fn section(channel: &Channel, message: &Message, role: &str) -> String {
    // A message that is a type of its own name is told once, with the types.
    let what = match referred(&message.schema) {
        Some(name) if name == message.name => {
            return format!("\n- [{name}](#{}) on `{}`\n", anchor(name), channel.address) + &examples(message);
        }
        Some(name) => format!("A [{name}](#{}).\n", anchor(name)),
        None => composed(&message.schema),
    };
    format!("\n### {}\n\n{role}`{}`\n\n{what}{}", message.name, channel.address, examples(message))
}

/// A type with a rule of its own subject beside it, or something that is no type.
fn composed(schema: &Value) -> String {
    let Some([whole, rule]) = schema["allOf"].as_array().map(Vec::as_slice) else { return body(schema, HERE) };
    let name = referred(whole).unwrap_or_default();
    let fields: Vec<_> = rule["properties"].as_object().into_iter().flat_map(Map::keys).map(|field| format!("`{field}`")).collect();
    let with = if rule["required"].is_array() { "with" } else { "without" };
    let rule = format!("{with} {}", fields.join(", "));
    format!("A [{name}](#{}) {rule}.\n", anchor(name))
}

fn examples(message: &Message) -> String {
    if message.examples.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = message.examples.iter().map(Value::to_string).collect();
    format!("\n```json\n{}\n```\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_link_within_the_reference_leads_to_a_heading() {
        let traffic = Traffic::all();
        let messages = page(&traffic);
        let headings: std::collections::BTreeSet<String> =
            messages.lines().filter_map(|line| Some(anchor(line.strip_prefix("### ")?))).collect();
        let mut tried = 0;
        for (page, mark) in [(&messages, "](#"), (&super::super::subjects::page(&traffic), "](messages.md#")] {
            for link in page.split(mark).skip(1) {
                let target = link.split(')').next().unwrap_or_default();
                assert!(headings.contains(target), "{target}");
                tried += 1;
            }
        }
        assert!(tried > 100, "{tried}");
    }

    #[test]
    fn a_rule_beside_a_type_is_told_in_words() {
        let schema = json!({"allOf": [{"$ref": "#/x/Reading"}, {"properties": {"node_id": {"type": "null"}}}]});
        assert_eq!(composed(&schema), "A [Reading](#reading) without `node_id`.\n");
    }
}
