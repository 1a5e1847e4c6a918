;; Asks for more launches than it can be granted, and returns the refusal as an error of its own.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $ask (local.get $control) (i32.const 1000000))
  (i32.store8 (i32.const 1024) (i32.const 1))
  (i32.store8 (i32.const 1032) (i32.const 3))
  (i32.store (i32.const 1036) (i32.load (i32.const 2064)))
  (i32.store (i32.const 1040) (i32.load (i32.const 2068)))
  (call $done (local.get $domain) (local.get $control)))
