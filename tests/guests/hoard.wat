;; Remembers 64 bytes more every time.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (drop (memory.grow (i32.const 1)))
  (i32.store (i32.const 1032) (i32.const 8192))
  (i32.store (i32.const 1036) (i32.add (local.get $length) (i32.const 64)))
  (call $done (local.get $domain) (local.get $control)))
