;; Launches three instances when it remembers nothing. What it remembers is one byte, which it tells in its reason.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (if (local.get $length)
    (then (i32.store8 (i32.const 4096) (i32.load8_u (local.get $memory))))
    (else (call $ask (local.get $control) (i32.const 3))
          ;; An `l`, for launched.
          (i32.store8 (i32.const 4096) (i32.const 108))))
  (i32.store (i32.const 1032) (i32.const 4096))
  (i32.store (i32.const 1036) (i32.const 1))
  (i32.store (i32.const 1044) (i32.const 4096))
  (i32.store (i32.const 1048) (i32.const 1))
  (call $done (local.get $domain) (local.get $control)))
