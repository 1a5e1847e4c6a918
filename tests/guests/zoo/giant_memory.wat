;; Returns a memory of 32 MiB, which it has.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (drop (memory.grow (i32.const 512)))
  (i32.store (i32.const 1032) (i32.const 16384))
  (i32.store (i32.const 1036) (i32.const 0x2000000))
  (call $done (local.get $domain) (local.get $control)))
