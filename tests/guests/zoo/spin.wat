;; Never ends.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again (br $again))
  unreachable)
