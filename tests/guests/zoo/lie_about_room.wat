;; Tells the host to write an answer to where it has no memory. Its `cabi_realloc` looks at the global.
(global $mad (mut i32) (i32.const 0))
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (global.set $mad (i32.const 1))
  (call $ask (local.get $control) (i32.const 1))
  (call $done (local.get $domain) (local.get $control)))
