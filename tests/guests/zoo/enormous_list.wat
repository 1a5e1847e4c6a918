;; Returns a list of 268 435 456 figures.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 1052) (i32.const 4096))
  (i32.store (i32.const 1056) (i32.const 0x10000000))
  (call $done (local.get $domain) (local.get $control)))
