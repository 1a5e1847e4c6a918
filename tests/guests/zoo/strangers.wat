;; Asks for the end of an instance of another domain: its configuration has the id, as `{"victim":"ID"}`.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $config (local.get $domain) (i32.const 4096))
  (i32.store (i32.const 4104) (i32.add (i32.load (i32.const 4096)) (i32.const 11)))
  (i32.store (i32.const 4108) (i32.sub (i32.load (i32.const 4100)) (i32.const 13)))
  (call $destroy (local.get $control) (i32.const 4104) (i32.const 1) (i32.const 136) (i32.const 4) (i32.const 2048))
  ;; Its first byte says whether that was refused.
  (i32.store (i32.const 1032) (i32.const 2048))
  (i32.store (i32.const 1036) (i32.const 1))
  (call $done (local.get $domain) (local.get $control)))
