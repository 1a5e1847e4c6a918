;; Takes memory until there is none, and gives up.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again
    (br_if $again (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
  unreachable)
