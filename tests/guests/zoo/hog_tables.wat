;; Takes places in a table until there are none, and gives up.
(table $places 1 funcref)
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again
    (br_if $again (i32.ge_s (table.grow $places (ref.null func) (i32.const 1024)) (i32.const 0))))
  unreachable)
