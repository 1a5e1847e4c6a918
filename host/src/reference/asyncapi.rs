//! `api.asyncapi.json`: everything that travels, as AsyncAPI 3.0.

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use serde_json::{Map, Value, json};

use super::traffic::{self, Channel, Fails, GROUPS, Message, PARAMETERS, Party, Traffic};
use crate::api::{Audience, ERROR_HEADER};

/// The whole document, told from the host's side: what it receives and what it sends.
pub(super) fn document(traffic: &Traffic) -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for (name, fails) in [("Error", Fails::Typed), ("ProvisionerError", Fails::Untyped)] {
        messages.insert(name.to_owned(), error(name, fails));
    }
    for channel in &traffic.channels {
        channels.insert(channel.id.clone(), one(channel));
        messages.insert(channel.message.name.clone(), message(&channel.message));
        if let Some(answer) = &channel.answer {
            channels.insert(reply_id(channel), reply(channel, answer));
            messages.insert(answer.name.clone(), message(answer));
        }
        operations.insert(channel.id.clone(), operation(channel));
    }
    let parameters: Map<_, _> = PARAMETERS.iter().map(|it| (it.name.to_owned(), json!({"description": it.about}))).collect();
    let tags: Vec<_> = GROUPS.iter().map(|(name, about)| json!({"name": name, "description": about})).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Pilothouse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What travels over NATS between hosts, agents, provisioners and users. Told from the host's side: it receives, or it sends.",
            "license": {"name": env!("CARGO_PKG_LICENSE")},
            "tags": tags,
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "A NATS server with JetStream."}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "parameters": parameters, "schemas": traffic.types},
    })
}

fn to(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn one(channel: &Channel) -> Value {
    let used = PARAMETERS.iter().filter(|it| channel.address.contains(&format!("{{{}}}", it.name)));
    let parameters: Map<_, _> = used.map(|it| (it.name.to_owned(), to("parameters", it.name))).collect();
    json!({
        "address": channel.address,
        "description": channel.about,
        "messages": {&channel.message.name: to("messages", &channel.message.name)},
        "parameters": parameters,
    })
}

fn reply_id(channel: &Channel) -> String {
    format!("{}.reply", channel.id)
}

fn error_name(fails: Fails) -> Option<&'static str> {
    match fails {
        Fails::Never => None,
        Fails::Typed => Some("Error"),
        Fails::Untyped => Some("ProvisionerError"),
    }
}

fn reply(channel: &Channel, answer: &Message) -> Value {
    let names = [Some(answer.name.as_str()), error_name(channel.fails)];
    let messages: Map<_, _> = names.into_iter().flatten().map(|name| (name.to_owned(), to("messages", name))).collect();
    json!({"address": null, "description": "The inbox that the request names.", "messages": messages})
}

fn operation(channel: &Channel) -> Value {
    let channel_ref = |id: &str| json!({"$ref": format!("#/channels/{id}")});
    let message_ref = |id: &str, name: &str| json!({"$ref": format!("#/channels/{id}/messages/{name}")});
    let mut operation = json!({
        "action": if channel.to == Party::Host { "receive" } else { "send" },
        "channel": channel_ref(&channel.id),
        "summary": channel.about,
        "tags": [{"name": channel.group}],
        "messages": [message_ref(&channel.id, &channel.message.name)],
    });
    if let Some(answer) = &channel.answer {
        let id = reply_id(channel);
        let names = [Some(answer.name.as_str()), error_name(channel.fails)];
        let messages: Vec<_> = names.into_iter().flatten().map(|name| message_ref(&id, name)).collect();
        operation["reply"] = json!({"channel": channel_ref(&id), "messages": messages});
    }
    if let Some(asked) = channel.operation {
        operation["x-audience"] = match asked.audience() {
            Audience::Users => "users".into(),
            Audience::Operators => "operators".into(),
        };
        operation["x-served-by"] = traffic::served_by(asked).into();
        operation["x-changes"] = asked.changes().into();
    }
    operation
}

fn message(message: &Message) -> Value {
    let mut told = json!({"name": message.name, "contentType": "application/json", "payload": message.schema});
    if !message.examples.is_empty() {
        told["examples"] = message.examples.iter().map(|payload| json!({"payload": payload})).collect();
    }
    told
}

/// An answer that says why there is none: without a body, told in headers.
fn error(name: &str, fails: Fails) -> Value {
    let mut headers = json!({
        "type": "object",
        "required": [NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE],
        "properties": {
            NATS_SERVICE_ERROR: {"type": "string", "description": "In words, in one line."},
            NATS_SERVICE_ERROR_CODE: {"type": "string", "description": "The code, as HTTP counts."},
        },
    });
    if fails == Fails::Typed {
        headers["properties"][ERROR_HEADER] = json!({
            "type": "string",
            "contentMediaType": "application/json",
            "description": "The error as JSON, for programs: see the schema ApiError.",
            "x-schema": to("schemas", "ApiError"),
        });
    }
    json!({
        "name": name,
        "summary": "The request was not carried out. An answer that has the header is an error, whatever its body.",
        "headers": headers,
        "payload": {"description": "Not to be read."},
    })
}
