;; Prints without end, through WASI.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $out i32)
  (local.set $out (call $stdout))
  (loop $again
    (call $print (local.get $out) (i32.const 128) (i32.const 12) (i32.const 2048))
    (br $again))
  (call $done (local.get $domain) (local.get $control)))
