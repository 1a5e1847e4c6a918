;; Returns a status that there is not.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store8 (i32.const 1040) (i32.const 7))
  (call $done (local.get $domain) (local.get $control)))
