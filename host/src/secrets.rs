//! Secrets in variables: a value `secret:NAME` is a reference, and what it refers to is a file on the hosts.
//!
//! What is journaled, described, explained and logged is the reference. The secret itself is put in when a request is sent to a
//! provisioner, from `DIR/OWNER/NAME`: so nobody can refer to the secrets of another owner, and a secret that was changed is used from the
//! next launch on. Nothing is kept in memory.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::name::Name;
use pilothouse_core::pointer::escaped;

/// Before the name of a secret. Every value that begins so is a reference.
const PREFIX: &str = "secret:";

/// The largest secret, in bytes: a key or a certificate with its chain, and half of what the environment of a process holds in one variable.
pub(crate) const MAX_SECRET: u64 = 64 * 1024;

/// All secrets of one request, in bytes: with them it still fits a message.
const MAX_TOGETHER: usize = 512 * 1024;

/// Where secrets are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    dir: Option<PathBuf>,
}

/// A reference can't be resolved. What is in a secret is never told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{reference:?} is no reference to a secret: expected {PREFIX}NAME, with 1 to 63 letters, digits, `_` or `-`")]
    Reference { reference: String },
    #[error("secret {name}: this host has none: start hosts with --secrets DIR")]
    NoneHere { name: Name },
    /// Users are told this: where hosts keep secrets is none of their business, and goes to the log alone.
    #[error("secret {name} of {owner} can't be read")]
    Read { name: Name, owner: Name, path: PathBuf, source: std::io::Error },
    #[error("secret {name} of {owner} is larger than {MAX_SECRET} bytes")]
    TooLarge { name: Name, owner: Name },
    #[error("secret {name} of {owner} is no text: it must be UTF-8 without a zero byte")]
    NoText { name: Name, owner: Name },
    #[error("the secrets of one launch are larger than {MAX_TOGETHER} bytes together")]
    TooMuch,
}

impl SecretError {
    /// The file that can't be read, for the log.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// Whether any of these values refers to a secret.
pub(crate) fn any<'v>(mut values: impl Iterator<Item = &'v String>) -> bool {
    values.any(|value| value.starts_with(PREFIX))
}

impl Secrets {
    /// Those in a directory, with a directory for each owner. Without one every reference is an error.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// Puts secrets in the place of references. Reads files: not for the threads of the runtime.
    ///
    /// # Errors
    /// At the first reference that can't be resolved. The variables are then partly filled, and to be dropped.
    pub(crate) fn fill_in(&self, owner: &Name, vars: &mut BTreeMap<String, String>) -> Result<(), SecretError> {
        let mut together = 0;
        for value in vars.values_mut() {
            if let Some(secret) = self.resolve(owner, value)? {
                together += secret.len();
                *value = secret;
            }
        }
        if together > MAX_TOGETHER { Err(SecretError::TooMuch) } else { Ok(()) }
    }

    /// What is wrong with the references of a configuration, each at its key, but for those that were in force already.
    pub(crate) fn problems(&self, owner: &Name, config: &DomainConfig, in_force: Option<&DomainConfig>) -> Vec<ConfigProblem> {
        let is_new =
            |variable: &&(String, String)| in_force.is_none_or(|old| !old.general.provisioner_vars.iter().any(|it| it == *variable));
        let problem = |(variable, value): &(String, String)| {
            let error = self.resolve(owner, value).err()?;
            let at = format!("/general/provisioner_vars/{}", escaped(variable));
            Some(ConfigProblem::new(at, format!("{:#}", anyhow::Error::new(error))))
        };
        config.general.provisioner_vars.iter().filter(is_new).filter_map(problem).collect()
    }

    /// The secret that a value refers to; nothing when it is a value like any other.
    fn resolve(&self, owner: &Name, value: &str) -> Result<Option<String>, SecretError> {
        let Some(name) = value.strip_prefix(PREFIX) else { return Ok(None) };
        // A name has no dots and no slashes, so that it leads nowhere else.
        let name: Name = name.parse().map_err(|_| SecretError::Reference { reference: value.chars().take(80).collect() })?;
        let Some(dir) = &self.dir else { return Err(SecretError::NoneHere { name }) };
        let path = dir.join(owner.as_str()).join(name.as_str());
        let owner = owner.clone();
        let bytes = match read(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(SecretError::TooLarge { name, owner }),
            Err(source) => return Err(SecretError::Read { name, owner, path, source }),
        };
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or(SecretError::NoText { name, owner })?;
        // Editors end a file with a new line that nobody means.
        let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Some(text.to_owned()))
    }
}

/// Nothing when it is too large.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    // A pipe would keep the host waiting.
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_SECRET).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn some() -> (TempDir, Secrets) {
        let dir = tempfile::tempdir().expect("a directory");
        for (owner, secret, content) in [("ann", "token", &b"hunter2\n"[..]), ("bob", "token", b"other"), ("ann", "binary", b"\xff\xfe")] {
            std::fs::create_dir_all(dir.path().join(owner)).expect("made");
            std::fs::write(dir.path().join(owner).join(secret), content).expect("written");
        }
        std::fs::write(dir.path().join("ann/large"), vec![b'x'; 64 * 1024 + 1]).expect("written");
        std::fs::write(dir.path().join("root"), "nobody's").expect("written");
        let secrets = Secrets::new(Some(dir.path().to_owned()));
        (dir, secrets)
    }

    fn filled(secrets: &Secrets, owner: &str, value: &str) -> Result<String, SecretError> {
        let mut vars = BTreeMap::from([("V".to_owned(), value.to_owned())]);
        secrets.fill_in(&name(owner), &mut vars).map(|()| vars.remove("V").expect("still there"))
    }

    #[test]
    fn a_reference_is_filled_in_from_the_secrets_of_its_owner() {
        let (_dir, secrets) = some();
        assert_eq!(filled(&secrets, "ann", "secret:token").expect("a secret"), "hunter2");
        assert_eq!(filled(&secrets, "bob", "secret:token").expect("a secret"), "other");
        assert_eq!(filled(&secrets, "ann", "not secret:token").expect("a value"), "not secret:token");
        assert!(matches!(filled(&secrets, "eve", "secret:token"), Err(SecretError::Read { .. })));
    }

    #[test]
    fn no_reference_leads_out_of_the_directory_of_its_owner() {
        let (_dir, secrets) = some();
        for path in ["../bob/token", "..", ".", "", "/etc/passwd", "a/b", "token\0", "../root", "token\n"] {
            let refused = filled(&secrets, "ann", &format!("secret:{path}"));
            assert!(matches!(refused, Err(SecretError::Reference { .. })), "{path:?}: {refused:?}");
        }
    }

    #[test]
    fn what_is_no_text_or_too_large_or_too_much_is_refused_without_being_told() {
        let (_dir, secrets) = some();
        assert!(matches!(filled(&secrets, "ann", "secret:binary"), Err(SecretError::NoText { .. })));
        assert!(matches!(filled(&secrets, "ann", "secret:large"), Err(SecretError::TooLarge { .. })));
        std::fs::write(_dir.path().join("ann/whole"), vec![b'x'; 64 * 1024]).expect("written");
        let mut vars: BTreeMap<_, _> = (0..9).map(|n| (n.to_string(), "secret:whole".to_owned())).collect();
        assert!(matches!(secrets.fill_in(&name("ann"), &mut vars), Err(SecretError::TooMuch)));
        let none = Secrets::new(None);
        assert!(filled(&none, "ann", "secret:token").expect_err("none here").to_string().contains("--secrets"));
        assert_eq!(filled(&none, "ann", "plain").expect("a value"), "plain");
    }

    #[test]
    fn a_configuration_has_a_problem_at_the_key_of_every_reference_that_leads_nowhere() {
        let (_dir, secrets) = some();
        let vars = json!({"GOOD": "secret:token", "PLAIN": "x", "a/b": "secret:nothing", "BAD": "secret:../bob/token"});
        let config = DomainConfig::from_json(json!({"general": {"provisioner_vars": vars}})).expect("a configuration");
        let problems = secrets.problems(&name("ann"), &config, None);
        let keys: Vec<_> = problems.iter().map(|problem| &*problem.at).collect();
        assert_eq!(keys.len(), 2, "{problems:?}");
        assert!(keys.contains(&"/general/provisioner_vars/BAD") && keys.contains(&"/general/provisioner_vars/a~1b"), "{problems:?}");
        let old = DomainConfig::from_json(json!({"general": {"provisioner_vars": {"a/b": "secret:nothing", "BAD": "x"}}})).expect("good");
        let new = secrets.problems(&name("ann"), &config, Some(&old));
        assert_eq!(
            new.iter().map(|problem| &*problem.at).collect::<Vec<_>>(),
            ["/general/provisioner_vars/BAD"],
            "one was in force already"
        );
        assert!(!format!("{problems:?}").contains("hunter2"));
        assert!(!format!("{problems:?}").contains(&*_dir.path().to_string_lossy()), "where secrets are is not told: {problems:?}");
    }

    proptest! {
        #[test]
        fn no_value_panics(value in ".*") {
            let (_dir, secrets) = some();
            let _ = secrets.resolve(&name("ann"), &value);
            let _ = secrets.resolve(&name("ann"), &format!("secret:{value}"));
        }
    }
}
