;; Does one thing with WASI, which is put in at the mark below, and returns as its memory the 64 bytes from 4096 on. Answers of WASI go to
;; 2048; texts to print are from 3072 on.
(data (i32.const 3072) "first\nsecond\nthird, which does not end")
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $count i32)
  ;; what it does
  (i32.store (i32.const 1032) (i32.const 4096))
  (i32.store (i32.const 1036) (i32.const 64))
  (call $done (local.get $domain) (local.get $control)))
