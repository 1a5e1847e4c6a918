;; Logs without end, as long lines as it has memory for.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (memory.fill (i32.const 16384) (i32.const 0x61) (i32.const 32768))
  (loop $again
    (call $log (i32.const 0) (i32.const 16384) (i32.const 32768))
    (br $again))
  unreachable)
