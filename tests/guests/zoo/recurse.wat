;; Calls itself without end.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.add (call $misbehave (local.get $memory) (local.get $length) (local.get $domain) (local.get $control)) (i32.const 1)))
