;; Returns a reason that is no text.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store8 (i32.const 4096) (i32.const 0xff))
  (i32.store (i32.const 1044) (i32.const 4096))
  (i32.store (i32.const 1048) (i32.const 1))
  (call $done (local.get $domain) (local.get $control)))
