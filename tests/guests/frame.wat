;; A small engine whose `decide` is missing: each guest beside this file brings its own, and is put in at the mark below.
;;
;; From 0 on, there is the description. At 1024 is what a call returns: all zeros, which is a success with an empty memory, an empty
;; reason and the status pending. What a guest wants to return otherwise it writes there. The heap begins at 8192.
(module
  (import "pilothouse:engine/state@0.1.0" "[method]domain.now" (func $now (param i32) (result i64)))
  (import "pilothouse:engine/state@0.1.0" "[resource-drop]domain" (func $drop_domain (param i32)))
  (import "pilothouse:engine/control@0.1.0" "[method]control.launch" (func $launch
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "pilothouse:engine/control@0.1.0" "[method]control.destroy-instances" (func $destroy (param i32 i32 i32 i32 i32 i32)))
  (import "pilothouse:engine/control@0.1.0" "[resource-drop]control" (func $drop_control (param i32)))
  (import "pilothouse:engine/control@0.1.0" "[method]setup.configure" (func $configure (param i32 i32 i64 i32 i32 i32 i32)))
  (import "pilothouse:engine/control@0.1.0" "[resource-drop]setup" (func $drop_setup (param i32)))
  (import "pilothouse:engine/log@0.1.0" "log" (func $log (param i32 i32 i32)))
  ;; more imports

  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\05\00\00\00\48\00\00\00\05\00\00\00\50\00\00\00\04\00\00\00\58\00\00\00\02\00\00\00")
  (data (i32.const 64) "guest\00\00\001.0.0\00\00\00docs\00\00\00\00{}")
  ;; For requests: a type at 128, a site at 136.
  (data (i32.const 128) "type\00\00\00\00site")
  (global $heap (mut i32) (i32.const 8192))

  (func $alloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ge_s (memory.grow (i32.add (i32.div_u (local.get $new) (i32.const 65536)) (i32.const 1))) (i32.const 0)))
      unreachable)
    (local.get $at))

  ;; The handles must be given back before a call returns.
  (func $done (param $domain i32) (param $control i32) (result i32)
    (call $drop_domain (local.get $domain))
    (call $drop_control (local.get $control))
    (i32.const 1024))

  ;; Launches `count` instances; the answer goes to 2048.
  (func $ask (param $control i32) (param $count i32)
    (call $launch (local.get $control)
      (i32.const 128) (i32.const 4) (i32.const 136) (i32.const 4) (i32.const 0) (i32.const 0) (local.get $count)
      ;; No variables, in nobody's place, no options.
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)))

  (func (export "pilothouse:engine/engine@0.1.0#describe") (result i32) (i32.const 0))
  (func (export "pilothouse:engine/engine@0.1.0#check-config") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "pilothouse:engine/engine@0.1.0#initialize") (param $domain i32) (param $setup i32) (result i32)
    (call $drop_domain (local.get $domain))
    (call $drop_setup (local.get $setup))
    ;; its first memory
    (i32.const 1024))
  (func (export "pilothouse:engine/engine@0.1.0#reconfigure") (param i32 i32) (param $domain i32) (param $setup i32) (result i32)
    ;; what it sets
    (call $drop_domain (local.get $domain))
    (call $drop_setup (local.get $setup))
    ;; its next memory
    ;; An error, and it is `not-supported`.
    (i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))
    (i32.const 1024))
  (func (export "pilothouse:engine/engine@0.1.0#retire") (param i32 i32))

  ;; the guest
)
