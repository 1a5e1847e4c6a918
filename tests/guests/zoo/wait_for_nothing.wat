;; Waits through WASI until something is ready of what never will be.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (i32.store (i32.const 4096) (call $after (i64.const -1)))
  (call $poll (i32.const 4096) (i32.const 1) (i32.const 2048))
  (call $done (local.get $domain) (local.get $control)))
