;; Explains itself with a figure that is one and a figure that is not a number.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 1052) (i32.const 8192))
  (i32.store (i32.const 1056) (i32.const 2))
  ;; Two of (name, number): "type" and "site".
  (i32.store (i32.const 8192) (i32.const 128))
  (i32.store (i32.const 8196) (i32.const 4))
  (f64.store (i32.const 8200) (f64.const 1))
  (i32.store (i32.const 8208) (i32.const 136))
  (i32.store (i32.const 8212) (i32.const 4))
  (f64.store (i32.const 8216) (f64.const nan))
  (call $done (local.get $domain) (local.get $control)))
