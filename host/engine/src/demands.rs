//! What a component makes the host hold before any limit of a call sees it, found out without compiling it.
//!
//! The element segments of a core module cost the host memory in each call, for each instance of the module, and none of it is a table's: a
//! byte of a component can become sixteen of every call, sixty-four times. And a component that is made of components can ask for far more
//! instances than it has bytes. So both are counted here, over everything that the component is made of, as often as it is instantiated.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, ElementItems, Instance, Parser,
    Payload,
};

use crate::limits::EngineLimits;
use crate::loader::LoadError;
use crate::sandbox::CORE_INSTANCES;

/// Elements of segments that a component may have, for each that its tables may have: a table is filled from a segment, and what an
/// interpreter links has some of its own.
const SEGMENTS_PER_TABLE_ELEMENT: u64 = 4;
/// Instances of components within a component. Nobody has more than a few dozen.
const COMPONENT_INSTANCES: u64 = 1000;
/// What a component and those that it is made of may import, export, alias, define and instantiate, each, and how many types they may have. An
/// interpreter has a few thousand of some.
const ITEMS: u64 = 100_000;

/// What instantiating something once asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Demand {
    /// Elements of element segments.
    elements: u64,
    /// Instances of components, itself included.
    instances: u64,
    /// Whether something is instantiated of which it is not visible here what it is: it was handed over, or comes out of an instance.
    unknown: bool,
}

/// A component whose sections are being read. Modules and components have numbers, in the order in which they come; nothing stands for one
/// of which it is not visible what it is.
#[derive(Debug, Default)]
struct Frame {
    modules: Vec<Option<u64>>,
    components: Vec<Option<Demand>>,
    demand: Demand,
}

/// What is being read.
enum Level {
    Module(u64),
    Component(Frame),
}

/// Refuses a component that asks for more than these limits allow a call.
pub(crate) fn check(bytes: &[u8], limits: &EngineLimits) -> Result<(), LoadError> {
    let found = find(bytes).map_err(|error| LoadError::Malformed(error.to_string()))?;
    let too_demanding = |problem: String| Err(LoadError::TooDemanding(problem));
    let most = SEGMENTS_PER_TABLE_ELEMENT.saturating_mul(limits.table_elements as u64);
    if found.elements > most {
        let elements = found.elements;
        return too_demanding(format!("its element segments have {elements} elements, over all instances; at most {most} are taken"));
    }
    if found.instances > COMPONENT_INSTANCES {
        return too_demanding(format!(
            "it is made of {} instances of components; at most {COMPONENT_INSTANCES} are taken",
            found.instances
        ));
    }
    match found.items.into_iter().find(|(_, count)| *count > ITEMS) {
        Some((what, count)) => too_demanding(format!("it has {count} {what}; at most {ITEMS} are taken")),
        None => Ok(()),
    }
}

/// What was found in a component.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    elements: u64,
    instances: u64,
    items: [(&'static str, u64); 6],
}

fn find(bytes: &[u8]) -> wasmparser::Result<Found> {
    let (mut levels, mut largest, mut whole) = (Vec::new(), 0, Demand::default());
    let [mut types, mut imports, mut exports, mut aliases, mut functions, mut instances] = [0; 6];
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => levels.push(match encoding {
                wasmparser::Encoding::Module => Level::Module(0),
                wasmparser::Encoding::Component => {
                    Level::Component(Frame { demand: Demand { instances: 1, ..Demand::default() }, ..Frame::default() })
                }
            }),
            Payload::End(_) => match (levels.pop(), levels.last_mut()) {
                (Some(Level::Module(elements)), Some(Level::Component(outer))) => {
                    largest = largest.max(elements);
                    outer.modules.push(Some(elements));
                }
                (Some(Level::Component(frame)), Some(Level::Component(outer))) => outer.components.push(Some(frame.demand)),
                (Some(Level::Component(frame)), None) => whole = frame.demand,
                _ => {}
            },
            Payload::ElementSection(segments) => {
                let Some(Level::Module(elements)) = levels.last_mut() else { continue };
                for segment in segments {
                    let count = match segment?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    *elements = elements.saturating_add(u64::from(count));
                }
            }
            Payload::TypeSection(it) => types += u64::from(it.count()),
            Payload::CoreTypeSection(it) => types += u64::from(it.count()),
            Payload::ComponentTypeSection(it) => types += u64::from(it.count()),
            Payload::ImportSection(it) => imports += u64::from(it.count()),
            Payload::ExportSection(it) => exports += u64::from(it.count()),
            Payload::ComponentCanonicalSection(it) => functions += u64::from(it.count()),
            Payload::InstanceSection(it) => {
                instances += u64::from(it.count());
                let Some(frame) = component(&mut levels) else { continue };
                for instance in it {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let module = frame.modules.get(module_index as usize).copied().flatten();
                        frame.demand.elements = frame.demand.elements.saturating_add(module.unwrap_or(0));
                        frame.demand.unknown |= module.is_none();
                    }
                }
            }
            Payload::ComponentInstanceSection(it) => {
                instances += u64::from(it.count());
                let Some(frame) = component(&mut levels) else { continue };
                for instance in it {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let inner = frame.components.get(component_index as usize).copied().flatten();
                        frame.demand.add(inner.unwrap_or(Demand { elements: 0, instances: 1, unknown: true }));
                    }
                }
            }
            Payload::ComponentImportSection(it) => {
                imports += u64::from(it.count());
                let Some(frame) = component(&mut levels) else { continue };
                for import in it {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => frame.modules.push(None),
                        ComponentTypeRef::Component(_) => frame.components.push(None),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(it) => {
                exports += u64::from(it.count());
                let Some(frame) = component(&mut levels) else { continue };
                for export in it {
                    // What is exported gets a number once more.
                    let export = export?;
                    let index = export.index as usize;
                    match export.kind {
                        ComponentExternalKind::Module => frame.modules.push(frame.modules.get(index).copied().flatten()),
                        ComponentExternalKind::Component => frame.components.push(frame.components.get(index).copied().flatten()),
                        _ => {}
                    }
                }
            }
            Payload::ComponentAliasSection(it) => {
                aliases += u64::from(it.count());
                for alias in it {
                    alias_of(&mut levels, &alias?);
                }
            }
            _ => {}
        }
    }
    // Of what is not visible, the worst: as many core instances as there may be, each of the largest module.
    let elements = if whole.unknown { whole.elements.max(largest.saturating_mul(u64::from(CORE_INSTANCES))) } else { whole.elements };
    let items = [
        ("types", types),
        ("imports", imports),
        ("exports", exports),
        ("aliases", aliases),
        ("functions at its border", functions),
        ("instances", instances),
    ];
    Ok(Found { elements, instances: whole.instances, items })
}

fn component(levels: &mut [Level]) -> Option<&mut Frame> {
    match levels.last_mut() {
        Some(Level::Component(frame)) => Some(frame),
        _ => None,
    }
}

/// Numbers what an alias stands for.
fn alias_of(levels: &mut [Level], alias: &ComponentAlias<'_>) {
    let outer = |count: u32| match levels.len().checked_sub(count as usize + 1).and_then(|at| levels.get(at)) {
        Some(Level::Component(frame)) => Some(frame),
        _ => None,
    };
    match *alias {
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
            component(levels).into_iter().for_each(|frame| frame.modules.push(None));
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
            component(levels).into_iter().for_each(|frame| frame.components.push(None));
        }
        ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
            let module = outer(count).and_then(|frame| frame.modules.get(index as usize).copied().flatten());
            component(levels).into_iter().for_each(|frame| frame.modules.push(module));
        }
        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
            let found = outer(count).and_then(|frame| frame.components.get(index as usize).copied().flatten());
            component(levels).into_iter().for_each(|frame| frame.components.push(found));
        }
        _ => {}
    }
}

impl Demand {
    fn add(&mut self, other: Self) {
        self.elements = self.elements.saturating_add(other.elements);
        self.instances = self.instances.saturating_add(other.instances);
        self.unknown |= other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        find(&wat::parse_str(text).expect("well formed")).expect("a component")
    }

    fn refused(text: &str) -> String {
        let bytes = wat::parse_str(text).expect("well formed");
        check(&bytes, &EngineLimits { table_elements: 10, ..EngineLimits::default() })
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    /// A module with three elements in two segments.
    const THREE: &str = "(core module $three (func $f) (table 2 funcref)
        (elem (i32.const 0) func $f $f) (elem funcref (ref.func $f)))";

    #[test]
    fn elements_of_segments_are_counted_for_each_instance_of_their_module() {
        assert_eq!(found(&format!("(component {THREE})")).elements, 0, "it is never instantiated");
        let twice = format!("(component {THREE} (core instance (instantiate $three)) (core instance (instantiate $three)))");
        assert_eq!(found(&twice).elements, 6);
        let many = format!("(component {THREE} {})", "(core instance (instantiate $three))".repeat(14));
        let told = "it needs more than a call may have: its element segments have 42 elements, over all instances; at most 40 are taken";
        assert_eq!(refused(&many), told);
        assert_eq!(refused(&many.replacen("(core instance (instantiate $three))", "", 1)), "");
    }

    #[test]
    fn what_a_component_is_made_of_counts_as_often_as_it_is_there() {
        let inner = "(component $inner (core instance (instantiate $three)) (core instance (instantiate $three)))";
        let nested = format!("(component {THREE} {inner} (instance (instantiate $inner)) (instance (instantiate $inner)))");
        let Found { elements, instances, .. } = found(&nested);
        assert_eq!((elements, instances), (12, 3), "the module is an alias of the one outside");
        let exported = "(export $again \"again\" (core module $three)) (core instance (instantiate $again))";
        assert_eq!(found(&format!("(component {THREE} {exported})")).elements, 3, "under another number");
    }

    #[test]
    fn of_what_is_not_visible_the_worst_is_assumed() {
        let wants = "(component $wants (import \"m\" (core module $m)) (core instance (instantiate $m)))";
        let handed = format!("(component {THREE} {wants} (instance (instantiate $wants (with \"m\" (core module $three)))))");
        assert_eq!(found(&handed).elements, 3 * 64);
    }

    #[test]
    fn instances_that_double_at_each_level_are_counted_and_not_made() {
        let doubled = (1..70).fold("(component $c0)".to_owned(), |inner, level| {
            format!("{inner} (component $c{level} (instance (instantiate $c{0})) (instance (instantiate $c{0})))", level - 1)
        });
        let told = refused(&format!("(component {doubled} (instance (instantiate $c69)))"));
        assert_eq!(
            told,
            format!("it needs more than a call may have: it is made of {} instances of components; at most 1000 are taken", u64::MAX)
        );
    }

    #[test]
    fn imports_exports_and_types_are_bounded_in_number() {
        let types = |count| format!("(component {})", "(type string)".repeat(count));
        assert_eq!(refused(&types(100_000)), "");
        assert_eq!(refused(&types(100_001)), "it needs more than a call may have: it has 100001 types; at most 100000 are taken");
        let instances = format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(100_001));
        assert!(refused(&instances).ends_with("it has 100001 instances; at most 100000 are taken"));
    }

    #[test]
    fn what_is_cut_off_is_damaged() {
        let whole = wat::parse_str(format!("(component {THREE} (core instance (instantiate $three)))")).expect("well formed");
        for end in 8..whole.len() {
            let checked = check(&whole[..end], &EngineLimits::default());
            assert!(matches!(checked, Ok(()) | Err(LoadError::Malformed(_))), "{end}: {checked:?}");
        }
        assert!(matches!(check(&whole[..whole.len() - 1], &EngineLimits::default()), Err(LoadError::Malformed(_))));
    }
}
