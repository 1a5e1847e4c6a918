use proptest::prelude::*;
use serde_json::json;

use super::*;

fn told(conf: Value) -> Vec<String> {
    let count = json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"}]});
    let schema =
        json!({"type": "object", "properties": {"n": count, "a": {"type": "boolean"}}, "required": ["n"], "additionalProperties": false});
    let (Value::Object(schema), Value::Object(conf)) = (schema, conf) else { panic!("objects") };
    check_schema(&schema, &conf).iter().map(ToString::to_string).collect()
}

#[test]
fn an_unknown_key_is_named_by_its_place() {
    let expected = ["/engine_conf/a~1b: the engine knows no such key", "/engine_conf/m: the engine knows no such key"];
    assert_eq!(told(json!({"n": 1, "m": 2, "a/b": 3})), expected);
}

#[test]
fn of_several_alternatives_the_nearest_says_what_is_wrong() {
    assert_eq!(told(json!({"n": -1})), ["/engine_conf/n: -1 is less than the minimum of 0"]);
    assert_eq!(told(json!({"n": "x"})), ["/engine_conf/n: \"x\" does not match \"^[0-9]+$\""]);
    let neither = told(json!({"n": true}));
    assert!(neither[0].contains("integer") && neither[0].contains("string"), "{neither:?}");
}

#[test]
fn what_is_missing_or_of_another_type_is_told() {
    assert_eq!(told(json!({})), ["/engine_conf: \"n\" is a required property"]);
    assert_eq!(told(json!({"n": "3", "a": 1})), ["/engine_conf/a: 1 is not of type \"boolean\""]);
}

fn judged_alone(schema: &Value) -> Result<(), String> {
    judge_schema(schema.as_object().expect("an object"))
}

/// Definitions `a0` to `aN`, each made of the one before.
fn chain(levels: usize, each: impl Fn(Value) -> Value) -> Value {
    let mut defs = Map::from_iter([("a0".to_owned(), json!({"type": "object"}))]);
    for n in 1..=levels {
        defs.insert(format!("a{n}"), each(json!({"$ref": format!("#/$defs/a{}", n - 1)})));
    }
    json!({"$defs": defs, "$ref": format!("#/$defs/a{levels}")})
}

#[test]
fn a_short_schema_that_is_a_million_subschemas_long_is_refused_at_once() {
    let schema = chain(20, |before| json!({"anyOf": [{"not": before}, {"allOf": [before, before]}]}));
    assert!(schema.to_string().len() < 2500);
    assert!(judged_alone(&schema).expect_err("too much").contains("more than 10000 subschemas"));
    assert!(check_schema(schema.as_object().expect("an object"), &Map::new())[0].message.contains("more than 10000 subschemas"));
    let small = chain(4, |before| json!({"anyOf": [{"not": before}, {"allOf": [before, before]}]}));
    assert_eq!(judged_alone(&small), Ok(()));
}

#[test]
fn a_schema_that_would_be_compiled_for_ever_is_refused_at_once() {
    let closed = |levels| {
        let mut schema = chain(levels, |before| json!({"allOf": [before, before]}));
        schema["unevaluatedProperties"] = json!(false);
        schema
    };
    assert!(judged_alone(&closed(22)).is_err());
    assert!(judged_alone(&closed(9)).is_err());
    let many: Map<String, Value> =
        (0..1000).map(|n| (n.to_string(), json!({"allOf": [{}, {}, {}], "unevaluatedProperties": false}))).collect();
    assert!(judged_alone(&json!({"properties": many})).expect_err("too much").contains("asked what they evaluated"));
    assert_eq!(judged_alone(&closed(4)), Ok(()));
    let within = chain(22, |before| json!({"allOf": [before], "unevaluatedProperties": false}));
    assert!(judged_alone(&within).is_err());
}

#[test]
fn a_tree_that_refers_to_itself_is_judged_as_deep_as_it_goes() {
    let node = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "of": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["name"],
        "unevaluatedProperties": false,
    });
    let schema = json!({"$defs": {"node": node}, "properties": {"tree": {"$ref": "#/$defs/node"}}});
    assert_eq!(judged_alone(&schema), Ok(()));
    let schema = schema.as_object().expect("an object");
    let tree = |leaf: Value| (0..50).fold(leaf, |below, _| json!({"name": "a", "of": [below, {"name": "b"}]}));
    let conf = |leaf| Map::from_iter([("tree".to_owned(), tree(leaf))]);
    assert_eq!(check_schema(schema, &conf(json!({"name": "c"}))), []);
    let problems = check_schema(schema, &conf(json!({})));
    assert_eq!(problems[0].to_string(), format!("/engine_conf/tree{}: \"name\" is a required property", "/of/0".repeat(50)));
}

#[test]
fn a_value_that_doubles_the_work_with_each_level_is_refused_where_it_is_too_deep() {
    let twice = json!({"properties": {"x": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    assert_eq!(judged_alone(&twice), Ok(()));
    let deep = |levels| (0..levels).fold(json!({}), |below, _| json!({"x": below}));
    let told = |levels| check_schema(twice.as_object().expect("an object"), deep(levels).as_object().expect("an object"));
    assert_eq!(told(8), []);
    assert!(told(40)[0].to_string().starts_with("/engine_conf: too large, or nested too deeply"), "{:?}", told(40));
}

#[test]
fn a_schema_that_finds_fault_a_million_times_is_told_once() {
    let schema = json!({"additionalProperties": {"items": {"allOf": vec![json!(false); 5000]}}});
    let told = |items| check_schema(schema.as_object().expect("an object"), &Map::from_iter([("a".to_owned(), json!(vec![1; items]))]));
    assert_eq!(told(1).len(), MAX_PROBLEMS);
    let one = told(500);
    assert_eq!(one.len(), 1, "{one:?}");
    assert!(one[0].message.contains("too large to tell where"), "{one:?}");
    assert!(told(5000)[0].message.contains("too large, or nested"));
}

#[test]
fn what_a_schema_may_not_have_is_told() {
    let deep = (0..70).fold(json!({}), |below, _| json!({"not": below}));
    let long = "a".repeat(1025);
    let cases = [
        (json!({"type": "colour"}), "no JSON Schema: at \"/type\""),
        (json!({"$ref": "http://127.0.0.1:1/a.json"}), "nothing is fetched"),
        (json!({"$ref": "file:///etc/passwd"}), "nothing is fetched"),
        (json!({"$dynamicRef": "#elsewhere"}), "nothing is fetched"),
        (json!({"properties": {"a": {"$ref": "#/$defs/none"}}}), "\"#/$defs/none\""),
        (json!({"$ref": "#"}), "without end"),
        (json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}), "without end"),
        (deep, "nests more than 64 deep"),
        (chain(300, |before| before), "more than 256"),
        (json!({"properties": {"a": {"pattern": long}}}), "more than 1024 bytes"),
        (json!({"patternProperties": {long.clone(): {}}}), "more than 1024 bytes"),
        (json!({"anyOf": vec![json!({"pattern": "a"}); 257]}), "more than 256 patterns"),
        (json!({"pattern": r"^(a+)\1$"}), "no JSON Schema"),
        (json!({"pattern": r"^(?=a)"}), "no JSON Schema"),
        (json!({"pattern": r"(\w{400}){400}"}), "no JSON Schema"),
        (json!({"$defs": {"a": {"$id": "http://127.0.0.1/b", "type": "object"}}}), "`$id` of its own"),
        (json!({"$defs": {"a": {"$anchor": "a"}, "b": {"$anchor": "a"}}}), "two subschemas have the anchor"),
        (json!({"allOf": vec![json!({}); 10_001]}), "more than 10000 subschemas"),
    ];
    for (schema, words) in cases {
        let told = judged_alone(&schema).expect_err(words);
        assert!(told.contains(words) && told.len() < 2000, "{told} / {words}");
    }
}

#[test]
fn references_within_a_schema_lead_where_they_say() {
    let schema = json!({
        "$id": "https://example.org/mine",
        "$defs": {"a/b c": {"type": "integer"}, "n": {"$anchor": "word", "type": "string"}, "d": {"$dynamicAnchor": "dyn", "type": "null"}},
        "properties": {
            "a": {"$ref": "#/$defs/a~1b%20c"},
            "b": {"$ref": "https://example.org/mine#word"},
            "c": {"$dynamicRef": "#dyn"},
            "d": {"$ref": "#"},
        },
    });
    assert_eq!(judged_alone(&schema), Ok(()));
    let (Value::Object(schema), Value::Object(conf)) = (schema, json!({"d": {"a": "x", "b": 1, "c": 1}})) else { panic!("objects") };
    let at: Vec<String> = check_schema(&schema, &conf).into_iter().map(|it| it.at).collect();
    assert_eq!(at, ["/engine_conf/d/a", "/engine_conf/d/b", "/engine_conf/d/c"]);
}

fn drawn_parts(below: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let keyword = prop::sample::select(vec![
        "not",
        "if",
        "then",
        "additionalProperties",
        "unevaluatedProperties",
        "items",
        "contains",
        "unevaluatedItems",
    ]);
    let list = prop::sample::select(vec!["allOf", "anyOf", "oneOf", "prefixItems"]);
    let map = prop::sample::select(vec!["properties", "patternProperties", "dependentSchemas"]);
    let one = (keyword, below.clone()).prop_map(|(keyword, part)| (keyword, part));
    let many = (list, prop::collection::vec(below.clone(), 1..4)).prop_map(|(keyword, parts)| (keyword, json!(parts)));
    let named = (map, prop::collection::btree_map("[ab]", below, 1..3)).prop_map(|(keyword, parts)| (keyword, json!(parts)));
    let any = prop_oneof![one, many, named];
    prop::collection::vec(any, 1..4)
        .prop_map(|parts| parts.into_iter().map(|(keyword, part)| (keyword.to_owned(), part)).collect::<Map<_, _>>().into())
}

fn drawn_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        (0..4_u8).prop_map(|n| json!({"$ref": format!("#/$defs/{n}")})),
        Just(json!({"type": "object"})),
    ];
    let part = leaf.prop_recursive(4, 24, 3, |below| drawn_parts(below.boxed()));
    (prop::collection::vec(part.clone(), 4), part).prop_map(|(defs, root)| {
        let defs: Map<String, Value> = defs.into_iter().enumerate().map(|(n, part)| (n.to_string(), part)).collect();
        json!({"$defs": defs, "allOf": [root]})
    })
}

fn drawn_conf() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![Just(json!(1)), Just(json!("a"))];
    let value = leaf.prop_recursive(6, 40, 3, |below| {
        let list = prop::collection::vec(below.clone(), 0..3).prop_map(Value::from);
        prop_oneof![list, prop::collection::btree_map("[abc]", below, 0..3).prop_map(|map| json!(map))]
    });
    prop::collection::btree_map("[abc]", value, 0..3).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// None of them comes near to what must never be, nor is any of them fetched or stumbled over.
    #[test]
    fn any_schema_is_refused_or_judged_by_soon(schema in drawn_schema(), conf in drawn_conf()) {
        let begun = std::time::Instant::now();
        if judged_alone(&schema).is_ok() {
            let _problems = check_schema(schema.as_object().expect("an object"), &conf);
        }
        prop_assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{schema} {conf:?}");
    }
}

#[test]
fn the_deepest_that_is_judged_fits_on_a_small_stack() {
    let tall = (0..8).fold(json!({"properties": {"x": {"$ref": "#/$defs/t"}}, "required": ["x"]}), |below, n| {
        if n % 2 == 0 { json!({"anyOf": [below, false]}) } else { json!({"oneOf": [below, false]}) }
    });
    let schema = json!({"$defs": {"t": tall}, "$ref": "#/$defs/t"});
    let judge = move || {
        let conf = |levels| (0..levels).fold(json!({}), |below, _| json!({"x": below}));
        let told = |levels| check_schema(schema.as_object().expect("an object"), conf(levels).as_object().expect("an object"));
        let deepest = (1..100).rev().find(|levels| !told(*levels)[0].message.starts_with("too large")).expect("one that is judged");
        assert!(deepest > 40, "{deepest}");
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(judge).expect("a thread");
    thread.join().expect("it is judged");
}
