;; Returns without giving the handles back.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.const 1024))
