;; Does nothing wrong: what it asked for is granted. It remembers nothing of that.
(func $misbehave (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (call $done (local.get $domain) (local.get $control)))
