;; Divides by zero.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.div_u (local.get $domain) (i32.eqz (local.get $domain))))
