;; Takes memory until there is none, and makes do with that.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (loop $again
    (br_if $again (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
  (call $done (local.get $domain) (local.get $control)))
