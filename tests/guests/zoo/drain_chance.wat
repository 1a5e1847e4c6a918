;; Asks WASI for a terabyte of chance.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $random_bytes (i64.const 0x10000000000) (i32.const 2048))
  (call $done (local.get $domain) (local.get $control)))
