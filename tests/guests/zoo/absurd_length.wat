;; Returns a reason that is as long as a length can be.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 1044) (i32.const 128))
  (i32.store (i32.const 1048) (i32.const -1))
  (call $done (local.get $domain) (local.get $control)))
