//! What is remembered, and what earlier versions remembered.

use super::*;

#[test]
fn what_is_remembered_takes_a_few_bytes() {
    let mut domain = running(3, scaled(json!({})));
    loads(&mut domain, &[9.0; 3]);
    domain.decide();
    assert_eq!(domain.memory_bytes().len(), 12);
}

#[test]
fn the_memory_of_version_1_is_read_its_cooldown_too() {
    let mut version_1 = vec![1, 1, 3, 1];
    let mut millis = (NOW - SECOND).as_millis();
    while millis >= 0x80 {
        version_1.push((millis & 0x7f) as u8 | 0x80);
        millis >>= 7;
    }
    version_1.push(millis as u8);
    let mut domain = running(3, scaled(json!({})));
    domain.remember_bytes(version_1);
    loads(&mut domain, &[9.0; 3]);
    let decision = domain.decide();
    assert_eq!(decision.reason, "3 of 3 healthy, the size is held for 59 s more");
    assert_eq!(domain.memory(), Sensor { scaled_at: Some(NOW - SECOND), ..size(3) });
}

#[test]
fn the_memory_of_version_2_is_read_and_its_silence_begins_anew() {
    for silent_since in [&[0][..], &[1, 7]] {
        // Two, no change yet, the silence, and a window in which four have counted since 5 ms.
        let version_2 = [&[2, 1, 2, 0][..], silent_since, &[1, 4, 5]].concat();
        let mut domain = running(2, scaled(json!({ "absent_data": "up", "stabilisation_window": 60 })));
        let decision = domain.remember_bytes(version_2).decide();
        assert!(decision.reason.ends_with("and grows if that lasts 90 s more"), "{}", decision.reason);
        let memory = domain.memory();
        assert_eq!((memory.target, memory.silence), (Some(2), Some(Silence { since: NOW, seen: NOW })));
        assert_eq!(memory.window.highest(NOW, 60 * SECOND), Some(4), "the window is kept");
    }
}

#[test]
fn the_empty_memory_of_version_1_is_that_of_a_new_domain() {
    let mut domain = running(3, scaled(json!({})));
    loads(&mut domain, &[2.0; 3]);
    assert_eq!(domain.remember_bytes(Vec::new()).decide().status, Status::Stable);
    assert_eq!(domain.memory(), size(3));
}
