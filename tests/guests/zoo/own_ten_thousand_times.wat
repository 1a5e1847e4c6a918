;; Launches an instance, and then asks for its end ten thousand times in one request, and in ten more.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $row i32)
  (if (i32.eqz (local.get $length))
    (then
      (call $ask (local.get $control) (i32.const 1))
      (i32.store (i32.const 1032) (i32.load (i32.load (i32.const 2064))))
      (i32.store (i32.const 1036) (i32.load offset=4 (i32.load (i32.const 2064)))))
    (else
      (drop (memory.grow (i32.const 2)))
      (loop $again
        (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $row) (i32.const 8))) (local.get $memory))
        (i32.store (i32.add (i32.const 65540) (i32.mul (local.get $row) (i32.const 8))) (local.get $length))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $row) (i32.const 10000))))
      (call $destroy (local.get $control) (i32.const 65536) (i32.const 10000) (i32.const 136) (i32.const 4) (i32.const 2048))
      (local.set $row (i32.const 0))
      (loop $again
        (call $destroy (local.get $control) (i32.const 65536) (i32.const 1) (i32.const 136) (i32.const 4) (i32.const 2048))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $row) (i32.const 10))))
      (i32.store (i32.const 1032) (local.get $memory))
      (i32.store (i32.const 1036) (local.get $length))))
  (call $done (local.get $domain) (local.get $control)))
