;; Opens a file in a directory that it has made up, through WASI.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $open (i32.const 3) (i32.const 0) (i32.const 128) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 2048))
  (call $done (local.get $domain) (local.get $control)))
