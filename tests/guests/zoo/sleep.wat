;; Sleeps for a second, through WASI.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $block (call $after (i64.const 1000000000)))
  (call $done (local.get $domain) (local.get $control)))
