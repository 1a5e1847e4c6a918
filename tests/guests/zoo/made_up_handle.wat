;; Asks for launches through a handle that it has made up.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $ask (i32.const 12345) (i32.const 3))
  (call $done (local.get $domain) (local.get $control)))
