;; Calls the host while the host asks it for room. Its `cabi_realloc` looks at the globals.
(global $handle (mut i32) (i32.const 0))
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (global.set $handle (local.get $control))
  (call $ask (local.get $control) (i32.const 1))
  (call $done (local.get $domain) (local.get $control)))
