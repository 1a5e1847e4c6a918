;; Reads beyond the end of its memory.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.load (i32.const 0x7ffffff0)))
