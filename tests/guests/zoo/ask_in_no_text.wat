;; Asks for the end of an instance whose id is no text.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 4096) (i32.const 4104))
  (i32.store (i32.const 4100) (i32.const 2))
  (i32.store16 (i32.const 4104) (i32.const 0xfffe))
  (call $destroy (local.get $control) (i32.const 4096) (i32.const 1) (i32.const 128) (i32.const 4) (i32.const 2048))
  (call $done (local.get $domain) (local.get $control)))
