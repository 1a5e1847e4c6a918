;; Lets the host work for it without end, and does next to nothing itself.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (drop (memory.grow (i32.const 1)))
  (loop $again
    (call $destroy (local.get $control) (i32.const 8192) (i32.const 0) (i32.const 65536) (i32.const 32768) (i32.const 2048))
    (br $again))
  unreachable)
