;; Logs a thousand lines.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $line i32)
  (loop $again
    (call $log (i32.const 1) (i32.const 128) (i32.const 4))
    (local.set $line (i32.add (local.get $line) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $line) (i32.const 1000))))
  (call $done (local.get $domain) (local.get $control)))
