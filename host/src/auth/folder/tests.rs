use std::collections::BTreeMap;

use super::*;
use crate::auth::signer::AgentSigner;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_700_000_100);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn init(dir: &Path) -> (Folder, bool) {
    Folder::init(dir, Path::new("/var/lib/nats"), &name("ships"), &name("ph"), NOW).expect("set up")
}

/// Every file with its mode and content.
fn all(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let mode = if path.ends_with(SERVER) { PUBLIC_DIR } else { PRIVATE_DIR };
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, mode, "{}", path.display());
            files.extend(all(&path));
        } else {
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            files.insert(path.clone(), (mode, fs::read(&path).expect("read")));
        }
    }
    files
}

#[test]
fn a_second_init_changes_nothing_and_one_of_another_name_is_in_the_way() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    assert!(init(&dir).1);
    let before = all(&dir);
    assert!(!init(&dir).1);
    assert_eq!(all(&dir), before);
    let other = Folder::init(&dir, Path::new("/x"), &name("boats"), &name("ph"), NOW);
    assert!(matches!(other, Err(FolderError::Conflict(_))), "{other:?}");
    let taken = Folder::init(parent.path(), Path::new("/x"), &name("ships"), &name("ph"), NOW);
    assert!(matches!(taken, Err(FolderError::Conflict(_))), "not empty: {taken:?}");
    assert_eq!(all(&dir), before);
}

#[test]
fn what_is_secret_is_for_its_owner_alone_and_nothing_secret_is_in_what_servers_read() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    drop(init(&dir));
    // A server of another user gets at what is for it, and at nothing else.
    assert_eq!(fs::metadata(&dir).expect("there").permissions().mode() & 0o777, PUBLIC_DIR);
    let files = all(&dir);
    let seeds: Vec<String> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "seed"))
        .map(|(_, (_, content))| String::from_utf8(content.clone()).expect("text").trim().to_owned())
        .collect();
    assert_eq!(seeds.len(), 3 + Role::ALL.len());
    for (path, (mode, content)) in &files {
        let is_public = path.starts_with(dir.join(SERVER));
        assert_eq!(*mode, if is_public { PUBLIC_FILE } else { PRIVATE_FILE }, "{}", path.display());
        let text = String::from_utf8_lossy(content);
        assert!(!is_public || !seeds.iter().any(|seed| text.contains(seed)), "{}", path.display());
    }
}

#[test]
fn a_name_is_one_clients_alone_until_it_is_out() {
    let parent = tempfile::tempdir().expect("a directory");
    let (mut folder, _) = init(&parent.path().join("auth"));
    let ann = folder.add(Role::User, name("ann"), None, NOW).expect("added");
    assert!(folder.creds_of(&ann).exists());
    for (role, site) in [(Role::User, None), (Role::Operator, None), (Role::Provisioner, Some(name("north")))] {
        let again = folder.add(role, name("ann"), site, NOW);
        assert!(matches!(again, Err(FolderError::Conflict(_))), "{again:?}");
    }
    folder.revoke(Role::User, &name("ann"), LATER).expect("out");
    assert!(!folder.creds_of(&ann).exists());
    assert!(matches!(folder.revoke(Role::User, &name("ann"), LATER), Err(FolderError::NotFound(_))));
    let again = folder.add(Role::Operator, name("ann"), None, LATER).expect("free again");
    assert_ne!(again.key, ann.key);
    assert_eq!(folder.register().revoked_keys(), [(ann.key, 1_700_000_100)].into());
}

#[test]
fn a_provisioner_has_a_site_and_nobody_else_has_one() {
    let parent = tempfile::tempdir().expect("a directory");
    let (mut folder, _) = init(&parent.path().join("auth"));
    for (role, site) in [(Role::Provisioner, None), (Role::User, Some(name("north"))), (Role::Agent, None)] {
        let refused = folder.add(role, name("x"), site, NOW);
        assert!(matches!(refused, Err(FolderError::Invalid(_))), "{refused:?}");
    }
    let north = folder.add(Role::Provisioner, name("x"), Some(name("north")), NOW).expect("added");
    assert_eq!(north.tags(), ["site:north"]);
}

#[test]
fn renewing_a_role_replaces_its_key_and_the_credentials_of_all_who_are_in_it() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    let (mut folder, _) = init(&dir);
    let before = all(&dir);
    let renewed = folder.renew(Some(Role::User), LATER).expect("renewed");
    assert_eq!(renewed.iter().map(|client| client.name.as_str()).collect::<Vec<_>>(), ["default"]);
    let changed: Vec<_> = all(&dir).into_iter().filter(|(path, file)| before.get(path) != Some(file)).map(|(path, _)| path).collect();
    let names: Vec<_> = changed.iter().map(|path| path.file_name().and_then(|name| name.to_str()).expect("a name")).collect();
    let seed = format!("user-{}.seed", folder.register.role_keys[&Role::User]);
    assert_eq!(names, ["user-default.creds", &seed, "register.json", "auth.conf"]);
    assert_eq!(all(&dir).len(), before.len(), "the old key is gone");
    folder.renew(Some(Role::Agent), LATER).expect("renewed");
    AgentSigner::read(&folder.signer()).expect("a signer");
    assert_ne!(before[&dir.join(SIGNER)].1, fs::read(dir.join(SIGNER)).expect("read"));
}

#[test]
fn a_directory_that_was_tampered_with_is_refused_by_the_name_of_the_file() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    drop(init(&dir));
    let folder = Folder::open(&dir, NOW).expect("open");
    let seed = key_path(&dir, &role_key_name(Role::User, &folder.register.role_keys[&Role::User]));
    drop(folder);
    fs::write(&seed, "nonsense").expect("written");
    let refused = Folder::open(&dir, NOW).expect("open").add(Role::User, name("bob"), None, NOW).expect_err("no key");
    assert!(refused.to_string().contains("user-A") && !refused.to_string().contains("nonsense"), "{refused}");
    fs::write(dir.join(REGISTER), "{}").expect("written");
    assert!(Folder::open(&dir, NOW).expect_err("no register").to_string().contains(REGISTER));
    let nothing = Folder::open(parent.path(), NOW);
    assert!(matches!(nothing, Err(FolderError::NotFound(_))));
}

/// Who signed the credentials of a client, and whose they are.
fn keys_of(folder: &Folder, client: &str) -> (String, String) {
    let client = folder.register.active().find(|it| it.name.as_str() == client).expect("a client");
    credentials::keys_in(&fs::read_to_string(folder.creds_of(client)).expect("its credentials")).expect("keys")
}

/// Everything that follows from the register does follow from it.
fn check_whole(folder: &Folder) {
    let keys = &folder.register.role_keys;
    assert!(!folder.register.unfinished);
    for client in folder.register.active() {
        let told = keys_of(folder, client.name.as_str());
        assert_eq!(told, (client.key.clone(), keys[&client.role].clone()), "{}", client.name);
    }
    let signer: SignerFile = serde_json::from_slice(&fs::read(folder.signer()).expect("read")).expect("a signer");
    assert_eq!(KeyPair::from_seed(&signer.seed).expect("a key").public_key(), keys[&Role::Agent]);
    let conf = fs::read_to_string(folder.dir.join("server/auth.conf")).expect("read");
    let token =
        conf.split('"').find(|part| token::claim_in(part, "sub").as_ref() == Some(&folder.register.account)).expect("the account's");
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token.split('.').nth(1).expect("claims"));
    let claims = String::from_utf8(claims.expect("base64")).expect("text");
    for key in keys.values() {
        assert!(claims.contains(key), "the server knows of {key}");
    }
}

/// Puts a directory where a file is to be written, so that a command is interrupted there. What was there comes back in the end.
fn interrupted(file: &Path, command: impl FnOnce()) {
    let aside = file.with_extension("aside");
    fs::rename(file, &aside).expect("moved away");
    fs::create_dir(file).expect("in the way");
    command();
    fs::remove_dir(file).expect("removed");
    fs::rename(&aside, file).expect("moved back");
}

#[test]
fn a_renewal_that_was_interrupted_changed_nothing_or_is_finished_by_the_next_command() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    drop(init(&dir));
    for role in [Role::User, Role::Agent] {
        for (file, is_done) in [(REGISTER, false), (SIGNER, true), ("creds/user-default.creds", true), ("server/auth.conf", true)] {
            if role == Role::Agent && file.starts_with("creds") {
                continue;
            }
            let mut folder = Folder::open(&dir, NOW).expect("open");
            check_whole(&folder);
            let before = folder.register.role_keys.clone();
            interrupted(&dir.join(file), || drop(folder.renew(Some(role), LATER).expect_err("interrupted")));
            drop(folder);
            let folder = Folder::open(&dir, LATER).expect("open");
            assert_eq!((folder.register.role_keys != before, folder.caught_up()), (is_done, is_done), "{role}: {file}");
            check_whole(&folder);
            drop(folder);
            assert!(!Folder::open(&dir, LATER).expect("open").caught_up(), "only once");
        }
    }
}

#[test]
fn whoever_has_credentials_is_in_the_register_whenever_a_command_is_interrupted() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    let (mut folder, _) = init(&dir);
    interrupted(&dir.join(REGISTER), || drop(folder.add(Role::User, name("ann"), None, NOW).expect_err("interrupted")));
    assert!(!dir.join("creds/user-ann.creds").exists(), "nothing is given out that is not written down");
    drop(folder);
    let mut folder = Folder::open(&dir, NOW).expect("open");
    fs::create_dir(dir.join("creds/user-ann.creds")).expect("in the way");
    folder.add(Role::User, name("ann"), None, NOW).expect_err("interrupted");
    fs::remove_dir(dir.join("creds/user-ann.creds")).expect("removed");
    drop(folder);
    let folder = Folder::open(&dir, NOW).expect("open");
    assert!(folder.register.active().any(|client| client.name.as_str() == "ann"));
    check_whole(&folder);
}
