;; Uses up exactly as much fuel as its configuration says, and remembers eight bytes of chance. `{"bytes":"000","rounds":"0000000000"}` is
;; how many bytes it hands over, and how often it goes round; its length is always the same, so that reading it costs the same.
;; Reads a number of so many digits.
(func $number (param $at i32) (param $digits i32) (result i32)
  (local $number i32)
  (loop $again
    (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10)) (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
    (br_if $again (local.get $digits)))
  (local.get $number))
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $rounds i32)
  (call $config (local.get $domain) (i32.const 4096))
  (local.set $rounds (call $number (i32.add (i32.load (i32.const 4096)) (i32.const 25)) (i32.const 10)))
  (call $log (i32.const 4) (i32.const 16384) (call $number (i32.add (i32.load (i32.const 4096)) (i32.const 10)) (i32.const 3)))
  (loop $again
    (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
    (br_if $again (i32.ge_s (local.get $rounds) (i32.const 0))))
  (i64.store (i32.const 4096) (call $draw (local.get $domain)))
  (i32.store (i32.const 1032) (i32.const 4096))
  (i32.store (i32.const 1036) (i32.const 8))
  (call $done (local.get $domain) (local.get $control)))
