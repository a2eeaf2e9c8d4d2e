//! `SIGKILL` at every write to the ledger, and where a card is in it at every frame, of what is done with OATH tokens besides
//! registering, testing, resyncing and revoking them (`matrix_kills.rs`; fobs over NFC: `matrix_nfc.rs`; imports:
//! `ring1_import.rs`). After the restart what was acknowledged is there, what was not is whole or not at all, no code is accepted
//! twice, wrong tries have not become fewer, and the same call brings it to its end.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/relay.rs"]
mod relay;
#[path = "harness/shim.rs"]
mod shim;

use std::collections::VecDeque;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::PrivateBus;
use claviger::contract::proxy::{Device1Proxy, Options, Record, Tokens1Proxy, Verify1Proxy};
use house::{End, Figures, House, fob, none, number, presence, secret, text, token};
use hw_fixtures::fob::Fob;
use hw_fixtures::oath::{Hash, totp};
use hw_fixtures::ykoath::Reply;
use hw_fixtures::{Plugged, Token};
use relay::Relay;
use shim::{Moment, Shim};
use zbus::{Fd, OwnedObjectPath, Variant};

const WORKERS: usize = 3;
/// Rows and answers vary in length by a few bytes from run to run; a cell that was not met is tried again so often.
const TRIES: u64 = 6;
/// The daemon's clock in these houses: the middle of a fob's step.
const NOON: i64 = 1_800_000_015;
const WRONG: &str = "000000";
const PASSWORD: &str = "correct horse";
const RENAMED: &str = "Claviger:desk";
const STRANGE: &str = "Elsewhere:ada";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Verify,
    VerifyWrong,
    UseRecovery,
    Unlock,
    Preview,
    Assign,
    Export,
    RegisterApp,
    RegisterSheet,
    SetPassword,
    RemovePassword,
    Rename,
    Delete,
    Reset,
}

impl Act {
    const fn on_a_card(self) -> bool {
        matches!(
            self,
            Self::SetPassword | Self::RemovePassword | Self::Rename | Self::Delete | Self::Reset
        )
    }
}

#[derive(Clone, Copy, Debug)]
enum Death {
    Frame(u64),
    Write(u64, Moment),
}

/// How an act ended for its caller.
#[derive(Debug)]
enum Came {
    /// With an answer: whether it was yes, and what it told.
    Answered(bool, Record),
    Died,
}

impl Came {
    const fn said_yes(&self) -> bool {
        matches!(self, Self::Answered(true, _))
    }
}

impl From<End> for Came {
    fn from(end: End) -> Self {
        match end {
            End::Completed(outcome, details) => Self::Answered(outcome == "done", details),
            End::Denied(name, sentence) => panic!("{name}: {sentence}"),
            End::Died => Self::Died,
        }
    }
}

/// The answer of a method that is no operation.
fn answered<T>(reply: zbus::Result<T>, told: impl FnOnce(T) -> (bool, Record)) -> Came {
    match reply {
        Ok(value) => {
            let (yes, record) = told(value);
            Came::Answered(yes, record)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(
                [
                    "NoReply",
                    "ServiceUnknown",
                    "NameHasNoOwner",
                    "disconnected",
                    "without replying"
                ]
                .iter()
                .any(|death| text.contains(death)),
                "{text}"
            );
            Came::Died
        }
    }
}

/// A house in which everything but the act itself has been done.
struct Scene {
    house: House,
    shim: Shim,
    relay: Relay,
    act: Act,
    clock: i64,
    fob: Fob,
    card: Token,
    plugged: Option<Plugged>,
    /// The token that it is about.
    id: String,
    /// Codes on the sheet that alice has.
    sheet: Vec<String>,
    /// What is handed out by the act.
    into: std::fs::File,
}

impl Scene {
    async fn set(bus: &Arc<PrivateBus>, act: Act, seed: u64) -> Self {
        let mut house = House::unstarted(bus.clone(), &Figures::default()).await;
        let shim = Shim::into(&mut house);
        shim.set_clock(NOON);
        house.restart().await;
        let relay = Relay::start(house.path().join("relay.sock"), house.socket());
        let mut scene = Self {
            house,
            shim,
            relay,
            act,
            clock: NOON,
            fob: fob("F-1", seed, 0.0),
            card: token("yubikey-5-7", "card", seed),
            plugged: None,
            id: String::new(),
            sheet: Vec::new(),
            into: tempfile::tempfile().expect("a file"),
        };
        scene.furnish().await;
        scene
    }

    async fn furnish(&mut self) {
        match self.act {
            Act::Verify | Act::VerifyWrong | Act::Unlock | Act::Preview | Act::Export => {
                self.id = text(
                    &self.house.register_fob_at(&self.fob, "alice", NOON).await.done(),
                    "token",
                );
                self.pass(60);
            }
            Act::UseRecovery | Act::RegisterSheet => {
                let file = tempfile::tempfile().expect("a file");
                self.id = text(&self.make_sheet(&file).await.done(), "token");
                self.sheet = lines(&file);
            }
            Act::Assign => {
                let rows = "upn,serial number,secret key,time interval,manufacturer,model\n\
                            ,F-9,GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ,30,Contoso,C1\n";
                let import = async |tokens: &Tokens1Proxy<'static>| {
                    tokens.import(Fd::from(secret(rows.as_bytes())), &none()).await
                };
                self.house.run(import).await.done();
                self.id = text(&self.house.all().await[0], "id");
            }
            Act::RegisterApp => {}
            _ => self.furnish_card().await,
        }
        match self.act {
            Act::Verify | Act::VerifyWrong => self.miss(2).await,
            Act::Unlock => self.miss(10).await,
            Act::Preview => {
                self.pass(3_600);
                self.fob.drift(-540.0, 0.0, self.clock);
            }
            _ => {}
        }
    }

    async fn furnish_card(&mut self) {
        if self.act == Act::Delete {
            // Somebody else's, by another program.
            let name = STRANGE.as_bytes();
            let mut put = vec![0x71, u8::try_from(name.len()).expect("short")];
            put.extend(name);
            put.extend([0x73, 22, 0x21, 6]);
            put.extend([7; 20]);
            let command = [&[0, 1, 0, 0, u8::try_from(put.len()).expect("short")], &put[..]].concat();
            self.card.with_card(|card| {
                card.command(&[0, 0xA4, 4, 0, 7, 0xA0, 0, 0, 5, 0x27, 0x21, 1], 0);
                assert_eq!(card.command(&command, 0), Reply::Response(vec![0x90, 0]));
            });
        }
        self.plug();
        self.id = text(&self.house.register_card(self.device(), "alice").await.done(), "token");
        if self.act == Act::RemovePassword {
            assert!(self.set_password().await.said_yes());
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.clock += seconds;
        self.shim.set_clock(self.clock);
    }

    fn plug(&mut self) {
        self.plugged = None;
        self.plugged = Some(self.house.plug_at(self.relay.path(), &self.card));
    }

    fn device(&self) -> &Plugged {
        self.plugged.as_ref().expect("in its reader")
    }

    /// So many wrong tries, each as soon as it is looked at.
    async fn miss(&mut self, times: u32) {
        for _ in 0..times {
            let wait_s = self.standing().await.1;
            self.pass(wait_s);
            let came = self.verify("alice", WRONG).await;
            assert!(matches!(came, Came::Answered(false, _)), "{came:?}");
        }
        let wait_s = self.standing().await.1;
        if self.act != Act::Unlock {
            self.pass(wait_s);
        }
    }

    async fn verifier(&self) -> Verify1Proxy<'static> {
        Verify1Proxy::builder(&self.house.client)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("a proxy")
    }

    async fn verify(&self, subject: &str, code: &str) -> Came {
        answered(self.verifier().await.verify(subject, code, &none()).await, |told| told)
    }

    /// Wrong tries on alice's account, and how long its only caller waits.
    async fn standing(&self) -> (i64, i64) {
        let told = self
            .verifier()
            .await
            .standing("alice", &none())
            .await
            .expect("a standing");
        let callers = told.get("callers").expect("callers").try_clone().expect("a value");
        let callers = Vec::<Record>::try_from(callers).expect("records");
        let wait_s = callers.first().and_then(|caller| number(caller, "wait-s")).unwrap_or(0);
        (number(&told, "failures").expect("failures"), wait_s)
    }

    async fn unlock(&self) -> Came {
        answered(self.verifier().await.unlock("alice", &none()).await, |()| {
            (true, Record::new())
        })
    }

    async fn make_sheet(&self, file: &std::fs::File) -> End {
        let fd = OwnedFd::from(file.try_clone().expect("a descriptor"));
        let make =
            async |tokens: &Tokens1Proxy<'static>| tokens.register_recovery_codes("alice", Fd::from(fd), &none()).await;
        self.house.run(make).await
    }

    async fn make_app(&self, file: &std::fs::File) -> End {
        let fd = OwnedFd::from(file.try_clone().expect("a descriptor"));
        let make = async |tokens: &Tokens1Proxy<'static>| tokens.register_app("alice", Fd::from(fd), &none()).await;
        self.house.run(make).await
    }

    async fn export(&self, file: &std::fs::File) -> End {
        let fd = OwnedFd::from(file.try_clone().expect("a descriptor"));
        let export = async |tokens: &Tokens1Proxy<'static>| tokens.export("users-oath", Fd::from(fd), &none()).await;
        self.house.run(export).await
    }

    fn pair(&self) -> [String; 2] {
        [self.fob.code(self.clock - 30), self.fob.code(self.clock)]
    }

    async fn preview(&self) -> End {
        let pair = self.pair();
        let codes = [pair[0].as_str(), pair[1].as_str()];
        let preview = async |tokens: &Tokens1Proxy<'static>| tokens.preview_resync(&self.id, &codes, &none()).await;
        self.house.run(preview).await
    }

    async fn assign(&self) -> End {
        let assign = async |tokens: &Tokens1Proxy<'static>| tokens.assign(&self.id, "alice", &none()).await;
        self.house.run(assign).await
    }

    async fn administer(&self, call: impl AsyncFnOnce(&Device1Proxy<'static>) -> zbus::Result<OwnedObjectPath>) -> End {
        let device = self.house.device(self.device()).await;
        self.house.run(async |_| call(&device).await).await
    }

    async fn set_password(&self) -> Came {
        let set = async |device: &Device1Proxy<'static>| {
            let new = Fd::from(secret(PASSWORD.as_bytes()));
            device.set_oath_password(new, &none()).await
        };
        self.administer(set).await.into()
    }

    async fn remove_password(&self) -> Came {
        let remove = async |device: &Device1Proxy<'static>| device.remove_oath_password(&with_password()).await;
        self.administer(remove).await.into()
    }

    async fn rename(&self) -> End {
        let old = text(&self.house.get(&self.id).await, "oath-name");
        let rename = async |device: &Device1Proxy<'static>| device.rename_oath_credential(&old, RENAMED, &none()).await;
        self.administer(rename).await
    }

    async fn delete(&self) -> End {
        let delete = async |device: &Device1Proxy<'static>| device.delete_oath_credential(STRANGE, &none()).await;
        self.administer(delete).await
    }

    async fn reset(&self) -> End {
        let word = Options::from([("reset", Variant::Bool(true))]);
        let reset = async |device: &Device1Proxy<'static>| device.reset_oath(&word).await;
        self.administer(reset).await
    }

    async fn perform(&self) -> Came {
        match self.act {
            Act::Verify => self.verify("alice", &self.fob.code(self.clock)).await,
            Act::VerifyWrong => self.verify("alice", WRONG).await,
            Act::UseRecovery => self.verify("alice", &self.sheet[0]).await,
            Act::Unlock => self.unlock().await,
            Act::Preview => self.preview().await.into(),
            Act::Assign => self.assign().await.into(),
            Act::Export => self.export(&self.into).await.into(),
            Act::RegisterApp => self.make_app(&self.into).await.into(),
            Act::RegisterSheet => self.make_sheet(&self.into).await.into(),
            Act::SetPassword => self.set_password().await,
            Act::RemovePassword => self.remove_password().await,
            Act::Rename => self.rename().await.into(),
            Act::Delete => self.delete().await.into(),
            Act::Reset => self.reset().await.into(),
        }
    }

    fn held(&self) -> usize {
        self.card.with_card(|card| card.credential_count()).expect("a card")
    }

    /// Whether the card tests with the password, and without it.
    async fn tests(&self) -> (bool, bool) {
        let mut right = presence(self.device(), None);
        right.extend(with_password());
        let with = self.house.run(async |tokens| tokens.test(&self.id, &right).await).await;
        let without = self.house.test_on(&self.id, self.device(), None).await;
        (with.is_done(), without.is_done())
    }
}

fn with_password() -> Options<'static> {
    Options::from([("password", Variant::Fd(Fd::from(secret(PASSWORD.as_bytes()))))])
}

/// What has been written to a file, line by line.
fn lines(mut file: &std::fs::File) -> Vec<String> {
    file.rewind().expect("its beginning");
    let mut content = String::new();
    file.read_to_string(&mut content).expect("its content");
    content.lines().map(str::to_owned).collect()
}

fn ensure(so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(what()) }
}

/// What must be so after the restart.
async fn afterwards(scene: &mut Scene, came: &Came) -> Result<(), String> {
    let yes = came.said_yes();
    match scene.act {
        Act::Verify => after_verify(scene, yes).await,
        Act::VerifyWrong => {
            let told = matches!(came, Came::Answered(..));
            let (failures, _) = scene.standing().await;
            ensure(failures == 3 || (!told && failures == 2), || {
                format!("{failures} wrong tries after the third")
            })?;
            scene.pass(30);
            ensure(
                scene.verify("alice", &scene.fob.code(scene.clock)).await.said_yes(),
                || "the right code is refused".to_owned(),
            )
        }
        Act::UseRecovery => after_recovery_code(scene, yes).await,
        Act::Unlock => after_unlock(scene, yes).await,
        Act::Preview => after_preview(scene).await,
        Act::Assign => {
            let state = scene.house.state_of(&scene.id).await;
            ensure(state == "pending" || (!yes && state == "inventory"), || {
                format!("it is {state}")
            })?;
            if state == "inventory" {
                scene.assign().await.done();
            }
            let record = scene.house.get(&scene.id).await;
            ensure(
                text(&record, "subject") == "alice" && text(&record, "serial") == "F-9",
                || format!("{record:?}"),
            )
        }
        Act::Export => after_export(scene, yes).await,
        Act::RegisterApp => after_app(scene, yes).await,
        Act::RegisterSheet => after_sheet(scene, yes).await,
        Act::SetPassword | Act::RemovePassword => after_password(scene, yes).await,
        Act::Rename => after_rename(scene, yes).await,
        Act::Delete => after_delete(scene, yes).await,
        Act::Reset => after_reset(scene, yes).await,
    }
}

/// Accepted: never again. Not answered: once or used, never twice. The two wrong tries before are forgotten by a pass alone.
async fn after_verify(scene: &mut Scene, accepted: bool) -> Result<(), String> {
    let code = scene.fob.code(scene.clock);
    let used = number(&scene.house.get(&scene.id).await, "watermark") >= Some(scene.clock / 30);
    let (failures, _) = scene.standing().await;
    ensure(failures == if used { 0 } else { 2 }, || {
        format!("{failures} wrong tries, and the code is used: {used}")
    })?;
    ensure(used || !accepted, || "an accepted code was forgotten".to_owned())?;
    let passes = scene.verify("alice", &code).await.said_yes();
    ensure(passes != used, || format!("used: {used}, and it passes: {passes}"))?;
    ensure(!scene.verify("alice", &code).await.said_yes(), || {
        "a code was accepted twice".to_owned()
    })?;
    ensure(!scene.house.test_code(&scene.id, &code).await.is_done(), || {
        "a code was accepted twice, by a test".to_owned()
    })?;
    scene.pass(30);
    ensure(
        scene.verify("alice", &scene.fob.code(scene.clock)).await.said_yes(),
        || "the next code is refused".to_owned(),
    )
}

async fn after_recovery_code(scene: &mut Scene, accepted: bool) -> Result<(), String> {
    let first = scene.verify("alice", &scene.sheet[0]).await;
    ensure(!(accepted && first.said_yes()), || {
        "a recovery code passed twice".to_owned()
    })?;
    let again = scene.verify("alice", &scene.sheet[0]).await;
    ensure(!again.said_yes(), || "a recovery code passed twice".to_owned())?;
    // One of ten is gone, whether it was used before the kill or after.
    let Came::Answered(true, told) = scene.verify("alice", &scene.sheet[1]).await else {
        return Err("the next recovery code is refused".to_owned());
    };
    ensure(number(&told, "recovery-left") == Some(8), || format!("{told:?}"))
}

async fn after_unlock(scene: &mut Scene, unlocked: bool) -> Result<(), String> {
    let (failures, wait_s) = scene.standing().await;
    let open = failures == 0;
    ensure(failures == 10 || open, || format!("{failures} wrong tries"))?;
    ensure(open || !unlocked, || {
        "an acknowledged unlocking was forgotten".to_owned()
    })?;
    ensure(open == (wait_s == 0), || {
        format!("{failures} wrong tries, and {wait_s} s to wait")
    })?;
    if !open {
        ensure(scene.unlock().await.said_yes(), || {
            "it cannot be unlocked again".to_owned()
        })?;
    }
    ensure(
        scene.verify("alice", &scene.fob.code(scene.clock)).await.said_yes(),
        || "unlocked, and the right code is refused".to_owned(),
    )
}

/// Nothing has changed, and the codes are as good as before.
async fn after_preview(scene: &mut Scene) -> Result<(), String> {
    let record = scene.house.get(&scene.id).await;
    let offset = number(&record, "offset-ms").unwrap_or_default();
    ensure(offset.abs() < 60_000, || {
        format!("a preview changed the offset to {offset} ms")
    })?;
    let pair = scene.pair();
    let end = scene.house.resync(&scene.id, &[&pair[0], &pair[1]]).await;
    ensure(end.is_done(), || format!("what was previewed cannot be done: {end}"))?;
    scene.pass(30);
    let end = scene.house.test_code(&scene.id, &scene.fob.code(scene.clock)).await;
    ensure(end.is_done(), || format!("the next code failed: {end}"))
}

/// What went out is in the journal.
async fn after_export(scene: &mut Scene, done: bool) -> Result<(), String> {
    let out = !lines(&scene.into).is_empty();
    let told = scene.house.story_of(&scene.id).await.contains("token.exported");
    ensure(told || !out, || {
        "a seed went out and the journal does not say so".to_owned()
    })?;
    ensure(!done || (told && out), || {
        "an acknowledged export was forgotten".to_owned()
    })?;
    let again = tempfile::tempfile().expect("a file");
    let end = scene.export(&again).await;
    ensure(end.is_done() && lines(&again).len() == 1, || {
        format!("it cannot be exported again: {end}")
    })
}

async fn after_app(scene: &mut Scene, done: bool) -> Result<(), String> {
    let records = scene.house.all().await;
    ensure(records.len() <= 1 && (!done || records.len() == 1), || {
        format!("{records:?}")
    })?;
    let uri = lines(&scene.into);
    let (uri, id) = match records.first() {
        Some(record) => (uri, text(record, "id")),
        None => {
            // What was handed out, if anything was, is nobody's. Another one is made.
            let file = tempfile::tempfile().expect("a file");
            let id = text(&scene.make_app(&file).await.done(), "token");
            (lines(&file), id)
        }
    };
    ensure(scene.house.state_of(&id).await == "pending", || {
        "it is not pending".to_owned()
    })?;
    let parts = uri.first().map(|uri| uri.split(['?', '&']));
    let seed = parts.and_then(|mut parts| parts.find_map(|part| part.strip_prefix("secret=").map(str::to_owned)));
    let seed = seed.ok_or("a record of a seed that nobody was given")?;
    let seed = data_encoding::BASE32_NOPAD.decode(seed.as_bytes()).expect("base32");
    let end = scene
        .house
        .test_code(&id, &totp(Hash::Sha1, &seed, scene.clock, 30, 6))
        .await;
    ensure(end.is_done(), || format!("its first code is refused: {end}"))
}

/// One sheet is good, and its holder has it.
async fn after_sheet(scene: &mut Scene, done: bool) -> Result<(), String> {
    let new = lines(&scene.into);
    let old_passes = scene.verify("alice", &scene.sheet[0]).await.said_yes();
    let new_passes = match new.first() {
        Some(code) => scene.verify("alice", code).await.said_yes(),
        None => false,
    };
    ensure(old_passes != new_passes, || {
        format!("the old sheet is good: {old_passes}, the new one: {new_passes}")
    })?;
    ensure(new_passes || !done, || "an acknowledged sheet was forgotten".to_owned())?;
    let live = scene
        .house
        .all()
        .await
        .iter()
        .filter(|one| text(one, "state") == "active")
        .count();
    ensure(live == 1, || format!("{live} sheets are live"))
}

/// The card has the one password or none, whatever became of the answer, and can be brought to the other.
async fn after_password(scene: &mut Scene, done: bool) -> Result<(), String> {
    scene.plug();
    let setting = scene.act == Act::SetPassword;
    let (with, without) = scene.tests().await;
    ensure(with || without, || "the card does not open by any password".to_owned())?;
    let locked = !without;
    ensure(!done || locked == setting, || {
        "what was acknowledged is not so".to_owned()
    })?;
    if locked != setting {
        let again = match scene.act {
            Act::SetPassword => scene.set_password().await,
            _ => scene.remove_password().await,
        };
        ensure(again.said_yes(), || format!("it cannot be done again: {again:?}"))?;
        let (_, without) = scene.tests().await;
        ensure(without != setting, || "done again, and it is not so".to_owned())?;
    }
    Ok(())
}

/// The credential has the old name or the new one; the next test finds it, and binds the token to it.
async fn after_rename(scene: &mut Scene, done: bool) -> Result<(), String> {
    scene.plug();
    let named = text(&scene.house.get(&scene.id).await, "oath-name");
    ensure(!done || named == RENAMED, || {
        format!("acknowledged, and its name is {named}")
    })?;
    let end = scene.house.test_on(&scene.id, scene.device(), None).await;
    ensure(end.is_done(), || format!("its test fails: {end}"))?;
    if text(&scene.house.get(&scene.id).await, "oath-name") != RENAMED {
        let end = scene.rename().await;
        ensure(end.is_done(), || format!("it cannot be renamed again: {end}"))?;
    }
    let end = scene.house.test_on(&scene.id, scene.device(), None).await;
    ensure(end.is_done() && scene.held() == 1, || {
        format!("renamed, its test fails: {end}")
    })
}

async fn after_delete(scene: &mut Scene, done: bool) -> Result<(), String> {
    scene.plug();
    ensure(scene.held() == 1 || !done, || {
        "acknowledged, and it is there".to_owned()
    })?;
    if scene.held() == 2 {
        let end = scene.delete().await;
        ensure(end.is_done(), || format!("it cannot be deleted again: {end}"))?;
    }
    let end = scene.house.test_on(&scene.id, scene.device(), None).await;
    ensure(end.is_done() && scene.held() == 1, || {
        format!("the token's own is gone: {end}")
    })
}

/// The token lives and is on the card; or it is dead, and what is on the card is owed.
async fn after_reset(scene: &mut Scene, done: bool) -> Result<(), String> {
    scene.plug();
    let state = scene.house.state_of(&scene.id).await;
    if state == "active" {
        ensure(!done && scene.held() == 1, || {
            "active, and the card was wiped".to_owned()
        })?;
        let end = scene.house.test_on(&scene.id, scene.device(), None).await;
        ensure(end.is_done(), || format!("active, and its test fails: {end}"))?;
    } else {
        ensure(state == "revoked", || format!("it is {state}"))?;
        let owed = scene.house.obligations().await.len();
        ensure(owed == 1 || scene.held() == 0, || {
            "on the card, and nothing is owed".to_owned()
        })?;
    }
    if !done {
        let end = scene.reset().await;
        ensure(end.is_done(), || format!("it cannot be reset again: {end}"))?;
    }
    ensure(scene.held() == 0, || "the card still holds it".to_owned())?;
    ensure(scene.house.state_of(&scene.id).await == "revoked", || {
        "it lives".to_owned()
    })?;
    let owed = scene.house.obligations().await;
    // A wiped applet has another id: what was owed to the old one is settled by a person's word.
    for duty in &owed {
        let word = Options::from([("collected", true.into())]);
        let id = text(duty, "id");
        let end = scene.house.run(async |tokens| tokens.discharge(&id, &word).await).await;
        ensure(end.is_done(), || format!("what is owed cannot be settled: {end}"))?;
    }
    ensure(!done || owed.is_empty(), || format!("acknowledged, and owed: {owed:?}"))
}

/// Frames and writes that every clean run has: the least of three, for a last frame of what was set up before may come late on a
/// busy machine and be counted in one of them.
async fn record(bus: &Arc<PrivateBus>, act: Act) -> (u64, u64) {
    let mut least = (u64::MAX, u64::MAX);
    for seed in 1..=3 {
        let (frames, writes) = record_once(bus, act, seed).await;
        least = (least.0.min(frames), least.1.min(writes));
    }
    least
}

async fn record_once(bus: &Arc<PrivateBus>, act: Act, seed: u64) -> (u64, u64) {
    let scene = Scene::set(bus, act, seed).await;
    scene.relay.count_from_here();
    scene.shim.count_from_here();
    let came = scene.perform().await;
    assert_eq!(came.said_yes(), act != Act::VerifyWrong, "{act:?}: {came:?}");
    (scene.relay.counted(), scene.shim.counted())
}

/// Whether the daemon died where it should have; an error says what was wrong afterwards.
async fn visit(bus: &Arc<PrivateBus>, act: Act, death: Death, seed: u64) -> Result<bool, String> {
    let mut scene = Scene::set(bus, act, seed).await;
    match death {
        Death::Frame(frame) => scene.relay.arm(frame, scene.house.pid()),
        Death::Write(nth, moment) => scene.shim.arm(nth, moment),
    }
    let came = scene.perform().await;
    // The last writes may come after the answer.
    let until = Instant::now() + Duration::from_millis(300);
    while !matches!(came, Came::Died) && !scene.house.is_dead() {
        if Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ensure(scene.house.was_killed(), || {
        "it ended otherwise than by the kill".to_owned()
    })?;
    scene.relay.disarm();
    scene.shim.disarm();
    scene.plugged = None;
    scene.house.restart().await;
    scene.house.assert_intact().await;
    afterwards(&mut scene, &came)
        .await
        .map_err(|what| format!("{what}; it was answered {came:?}"))?;
    scene.house.assert_intact().await;
    scene.house.assert_no_panic();
    // Nothing that was cut short is still open.
    let before = scene.house.log().matches("cut short").count();
    scene.plugged = None;
    scene.house.restart().await;
    let after = scene.house.log().matches("cut short").count();
    ensure(before == after, || "an act was still open after the restart".to_owned())?;
    Ok(true)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// All cells of these acts.
fn matrix(acts: &[Act]) {
    let started = Instant::now();
    let bus = Arc::new(PrivateBus::start());
    let mut cells = VecDeque::new();
    for act in acts {
        let (frames, writes) = runtime().block_on(record(&bus, *act));
        println!("{act:?}: {frames} frames, {writes} writes");
        assert_eq!(frames > 0, act.on_a_card(), "{act:?}: {frames} frames");
        assert!(writes > 0, "{act:?} writes nothing");
        cells.extend((1..=frames).map(|frame| (*act, Death::Frame(frame))));
        for moment in [Moment::Before, Moment::Middle, Moment::After] {
            cells.extend((1..=writes).map(|nth| (*act, Death::Write(nth, moment))));
        }
    }
    let all = cells.len();
    let (queue, found) = (Mutex::new(cells), Mutex::new((0, Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&queue, &found));
        }
    });
    let (hits, failures) = found.into_inner().unwrap();
    println!("kills: {all} cells, {hits} hits, in {:?}", started.elapsed());
    assert!(
        failures.is_empty(),
        "{} cells failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert_eq!(hits, all, "cells were not visited");
}

fn work(queue: &Mutex<VecDeque<(Act, Death)>>, found: &Mutex<(usize, Vec<String>)>) {
    let runtime = runtime();
    let bus = Arc::new(PrivateBus::start());
    loop {
        let Some((act, death)) = queue.lock().unwrap().pop_front() else {
            return;
        };
        let mut came = Ok(false);
        for seed in 1..=TRIES {
            let visited = || runtime.block_on(visit(&bus, act, death, seed));
            came = catch_unwind(AssertUnwindSafe(visited)).unwrap_or_else(|panic| {
                let what = panic.downcast_ref::<String>().cloned();
                Err(what.unwrap_or_else(|| "a panic".to_owned()))
            });
            if came != Ok(false) {
                break;
            }
        }
        let mut found = found.lock().unwrap();
        match came {
            Ok(true) => found.0 += 1,
            Ok(false) => found.1.push(format!("{act:?} {death:?}: never met")),
            Err(what) => found.1.push(format!("{act:?} {death:?}: {what}")),
        }
    }
}

#[test]
fn a_kill_around_a_verification_forgets_no_code_and_no_wrong_try() {
    matrix(&[Act::Verify, Act::VerifyWrong, Act::UseRecovery, Act::Unlock]);
}

#[test]
fn a_kill_while_a_token_is_made_handed_out_or_previewed() {
    matrix(&[
        Act::Preview,
        Act::Assign,
        Act::Export,
        Act::RegisterApp,
        Act::RegisterSheet,
    ]);
}

#[test]
fn a_kill_while_an_applet_is_looked_after() {
    matrix(&[
        Act::SetPassword,
        Act::RemovePassword,
        Act::Rename,
        Act::Delete,
        Act::Reset,
    ]);
}
