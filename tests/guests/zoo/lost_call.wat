;; Calls a function that is not there.
(table $places 100 funcref)
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call_indirect $places (result i32) (local.get $domain)))
