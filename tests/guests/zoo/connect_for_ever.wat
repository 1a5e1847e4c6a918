;; Makes sockets without end, through WASI.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again
    (call $tcp (i32.const 0) (i32.const 2048))
    (call $udp (i32.const 0) (i32.const 2048))
    (br $again))
  (call $done (local.get $domain) (local.get $control)))
