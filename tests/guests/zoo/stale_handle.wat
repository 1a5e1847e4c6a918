;; Gives its handle back, and asks it what time it is.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $drop_domain (local.get $domain))
  (drop (call $now (local.get $domain)))
  (call $drop_control (local.get $control))
  (i32.const 1024))
