;; Decides well once: it launches an instance, and remembers its id. From then on it asks for three more and for the end of that one; and
;; misbehaves, so that nothing of what it asks for may happen.
(func (export "pilothouse:engine/engine@0.1.0#decide") (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (if (local.get $length)
    (then
      (call $ask (local.get $control) (i32.const 3))
      (i32.store (i32.const 4096) (local.get $memory))
      (i32.store (i32.const 4100) (local.get $length))
      (call $destroy (local.get $control) (i32.const 4096) (i32.const 1) (i32.const 136) (i32.const 4) (i32.const 2048))
      (return (call $misbehave (local.get $memory) (local.get $length) (local.get $domain) (local.get $control)))))
  (call $ask (local.get $control) (i32.const 1))
  ;; If it was granted, the first of its instances.
  (if (i32.and (i32.eqz (i32.load8_u (i32.const 2048))) (i32.ne (i32.load (i32.const 2068)) (i32.const 0)))
    (then
      (i32.store (i32.const 1032) (i32.load (i32.load (i32.const 2064))))
      (i32.store (i32.const 1036) (i32.load offset=4 (i32.load (i32.const 2064))))))
  (call $done (local.get $domain) (local.get $control)))
;; the misdeed
