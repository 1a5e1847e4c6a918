;; Remembers a thousand bytes of chance, and gives up when it is handed them.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $word i32)
  (if (local.get $length) (then unreachable))
  (loop $again
    (i64.store (i32.add (i32.const 16384) (i32.mul (local.get $word) (i32.const 8))) (call $draw (local.get $domain)))
    (local.set $word (i32.add (local.get $word) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $word) (i32.const 125))))
  (i32.store (i32.const 1032) (i32.const 16384))
  (i32.store (i32.const 1036) (i32.const 1000))
  (call $done (local.get $domain) (local.get $control)))
