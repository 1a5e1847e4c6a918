;; Remembers eight bytes of chance, every time others.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i64.store (i32.const 4096) (call $draw (local.get $domain)))
  (i32.store (i32.const 1032) (i32.const 4096))
  (i32.store (i32.const 1036) (i32.const 8))
  (call $done (local.get $domain) (local.get $control)))
