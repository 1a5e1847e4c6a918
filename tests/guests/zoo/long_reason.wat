;; Returns a reason that is a byte too long.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (memory.fill (i32.const 16384) (i32.const 0x61) (i32.const 4097))
  (i32.store (i32.const 1044) (i32.const 16384))
  (i32.store (i32.const 1048) (i32.const 4097))
  (call $done (local.get $domain) (local.get $control)))
