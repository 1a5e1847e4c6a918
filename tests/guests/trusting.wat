;; Remembers four bytes, and takes whatever it is handed for them.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 1032) (i32.const 128))
  (i32.store (i32.const 1036) (i32.const 4))
  (call $done (local.get $domain) (local.get $control)))
