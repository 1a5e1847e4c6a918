use std::collections::BTreeMap;

use super::*;
use crate::auth::signer::AgentSigner;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_700_000_100);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn init(dir: &Path) -> (Folder, bool) {
    Folder::init(dir, &name("ships"), &name("ph"), NOW).expect("set up")
}

/// Every file with its mode and content.
fn all(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, PRIVATE_DIR, "{}", path.display());
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
    let other = Folder::init(&dir, &name("boats"), &name("ph"), NOW);
    assert!(matches!(other, Err(FolderError::Conflict(_))), "{other:?}");
    let taken = Folder::init(parent.path(), &name("ships"), &name("ph"), NOW);
    assert!(matches!(taken, Err(FolderError::Conflict(_))), "not empty: {taken:?}");
    assert_eq!(all(&dir), before);
}

#[test]
fn what_is_secret_is_for_its_owner_alone_and_nothing_secret_is_in_what_servers_read() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    drop(init(&dir));
    assert_eq!(fs::metadata(&dir).expect("there").permissions().mode() & 0o777, PRIVATE_DIR);
    let files = all(&dir);
    let seeds: Vec<String> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "seed"))
        .map(|(_, (_, content))| String::from_utf8(content.clone()).expect("text").trim().to_owned())
        .collect();
    assert_eq!(seeds.len(), 3 + Role::ALL.len());
    for (path, (mode, content)) in &files {
        let is_public = path.extension().is_some_and(|extension| extension == "conf");
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
    assert_eq!(names, ["auth.conf", "user-default.creds", "user.seed", "register.json"]);
    folder.renew(Some(Role::Agent), LATER).expect("renewed");
    AgentSigner::read(&folder.path(SIGNER)).expect("a signer");
    assert_ne!(before[&dir.join(SIGNER)].1, fs::read(dir.join(SIGNER)).expect("read"));
}

#[test]
fn a_directory_that_was_tampered_with_is_refused_by_the_name_of_the_file() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("auth");
    drop(init(&dir));
    fs::write(dir.join("keys/user.seed"), "nonsense").expect("written");
    let refused = Folder::open(&dir).expect("open").add(Role::User, name("bob"), None, NOW).expect_err("no key");
    assert!(refused.to_string().contains("user.seed") && !refused.to_string().contains("nonsense"), "{refused}");
    fs::write(dir.join(REGISTER), "{}").expect("written");
    assert!(Folder::open(&dir).expect_err("no register").to_string().contains(REGISTER));
    let nothing = Folder::open(parent.path());
    assert!(matches!(nothing, Err(FolderError::NotFound(_))));
}
