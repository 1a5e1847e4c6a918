;; Asks for a million launches at once.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $ask (local.get $control) (i32.const 1000000))
  (call $done (local.get $domain) (local.get $control)))
