;; Asks WASI for the time without end.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again
    (call $wall (i32.const 2048))
    (br $again))
  (call $done (local.get $domain) (local.get $control)))
