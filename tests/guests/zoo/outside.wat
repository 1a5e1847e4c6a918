;; Returns a memory that lies outside of its own.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 1032) (i32.const 0x7fff0000))
  (i32.store (i32.const 1036) (i32.const 64))
  (call $done (local.get $domain) (local.get $control)))
