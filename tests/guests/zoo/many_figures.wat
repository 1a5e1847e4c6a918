;; Returns a figure more than are kept.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $figure i32)
  (loop $again
    ;; Each is called "type", and is zero.
    (i32.store (i32.add (i32.const 16384) (i32.mul (local.get $figure) (i32.const 16))) (i32.const 128))
    (i32.store (i32.add (i32.const 16388) (i32.mul (local.get $figure) (i32.const 16))) (i32.const 4))
    (local.set $figure (i32.add (local.get $figure) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $figure) (i32.const 65))))
  (i32.store (i32.const 1052) (i32.const 16384))
  (i32.store (i32.const 1056) (i32.const 65))
  (call $done (local.get $domain) (local.get $control)))
