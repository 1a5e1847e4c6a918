;; Asks for one launch after the other, without end.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again
    (call $ask (local.get $control) (i32.const 1))
    (br $again))
  unreachable)
