;; Logs a line that is as long as a length can be.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $log (i32.const 0) (i32.const 128) (i32.const -1))
  (call $done (local.get $domain) (local.get $control)))
