;; Hands over a list of a thousand ids that are all the same 32 KiB.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $row i32)
  (memory.fill (i32.const 32768) (i32.const 0x61) (i32.const 32768))
  (loop $again
    (i32.store (i32.add (i32.const 16384) (i32.mul (local.get $row) (i32.const 8))) (i32.const 32768))
    (i32.store (i32.add (i32.const 16388) (i32.mul (local.get $row) (i32.const 8))) (i32.const 32768))
    (local.set $row (i32.add (local.get $row) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $row) (i32.const 1000))))
  (call $destroy (local.get $control) (i32.const 16384) (i32.const 1000) (i32.const 128) (i32.const 4) (i32.const 2048))
  (call $done (local.get $domain) (local.get $control)))
