;; Asks for the end of an instance that there is not: "type".
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 8192) (i32.const 128))
  (i32.store (i32.const 8196) (i32.const 4))
  (call $destroy (local.get $control) (i32.const 8192) (i32.const 1) (i32.const 128) (i32.const 4) (i32.const 2048))
  (call $done (local.get $domain) (local.get $control)))
